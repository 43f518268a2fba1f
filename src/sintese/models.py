"""Base models: where they come from, whether they may be loaded, what is saved of them.

Only safetensors are read and no code from a model repository is ever run: `auto_map` is
refused before transformers sees the directory.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import ConfigDict, Field, StrictInt, StrictStr, ValidationError
from pydantic.dataclasses import dataclass as checked

from sintese.config import GenerationConfig, ModelConfig, TrainingConfig
from sintese.errors import ModelError, did_you_mean

if TYPE_CHECKING:
    import torch
    from transformers import GenerationConfig as HfGenerationConfig
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

MANIFEST = "sintese.json"
# Said, because what is left out makes transformers ask on the terminal whether to run it.
_NO_CODE = {"trust_remote_code": False}
_FAMILY = ("t5", "mt5", "umt5")
# Pickles run code when they are read. They are refused even beside safetensors, because which
# of the two is loaded would then be somebody else's choice.
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle")


@checked(frozen=True, config=ConfigDict(extra="forbid"))
class Manifest:
    """What a model directory says of itself in `sintese.json`: how its input is made.

    Attributes:
        base_model: name of the base model the weights started from.
        base_digest: SHA-256 over the base model's weights, before training.
        source_prefix: put before every text.
        max_source_length: tokens of text the model sees, end mark included.
        generation: decoding defaults.
    """

    base_model: StrictStr
    base_digest: StrictStr
    source_prefix: StrictStr
    max_source_length: Annotated[StrictInt, Field(ge=8)]
    generation: GenerationConfig

    def write(self, directory: Path) -> None:
        """Write `sintese.json`; the last file written, it marks the directory as whole."""
        content = vars(self) | {"generation": self.generation.model_dump()}
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        (directory / MANIFEST).write_text(text, encoding="utf-8")

    @classmethod
    def read(cls, directory: Path) -> Manifest:
        """Read `sintese.json`.

        Raises:
            ModelError: it is missing (an export that did not finish) or malformed.
        """
        path = directory / MANIFEST
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise ModelError(f"{directory} is no complete model directory: no {MANIFEST}") from None
        except ValidationError as error:
            detail = error.errors()[0]
            where = ".".join(map(str, detail["loc"]))
            raise ModelError(f"{path} is damaged: {where}: {detail['msg']}") from None
        except (ValueError, TypeError) as error:
            raise ModelError(f"{path} is damaged: {error}") from None


@dataclass(frozen=True)
class Precision:
    """The number format of training, and why it was chosen."""

    name: str
    reason: str


def choose_precision(training: TrainingConfig) -> Precision:
    """Decide between bf16 and fp32; never fp16, in which T5 overflows."""
    import torch

    if training.precision != "auto":
        return Precision(training.precision, "asked for by training.precision")
    if not torch.cuda.is_available():
        return Precision("fp32", "no CUDA device; bf16 on a CPU is slower than fp32")
    if not torch.cuda.is_bf16_supported(including_emulation=False):
        return Precision("fp32", f"{torch.cuda.get_device_name()} has no native bf16")
    return Precision("bf16", f"{torch.cuda.get_device_name()} computes bf16 natively")


def shipped() -> dict[str, Path]:
    """Return the models that come with Síntese: name → directory."""
    root = Path(str(resources.files("sintese") / "resources"))
    return {path.parent.name: path.parent for path in sorted(root.glob("*/config.json"))}


def architectures() -> dict[str, Path]:
    """Return the architectures that can be built with random weights: name → config file."""
    root = Path(str(resources.files("sintese") / "resources" / "architectures"))
    return {path.stem: path for path in sorted(root.glob("*.json"))}


def locate(name: str) -> str:
    """Return the path of a shipped or local model; any other name is a hub id, as it is."""
    if (path := shipped().get(name)) is not None:
        return str(path)
    return name


def check_safe(directory: Path) -> None:
    """Refuse a local model directory that would run code or unpickle on loading.

    Raises:
        ModelError: naming the file and what to do.
    """
    for pattern in _PICKLED:
        for found in directory.glob(pattern):
            if found.name == "training_args.bin":
                continue  # written by older Trainers beside the weights; nothing reads it
            raise ModelError(
                f"{found} holds pickled data, which can run code when read: convert the weights "
                "to safetensors and remove it"
            )
    for name in ("config.json", "tokenizer_config.json"):
        path = directory / name
        if not path.is_file():
            continue
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ModelError(f"{path} is not JSON: {error}") from None
        if not isinstance(content, dict):
            raise ModelError(f"{path} holds {content!r} instead of a configuration")
        if "auto_map" in content:
            raise ModelError(
                f"{path} asks for its own code (auto_map), which Síntese never runs: "
                "use a model whose architecture transformers knows"
            )


def load_tokenizer(model: ModelConfig) -> PreTrainedTokenizerBase:
    """Load the tokenizer of `model`, or the one `model.tokenizer` names.

    Raises:
        ModelError: it cannot be found or read.
    """
    from transformers import AutoTokenizer

    name = locate(model.tokenizer or model.base_model)
    revision = None if model.tokenizer else model.revision
    directory = Path(name)
    if not directory.is_dir():
        with _one_line_errors(name):
            return AutoTokenizer.from_pretrained(name, revision=revision, **_NO_CODE)
    check_safe(directory)
    if (directory / "spiece.model").is_file() and not (directory / "config.json").is_file():
        # Without config.json transformers 5 does not see a T5 tokenizer here, and asking for
        # T5Tokenizer by name builds an empty vocabulary without a word of warning.
        with tempfile.TemporaryDirectory() as folder, _one_line_errors(name):
            shutil.copy(directory / "spiece.model", folder)
            (Path(folder) / "config.json").write_text('{"model_type": "t5"}', encoding="utf-8")
            return AutoTokenizer.from_pretrained(folder, **_NO_CODE)
    with _one_line_errors(name):
        return AutoTokenizer.from_pretrained(name, **_NO_CODE)


def load_base(
    model: ModelConfig, tokenizer: PreTrainedTokenizerBase, *, seed: int
) -> PreTrainedModel:
    """Load the base model in fp32, or build it from its configuration with seeded weights.

    Raises:
        ModelError: it cannot be found, is no T5-family model, holds no safetensors, or its
            vocabulary is smaller than the tokenizer's.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    name = locate(model.base_model)
    if Path(name).is_dir():
        check_safe(Path(name))
    if model.init == "random":
        source = str(architectures().get(model.base_model, name))
        with _one_line_errors(source):
            config = AutoConfig.from_pretrained(source, revision=model.revision, **_NO_CODE)
        _refuse_foreign(config, source)
        # Rounded up, because matrix kernels like multiples of 128; never below the tokenizer.
        config.vocab_size = max(config.vocab_size, -(-len(tokenizer) // 128) * 128)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            built = AutoModelForSeq2SeqLM.from_config(config)
        return built
    with _one_line_errors(name), _bars(shown=not Path(name).is_dir()):
        config = AutoConfig.from_pretrained(name, revision=model.revision, **_NO_CODE)
        _refuse_foreign(config, name)
        loaded, report = AutoModelForSeq2SeqLM.from_pretrained(
            name,
            revision=model.revision,
            config=config,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            **_NO_CODE,
        )
    if missing := sorted(report["missing_keys"]):
        # transformers makes them up at random and goes on.
        raise ModelError(
            f"cannot load {name!r}: {len(missing)} weights are not in it, such as {missing[0]}"
        )
    # Whoever generates says how long; beside that, a checkpoint's own limits only raise warnings.
    loaded.generation_config.max_length = loaded.generation_config.min_length = None
    rows = loaded.get_input_embeddings().num_embeddings
    if rows < len(tokenizer):
        raise ModelError(
            f"model.tokenizer has {len(tokenizer)} pieces but {model.base_model} only {rows} "
            "embeddings: use the tokenizer the model was trained with"
        )
    return loaded


def decoding(
    generation: GenerationConfig, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase
) -> HfGenerationConfig:
    """Return transformers' settings for `generation`: the same in training and in serving."""
    from transformers import GenerationConfig as HfGenerationConfig

    return HfGenerationConfig(
        **generation.model_dump(exclude={"min_new_tokens"}),
        # None, not 0: any number makes generate warn about min_length.
        min_new_tokens=generation.min_new_tokens or None,
        do_sample=False,
        decoder_start_token_id=config.decoder_start_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )


@lru_cache(maxsize=4)
def plain_text(tokenizer: PreTrainedTokenizerBase) -> Callable[[str], str]:
    """Return a function that takes the meaning from special tokens written out in a text.

    `</s>` in a text is five characters somebody wrote; the tokenizer would take it for the end,
    also with `split_special_tokens`, because SentencePiece holds it as a piece. A space after
    its first character keeps it readable and makes it text.
    """
    marks = sorted(set(tokenizer.all_special_tokens), key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, marks)))
    return lambda text: pattern.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)


def digest(model: torch.nn.Module) -> str:
    """Return SHA-256 over names, shapes and values of all weights: the same model, same digest."""
    sha = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        plain = tensor.detach().float().cpu().contiguous()
        sha.update(f"{name}{tuple(plain.shape)}".encode())
        sha.update(memoryview(plain.numpy()).cast("B"))
    return sha.hexdigest()


def save(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    directory: Path,
    *,
    manifest: Manifest,
) -> None:
    """Write a self-contained model directory: safetensors, tokenizer, `sintese.json` last."""
    directory.mkdir(parents=True)
    with _bars(shown=False):
        model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    manifest.write(directory)


def _refuse_foreign(config: Any, name: str) -> None:
    if getattr(config, "auto_map", None):
        raise ModelError(f"{name} asks for its own code (auto_map), which Síntese never runs")
    if config.model_type not in _FAMILY:
        raise ModelError(
            f"model.base_model {name!r} is a {config.model_type} model; give a T5-family "
            "encoder-decoder, such as unicamp-dl/ptt5-base-portuguese-vocab"
        )


@contextmanager
def _bars(*, shown: bool) -> Iterator[None]:
    """Keep transformers' progress bars for downloads; on local files they last an instant."""
    from transformers.utils import logging

    before = logging.is_progress_bar_enabled()
    if not shown:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if before:
            logging.enable_progress_bar()


@contextmanager
def _one_line_errors(name: str) -> Iterator[None]:
    """Turn what transformers and the hub client raise on a bad name into one `ModelError`."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        problem = lines[0]
        if "safetensors" in str(error):
            problem = (
                "it holds no safetensors, and Síntese reads no pickled weights; if the hub's "
                "converter made some, name that revision: --model.revision refs/pr/N"
            )
        hint = did_you_mean(name, [*shipped(), *architectures()])
        raise ModelError(f"cannot load {name!r}: {problem}{hint}") from error
