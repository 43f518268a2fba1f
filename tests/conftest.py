"""What all tests share: a quiet environment, one tiny T5 with its tokenizer, the checkout."""

from __future__ import annotations

import io
import json
import os
import sys
import warnings
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

# Set before anything is imported: several of these are read only once, at import.
for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    # Lifted for tests that talk to tests/hub_standin.py, see `_hub_reachable`.
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
}.items():
    os.environ.setdefault(_name, _value)

# Pieces of the tiny tokenizer; a hundred sentinels <extra_id_…> come on top.
PIECES = 500


def pytest_configure(config: pytest.Config) -> None:
    # Seeded numbers are recorded on the CPU; only tests marked `gpu` may see a device.
    if "not gpu" in config.option.markexpr:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    # PEFT 0.21 asks transformers 5.23 by a name that is on its way out; nothing to act on here.
    config.addinivalue_line(
        "filterwarnings", "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
    )


@pytest.fixture(autouse=True)
def _hub_reachable(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the hub's client out only in the modules that have a stand-in to talk to."""
    stands_in = "hub_standin" in vars(request.module)
    if stands_in:
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    # The client reads the variable once, at import, which may lie in the past.
    if constants := sys.modules.get("huggingface_hub.constants"):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", not stands_in)


@pytest.fixture(scope="session")
def repo() -> Path:
    """The root of the checkout."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A T5 v1.1 of 0.1 M weights: config.json, spiece.model and model.safetensors, seeded.

    The weights are random but lively: decoding depends on the text, does not stand still on one
    token and now and then ends by itself, so that equal summaries mean something.
    """
    import torch
    from safetensors.torch import save_file
    from transformers import T5Config, T5ForConditionalGeneration

    torch.set_num_threads(1)
    directory = tmp_path_factory.mktemp("tiny") / "tiny-t5"
    directory.mkdir()
    (directory / "spiece.model").write_bytes(_sentencepiece())
    config = T5Config(
        vocab_size=640,
        d_model=32,
        d_kv=16,
        d_ff=64,
        num_layers=2,
        num_heads=2,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.1,
        tie_word_embeddings=False,  # to transformers this means: as in v1.1
        decoder_start_token_id=0,
        initializer_factor=2.0,
        architectures=["T5ForConditionalGeneration"],
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = T5ForConditionalGeneration(config)
        # T5 v1.1 has an output layer of its own, here of a size that makes losses of about
        # log(vocabulary), and such that neither padding nor sentinels are generated.
        head = torch.randn(config.vocab_size, config.d_model) * 0.1
    head[0] = 0.0
    head[PIECES:] = 0.0
    model.lm_head.weight = torch.nn.Parameter(head)
    config.to_json_file(directory / "config.json")
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    # The encoder and the decoder hold the shared embedding once more, under names of their own.
    for tied in ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight"):
        tensors.pop(tied)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


@pytest.fixture(scope="session")
def tokenizer(tiny_model: Path) -> Any:
    """The tiny model's tokenizer."""
    from sintese.config import ModelConfig
    from sintese.models import load_tokenizer

    return load_tokenizer(ModelConfig(base_model=str(tiny_model)))


def _sentencepiece() -> bytes:
    """Train a SentencePiece model on the embedded corpus: the same rows, the same bytes."""
    with warnings.catch_warnings():
        # From Python 3.12 on its SWIG types warn when they are made; nothing to do about it here.
        warnings.filterwarnings("ignore", "builtin type [sS]wig", DeprecationWarning)
        import sentencepiece

    file = resources.files("sintese") / "resources" / "amostra" / "descricoes.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(row[key] for row in rows for key in ("text", "summary")),
        model_writer=out,
        vocab_size=PIECES,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    return out.getvalue()
