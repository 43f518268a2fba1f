"""Measuring a summarizer on a split: a row per document, a score per protocol with its interval."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from sintese import metrics
from sintese.errors import DataError
from sintese.metrics import Interval
from sintese.summarizer import Engine, Summarizer


@dataclass(frozen=True)
class Score:
    """A mean F1 × 100 and its bootstrap interval over documents."""

    mean: float
    interval: Interval


@dataclass(frozen=True)
class Row:
    """One document: what was expected, what came, and ROUGE F1 (0 to 1) by protocol and type."""

    id: str
    text: str
    reference: str
    prediction: str
    rouge: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Evaluation:
    """A summarizer measured on one split.

    Attributes:
        name: the summarizer's.
        digest: of the test data; only evaluations of equal digest compare.
        rows: one for each document, in the split's order.
        rouge: protocol → ROUGE type → score.
        generated_words: mean length of the predictions.
        empty_share: share of blank predictions, 0 to 1.
        truncated_share: share of texts of which only the beginning was read; None if unknown.
        capped_share: share of predictions that ended at `max_new_tokens`; None if unknown.
        seconds: wall time of summarizing; None where predictions came from a file.
    """

    name: str
    digest: str
    rows: tuple[Row, ...]
    rouge: Mapping[str, Mapping[str, Score]]
    generated_words: float
    empty_share: float
    truncated_share: float | None = None
    capped_share: float | None = None
    seconds: float | None = None

    def means(self) -> dict[str, dict[str, float]]:
        """Return mean F1 × 100 by protocol and ROUGE type."""
        return {
            protocol: {kind: score.mean for kind, score in scores.items()}
            for protocol, scores in self.rouge.items()
        }


def evaluate(
    summarizer: Summarizer,
    *,
    ids: Sequence[str],
    texts: Sequence[str],
    references: Sequence[str],
    digest: str,
    progress: bool = False,
    batch_size: int = 32,
) -> Evaluation:
    """Summarize `texts` and score the summaries against `references`, one for one.

    Args:
        summarizer: an engine, a baseline or a remote server.
        ids: names of the documents.
        texts: the documents.
        references: the summaries people wrote.
        digest: of this data, `Corpus.split_digest`.
        progress: show a bar with an estimate on the terminal.
        batch_size: documents handed over at once.

    Raises:
        DataError: there are no documents, or not one summary for each.
    """
    if not texts:
        raise DataError(f"nothing to measure {summarizer.name} on: the split has no documents")
    started = time.perf_counter()
    predictions: list[str] = []
    truncated, capped = 0, 0
    known = isinstance(summarizer, Engine)
    for batch in _batches(texts, batch_size, label=summarizer.name if progress else None):
        if isinstance(summarizer, Engine):
            found = summarizer.summaries(batch)
            predictions += [summary.text for summary in found]
            truncated += sum(summary.truncated for summary in found)
            capped += sum(summary.capped for summary in found)
        else:
            predictions += summarizer.summarize(batch)
    return score(
        predictions,
        ids=ids,
        texts=texts,
        references=references,
        digest=digest,
        name=summarizer.name,
        truncated_share=truncated / len(texts) if known else None,
        capped_share=capped / len(texts) if known else None,
        seconds=time.perf_counter() - started,
    )


def score(
    predictions: Sequence[str],
    *,
    ids: Sequence[str],
    texts: Sequence[str],
    references: Sequence[str],
    digest: str,
    name: str,
    truncated_share: float | None = None,
    capped_share: float | None = None,
    seconds: float | None = None,
) -> Evaluation:
    """Score finished predictions under every protocol."""
    by_protocol = {
        protocol: metrics.rouge_rows(predictions, references, protocol=protocol)
        for protocol in metrics.PROTOCOLS
    }
    rows = tuple(
        Row(
            id=row_id,
            text=text,
            reference=reference,
            prediction=prediction,
            rouge={protocol: by_protocol[protocol][i] for protocol in by_protocol},
        )
        for i, (row_id, text, reference, prediction) in enumerate(
            zip(ids, texts, references, predictions, strict=True)
        )
    )
    return Evaluation(
        name=name,
        digest=digest,
        rows=rows,
        rouge={
            protocol: {
                kind: _score([100 * row[kind] for row in scored]) for kind in metrics.ROUGE_TYPES
            }
            for protocol, scored in by_protocol.items()
        },
        generated_words=fmean(metrics.generated_lengths(predictions)),
        empty_share=sum(not p.strip() for p in predictions) / len(predictions),
        truncated_share=truncated_share,
        capped_share=capped_share,
        seconds=seconds,
    )


def read_predictions(path: Path) -> tuple[list[str], list[str], list[str]]:
    """Read ids, predictions and references from JSON lines made by any system.

    Raises:
        DataError: the file cannot be read, a line is not JSON, or lacks `id`, `prediction` or
            `reference`; the message names the line.
    """
    ids, predictions, references = [], [], []
    try:
        # Not splitlines(): it breaks a text at U+2028 and other marks that JSON leaves alone.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"--predictions {path}: cannot be read: {error}") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"--predictions {path}, line {number}: not JSON: {error}") from None
        row_id = _field(row, "id", path, number)
        if not isinstance(row_id, str | int) or isinstance(row_id, bool):
            raise DataError(f"--predictions {path}, line {number}: id is {row_id!r}, not a name")
        ids.append(str(row_id))
        predictions.append(_text(row, "prediction", path, number))
        references.append(_text(row, "reference", path, number))
    if not ids:
        raise DataError(f"--predictions {path}: holds no rows")
    if len(set(ids)) < len(ids):
        twice = next(i for i in ids if ids.count(i) > 1)
        raise DataError(f"--predictions {path}: the id {twice!r} occurs more than once")
    return ids, predictions, references


def _field(row: Any, key: str, path: Path, number: int) -> Any:
    if not isinstance(row, dict) or key not in row:
        raise DataError(
            f"--predictions {path}, line {number}: no {key!r}; "
            "a row holds id, prediction, reference"
        )
    return row[key]


def _text(row: Any, key: str, path: Path, number: int) -> str:
    value = _field(row, key, path, number)
    if not isinstance(value, str):
        raise DataError(f"--predictions {path}, line {number}: {key} is {value!r}, not a text")
    return value


def _score(values: Sequence[float]) -> Score:
    return Score(fmean(values), metrics.bootstrap_interval(values))


def _batches(texts: Sequence[str], size: int, *, label: str | None) -> Iterator[Sequence[str]]:
    from tqdm.auto import tqdm

    with tqdm(total=len(texts), desc=label, unit="doc", disable=label is None) as bar:
        for start in range(0, len(texts), size):
            batch = texts[start : start + size]
            yield batch
            bar.update(len(batch))
