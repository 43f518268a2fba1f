"""Corpora: where texts and summaries come from, how they are split, and what identifies them.

One file a source. A source is a module with a `DESCRIPTION` and `read(config) -> Source`, which
hands over rows in the origin's own columns; everything that must be the same for all of them
(columns, cleaning, splits, leakage, sampling, digest) happens in `load`.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from sintese import discovery
from sintese.cleaning import WHERE, BadRow, Cleaned, Document, clean, fingerprint
from sintese.config import DataConfig
from sintese.errors import ConfigError, DataError, Fault, UsageError, did_you_mean

if TYPE_CHECKING:
    from datasets import Dataset

Row = Mapping[str, Any] | BadRow
SPLITS = ("train", "validation", "test")
# Rows looked at before a column counts as missing: JSON Lines may leave a key out of some rows.
_COLUMN_PEEK = 20


@dataclass(frozen=True)
class Source:
    """What a source file hands over: rows as they are, and what is known about them.

    Attributes:
        splits: rows in the origin's own columns by split; `train` alone where none is given.
            Each is read once.
        origin: a path, or `hub:ID@COMMIT`.
        licence: SPDX name or a sentence; "unknown" rather than a guess.
        citation: BibTeX, or "".
        language: BCP 47 tag, or "" where it is not known.
        text_column: column with the text, unless `data.text_column` says otherwise.
        summary_column: likewise, the summary.
        id_column: column with the row's id, or None.
        name: what to call the corpus; default `data.source`.
        evaluation_only: whether it is fine that there is nothing to train on.
    """

    splits: Mapping[str, Iterable[Row]]
    origin: str
    licence: str
    citation: str = ""
    language: str = "pt"
    text_column: str = "text"
    summary_column: str = "summary"
    id_column: str | None = "id"
    name: str = ""
    evaluation_only: bool = False


@dataclass(frozen=True)
class Corpus:
    """Texts with their summaries, cleaned and split.

    Attributes:
        name: short name, such as `amostra/descricoes`.
        splits: `train`, `validation` and `test`; each with exactly the string columns `id`,
            `text` and `summary`. Only an evaluation-only corpus has empty ones.
        origin: a path, or `hub:ID@COMMIT`.
        licence: SPDX name or a sentence.
        citation: BibTeX, or "".
        language: BCP 47 tag, or "".
        counts: `read` and what became of those rows: the counts of `cleaning.clean`, then
            `leaked_train` and `leaked_validation` (the text also stands in a later split) and
            `not_sampled` (above `data.max_*_samples`). All but `read` add up to `read`.
        quarantined: the unusable rows, with place and reason.
    """

    name: str
    splits: Mapping[str, Dataset]
    origin: str
    licence: str
    citation: str
    language: str
    counts: Mapping[str, int]
    quarantined: tuple[BadRow, ...]

    def ids(self, split: str) -> list[str]:
        """Return the ids of `split`, in order."""
        return cast(list[str], list(self.splits[split]["id"]))

    def texts(self, split: str) -> list[str]:
        """Return the texts of `split`, in order."""
        return cast(list[str], list(self.splits[split]["text"]))

    def summaries(self, split: str) -> list[str]:
        """Return the reference summaries of `split`, in order."""
        return cast(list[str], list(self.splits[split]["summary"]))

    @property
    def digest(self) -> str:
        """SHA-256 over all rows and their splits, in order: the same rows, the same digest."""
        return hashlib.sha256("".join(self._digests[s] for s in SPLITS).encode()).hexdigest()

    def split_digest(self, split: str) -> str:
        """Return the SHA-256 over the rows of `split`, in order, whatever else the corpus holds."""
        return self._digests[split]

    @cached_property
    def _digests(self) -> dict[str, str]:
        digests = {}
        for split in SPLITS:
            digest = hashlib.sha256()
            columns = (self.ids(split), self.texts(split), self.summaries(split))
            for value in itertools.chain.from_iterable(zip(*columns, strict=True)):
                data = value.encode()
                # Lengths first, so that no two lists of values give the same bytes.
                digest.update(len(data).to_bytes(8, "big") + data)
            digests[split] = digest.hexdigest()
        return digests

    def describe(self) -> dict[str, dict[str, float]]:
        """Return for each split its `rows`, `mean_text_words` and `mean_summary_words`."""
        return {
            split: {
                "rows": len(self.splits[split]),
                "mean_text_words": _mean_words(self.texts(split)),
                "mean_summary_words": _mean_words(self.summaries(split)),
            }
            for split in SPLITS
        }


def available() -> tuple[str, ...]:
    """Return the names of the sources, sorted."""
    return discovery.available(__name__)


def load(config: DataConfig) -> Corpus:
    """Read, clean and split the corpus that `config` describes.

    Given splits are kept. Missing ones are cut from `train` by the digest of each text and
    `data.split_seed`, so neither the order of the rows nor that of a hash table matters. A text
    that stands in two splits is kept in the later one of train, validation, test.

    Raises:
        ConfigError: a missing column, or settings that do not go together.
        DataError: unreadable or too dirty data, or too few rows for three splits.
        UnknownNameError: no such source or subset.
    """
    source = discovery.get(__name__, config.source, kind="dataset").read(config)
    cleaned, read = _clean_splits(config, source)
    counts = sum((part.counts for part in cleaned.values()), Counter[str]())
    quarantined = tuple(itertools.chain.from_iterable(c.quarantined for c in cleaned.values()))
    _check_share(config, source, read, quarantined)

    rows = {split: part.documents for split, part in cleaned.items()}
    rows = _cut_missing(config, _without_leaks(rows, counts), source, counts)
    limits = (config.max_train_samples, config.max_validation_samples, config.max_test_samples)
    for split, limit in zip(SPLITS, limits, strict=True):
        if limit is not None and limit < len(rows[split]):
            counts["not_sampled"] += len(rows[split]) - limit
            rows[split] = _drawn(rows[split], limit, salt=f"sample {config.split_seed}")
    counts["kept"] = sum(map(len, rows.values()))
    return Corpus(
        name=source.name or config.source,
        splits={split: _dataset(rows[split]) for split in SPLITS},
        origin=source.origin,
        licence=source.licence,
        citation=source.citation,
        language=source.language,
        counts={"read": read, **dict(sorted(counts.items()))},
        quarantined=quarantined,
    )


def most_train_rows(config: DataConfig) -> int:
    """Return how many rows could be trained on at most, whatever their columns; 0 if unreadable.

    For checks that should not wait until the columns are named right.
    """
    try:
        source = discovery.get(__name__, config.source, kind="dataset").read(config)
        return sum(1 for _ in source.splits.get("train", ()))
    except UsageError:
        return 0


def _clean_splits(config: DataConfig, source: Source) -> tuple[dict[str, Cleaned], int]:
    cleaned = {}
    if unknown := sorted(set(source.splits) - set(SPLITS)):
        raise DataError(f"{source.origin}: split {unknown[0]!r} is none of {', '.join(SPLITS)}")
    for split in SPLITS:
        if split in source.splits:
            rows = _mapped(config, source, iter(source.splits[split]))
            cleaned[split] = clean(rows, name=f"{source.origin}:{split}")
    read = sum(sum(part.counts.values()) for part in cleaned.values())
    if not read:
        raise DataError(f"{source.origin} holds no rows")
    return cleaned, read


def _mapped(config: DataConfig, source: Source, rows: Iterator[Row]) -> Iterator[Row]:
    """Rename the origin's columns; fail before the first row where one of them is not there."""
    text = config.text_column or source.text_column
    summary = config.summary_column or source.summary_column
    identity = config.id_column or source.id_column
    head = list(itertools.islice(rows, _COLUMN_PEEK))
    columns = dict.fromkeys(
        key for row in head if isinstance(row, Mapping) for key in row if key != WHERE
    )
    if columns:
        wanted = [("data.text_column", text), ("data.summary_column", summary)]
        if config.id_column:
            wanted.append(("data.id_column", config.id_column))
        faults = [
            Fault(flag, f"no column {name!r} in {source.origin}{did_you_mean(name, columns)}")
            for flag, name in wanted
            if name not in columns
        ]
        if text == summary:
            faults.append(Fault("data.summary_column", f"is the text column, {text!r}"))
        if faults:
            raise ConfigError(faults)
    for row in itertools.chain(head, rows):
        if isinstance(row, BadRow):
            yield row
        else:
            yield {
                "id": row.get(identity) if identity else None,
                "text": row.get(text),
                "summary": row.get(summary),
                WHERE: row.get(WHERE),
            }


def _check_share(
    config: DataConfig, source: Source, read: int, quarantined: Sequence[BadRow]
) -> None:
    if len(quarantined) <= config.max_bad_share * read:
        return
    first = ", ".join(map(str, quarantined[:3]))
    raise DataError(
        f"{source.origin}: {len(quarantined)} of {read} rows are unusable, "
        f"{len(quarantined) / read:.1%}, more than data.max_bad_share {config.max_bad_share:g}: "
        f"{first}{', …' if len(quarantined) > 3 else ''}; repair them or raise data.max_bad_share"
    )


def _without_leaks(
    rows: Mapping[str, list[Document]], counts: Counter[str]
) -> dict[str, list[Document]]:
    """Drop texts that a later split holds too: what is tested on is never trained on."""
    seen: set[str] = set()
    out: dict[str, list[Document]] = {}
    for split in reversed(SPLITS):
        if split not in rows:
            continue
        keys = [fingerprint(document.text) for document in rows[split]]
        out[split] = [d for d, key in zip(rows[split], keys, strict=True) if key not in seen]
        if leaked := len(keys) - len(out[split]):
            counts[f"leaked_{split}"] += leaked
        seen.update(keys)
    return out


def _cut_missing(
    config: DataConfig,
    rows: dict[str, list[Document]],
    source: Source,
    counts: Counter[str],
) -> dict[str, list[Document]]:
    """Cut the splits that are not given from train, in exact shares of it."""
    train = rows.get("train", [])
    shares = {"test": config.test_share, "validation": config.validation_share}
    if source.evaluation_only:
        rows, shares = {"train": [], "validation": [], **rows}, {}
    missing = {split: share for split, share in shares.items() if split not in rows}
    sizes = {split: max(round(len(train) * share), 1) for split, share in missing.items()}
    out = dict(rows)
    if len(train) > sum(sizes.values()):
        ranked = _ranked(train, salt=f"split {config.split_seed}")
        place: dict[int, str] = {}
        for split, size in sizes.items():
            place |= dict.fromkeys(ranked[:size], split)
            ranked = ranked[size:]
        out |= {split: [] for split in ("train", *missing)}
        for index, document in enumerate(train):
            out[place.get(index, "train")].append(document)
    needed = ("test",) if source.evaluation_only else SPLITS
    if empty := [split for split in needed if not out.get(split)]:
        dropped = ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items()) if kind != "kept")
        raise DataError(
            f"{source.origin}: too few rows for {' and '.join(empty)}: "
            f"{sum(map(len, rows.values()))} usable ones"
            f"{f' ({dropped} dropped)' if dropped else ''}; give more rows"
        )
    return out


def _ranked(documents: Sequence[Document], *, salt: str) -> list[int]:
    """Return the positions of `documents` in a seeded order that depends on their texts only."""
    keys = [
        hashlib.sha256(f"{salt}\0{fingerprint(document.text)}".encode()).digest()
        for document in documents
    ]
    return sorted(range(len(keys)), key=keys.__getitem__)


def _drawn(documents: Sequence[Document], count: int, *, salt: str) -> list[Document]:
    return [documents[index] for index in sorted(_ranked(documents, salt=salt)[:count])]


def _dataset(documents: Sequence[Document]) -> Dataset:
    import datasets

    fields = ("id", "text", "summary")
    features = datasets.Features({field: datasets.Value("string") for field in fields})
    columns = {field: [getattr(document, field) for document in documents] for field in fields}
    return datasets.Dataset.from_dict(columns, features=features)


def _mean_words(texts: Sequence[str]) -> float:
    return sum(len(text.split()) for text in texts) / len(texts) if texts else 0.0
