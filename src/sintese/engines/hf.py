"""The reference engine: transformers' own `generate`, on CPU or GPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import ValidationError

from sintese import models
from sintese.config import GenerationConfig, ModelConfig
from sintese.engines import Summary
from sintese.errors import InputError, ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class HfEngine:
    """A model in memory with its tokenizer and decoding settings."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    source_prefix: str
    max_source_length: int
    generation: GenerationConfig
    batch_size: int = 8

    def using(self, **settings: Any) -> Self:
        """Return the same engine, weights shared, with other `GenerationConfig` fields."""
        unknown = settings.keys() - GenerationConfig.model_fields.keys()
        if unknown:
            raise InputError(
                f"unknown parameter {', '.join(sorted(unknown))}; "
                f"there are {', '.join(GenerationConfig.model_fields)}"
            )
        try:
            generation = GenerationConfig(**self.generation.model_dump() | settings)
        except ValidationError as error:
            detail = error.errors()[0]
            wanted = detail["msg"].removeprefix("Input should be ")
            raise InputError(f"{detail['loc'][0]}={detail['input']!r} should be {wanted}") from None
        if generation.min_new_tokens > generation.max_new_tokens:
            raise InputError(
                f"min_new_tokens={generation.min_new_tokens} should be at most "
                f"max_new_tokens={generation.max_new_tokens}"
            )
        return dataclasses.replace(self, generation=generation)

    def summarize(self, texts: Sequence[str]) -> list[str]:
        """Return a summary for each text; blank texts give blank summaries."""
        return [summary.text for summary in self.summaries(texts)]

    def summaries(self, texts: Sequence[str]) -> list[Summary]:
        """Return a `Summary` for each text; only the first `max_source_length` tokens are read."""
        encoded = [self._encode(text) for text in texts]
        # Longest first: rows of one batch are of like length, and a lack of memory shows at once.
        order = sorted(range(len(texts)), key=lambda i: -len(encoded[i]))
        out: list[Summary] = [Summary("", len(ids), False, 0, False) for ids in encoded]
        full = [i for i in order if texts[i].strip()]
        for start in range(0, len(full), self.batch_size):
            batch = full[start : start + self.batch_size]
            for i, ids in zip(batch, self._generate([encoded[i] for i in batch]), strict=True):
                out[i] = Summary(
                    text=self.tokenizer.decode(ids, skip_special_tokens=True).strip(),
                    source_tokens=len(encoded[i]),
                    truncated=len(encoded[i]) > self.max_source_length,
                    new_tokens=len(ids),
                    capped=len(ids) >= self.generation.max_new_tokens,
                )
        return out

    def _encode(self, text: str) -> list[int]:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"character {error.start + 1} of a text is half a surrogate pair: "
                "the text was cut or decoded wrongly"
            ) from None
        plain = models.plain_text(self.tokenizer)(text)
        ids: list[int] = self.tokenizer(self.source_prefix + plain, verbose=False)["input_ids"]
        return ids

    def _generate(self, batch: Sequence[list[int]]) -> list[list[int]]:
        import torch

        pad, eos = self.tokenizer.pad_token_id, self.tokenizer.eos_token_id
        kept = [
            ids if len(ids) <= self.max_source_length else [*ids[: self.max_source_length - 1], eos]
            for ids in batch
        ]
        width = max(map(len, kept))
        device = self.model.device
        input_ids = torch.tensor([ids + [pad] * (width - len(ids)) for ids in kept], device=device)
        mask = torch.tensor(
            [[1] * len(ids) + [0] * (width - len(ids)) for ids in kept], device=device
        )
        with torch.inference_mode():
            rows = self.model.generate(
                input_ids=input_ids,
                attention_mask=mask,
                generation_config=models.decoding(
                    self.generation, self.model.config, self.tokenizer
                ),
            )
        # Column 0 is the decoder's start token; rows are padded to the longest of the batch.
        return [[t for t in row[1:] if t not in (pad, eos)] for row in rows.tolist()]


def load(directory: Path, *, batch_size: int = 8) -> HfEngine:
    """Load a model directory written by `sintese.models.save`, on the GPU if there is one.

    Args:
        directory: the model's.
        batch_size: most texts decoded at once.

    Raises:
        ModelError: the directory is missing, damaged or not safe to load.
    """
    import torch

    if not directory.is_dir():
        raise ModelError(f"no model directory {directory}")
    manifest = models.Manifest.read(directory)
    config = ModelConfig(base_model=str(directory))
    tokenizer = models.load_tokenizer(config)
    model = models.load_base(config, tokenizer, seed=0)
    model.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    return HfEngine(
        name=directory.name,
        model=model,
        tokenizer=tokenizer,
        source_prefix=manifest.source_prefix,
        max_source_length=manifest.max_source_length,
        generation=manifest.generation,
        batch_size=batch_size,
    )
