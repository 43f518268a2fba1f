"""From texts to token ids: cut to length, end mark kept, and everything cut is counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sintese.config import ModelConfig
from sintese.models import plain_text

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import DataCollatorForSeq2Seq, PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Truncation:
    """How much of a split did not fit.

    Attributes:
        rows: documents in the split.
        sources_cut: share of texts longer than `max_source_length`, 0 to 1.
        targets_cut: share of summaries longer than `max_target_length`, 0 to 1.
        longest_source: tokens of the longest text, before cutting.
        longest_target: tokens of the longest summary, before cutting.
        unknown_share: share of `<unk>` among all text and summary tokens, 0 to 1.
    """

    rows: int
    sources_cut: float
    targets_cut: float
    longest_source: int
    longest_target: int
    unknown_share: float


@dataclass(frozen=True)
class Features:
    """A tokenized split: columns `input_ids` and `labels`, lists of token ids."""

    dataset: Dataset
    truncation: Truncation


def tokenize(
    texts: Sequence[str],
    summaries: Sequence[str],
    *,
    tokenizer: PreTrainedTokenizerBase,
    config: ModelConfig,
) -> Features:
    """Tokenize texts (with `source_prefix`) and summaries, one for one.

    Every row ends with the end mark, also where it was cut, so that the model learns to stop.
    """
    from datasets import Dataset

    plain = plain_text(tokenizer)

    def encode(batch: dict[str, list[str]]) -> dict[str, list[Any]]:
        prefixed = [config.source_prefix + plain(text) for text in batch["text"]]
        sources = tokenizer(prefixed, verbose=False)["input_ids"]
        summaries = [plain(summary) for summary in batch["summary"]]
        targets = tokenizer(text_target=summaries, verbose=False)["input_ids"]
        return {
            "input_ids": [_cut(ids, config.max_source_length) for ids in sources],
            "labels": [_cut(ids, config.max_target_length) for ids in targets],
            "source_tokens": [len(ids) for ids in sources],
            "target_tokens": [len(ids) for ids in targets],
            "unknown": [
                source.count(tokenizer.unk_token_id) + target.count(tokenizer.unk_token_id)
                for source, target in zip(sources, targets, strict=True)
            ],
        }

    if not texts:
        empty: dict[str, list[Any]] = {"input_ids": [], "labels": []}
        return Features(Dataset.from_dict(empty), Truncation(0, 0.0, 0.0, 0, 0, 0.0))
    rows = Dataset.from_dict({"text": list(texts), "summary": list(summaries)})
    encoded = rows.map(
        encode, batched=True, remove_columns=["text", "summary"], keep_in_memory=True
    )
    source_tokens, target_tokens = encoded["source_tokens"][:], encoded["target_tokens"][:]
    total = sum(source_tokens) + sum(target_tokens)
    truncation = Truncation(
        rows=len(rows),
        sources_cut=_share(source_tokens, config.max_source_length),
        targets_cut=_share(target_tokens, config.max_target_length),
        longest_source=max(source_tokens, default=0),
        longest_target=max(target_tokens, default=0),
        unknown_share=sum(encoded["unknown"][:]) / total if total else 0.0,
    )
    return Features(encoded.select_columns(["input_ids", "labels"]), truncation)


def collator(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> DataCollatorForSeq2Seq:
    """Pad each batch to its own longest row; padded labels are −100 and not in the loss."""
    from transformers import DataCollatorForSeq2Seq

    return DataCollatorForSeq2Seq(
        tokenizer, model=model, label_pad_token_id=-100, pad_to_multiple_of=8
    )


def _cut(ids: list[int], limit: int) -> list[int]:
    return ids if len(ids) <= limit else [*ids[: limit - 1], ids[-1]]


def _share(lengths: Sequence[int], limit: int) -> float:
    return sum(length > limit for length in lengths) / len(lengths) if lengths else 0.0
