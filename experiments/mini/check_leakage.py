"""Show that no training row is a near-duplicate of a held-out row.

Two texts are near-duplicates when they come from the same package, when the Jaccard similarity of
their sets of word 5-grams is at least 0.3, or when their first eight words are the same. Exits 1
and names the pairs when there is one.

Usage:
    python experiments/mini/check_leakage.py --held-out test.jsonl --train train_pairs.jsonl
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

SHINGLE = 5
THRESHOLD = 0.3
OPENING = 8
WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """Return the lowercase NFC word tokens of `text`."""
    return WORD.findall(unicodedata.normalize("NFC", text).lower())


def first_words(text: str, *, count: int = OPENING) -> str:
    """Return the first `count` words of `text`, joined by blanks."""
    return " ".join(words(text)[:count])


def shingles(text: str) -> frozenset[tuple[str, ...]]:
    """Return the set of word 5-grams of `text` (one shorter tuple when it has fewer words)."""
    found = words(text)
    return frozenset(tuple(found[i : i + SHINGLE]) for i in range(max(1, len(found) - SHINGLE + 1)))


def package_stem(package: str) -> str:
    """Return a package name without version digits and architecture-like endings."""
    stem = re.sub(r"[-.]?\d[\d.]*.*$", "", package.lower()) or package.lower()
    return re.sub(r"-(?:common|data|doc|dev|dbg|bin|utils|tools|gui|qt|gtk)$", "", stem)


@dataclass(frozen=True)
class Leak:
    """A held-out row that a training row repeats, and the rule that says so."""

    held_out: str
    reason: str


class NearDuplicateIndex:
    """Exact search for near-duplicates of the rows added to it."""

    def __init__(self) -> None:
        """Start empty."""
        self._ids: list[str] = []
        self._sizes: list[int] = []
        self._postings: dict[tuple[str, ...], list[int]] = defaultdict(list)
        self._openings: dict[str, str] = {}
        self._packages: dict[str, str] = {}

    def add(self, row_id: str, text: str, *, package: str = "") -> None:
        """Add one held-out row."""
        grams = shingles(text)
        number = len(self._ids)
        self._ids.append(row_id)
        self._sizes.append(len(grams))
        for gram in grams:
            self._postings[gram].append(number)
        if len(words(text)) >= OPENING:
            self._openings.setdefault(first_words(text), row_id)
        if package:
            self._packages.setdefault(package, row_id)

    def near(self, text: str, *, package: str = "") -> Leak | None:
        """Return the held-out row that `text` nearly repeats, or None."""
        if package and package in self._packages:
            return Leak(self._packages[package], f"same package {package}")
        opening = first_words(text)
        if opening in self._openings:
            return Leak(self._openings[opening], f"same first {OPENING} words")
        grams = shingles(text)
        shared = Counter(n for gram in grams for n in self._postings.get(gram, ()))
        for number, count in shared.most_common():
            similarity = count / (len(grams) + self._sizes[number] - count)
            if similarity >= THRESHOLD:
                return Leak(self._ids[number], f"Jaccard {similarity:.2f}")
        return None


def read_rows(path: Path) -> Iterator[dict[str, str]]:
    """Yield the JSON objects of `path`.

    Raises:
        click.ClickException: A line is no JSON object with `id` and `text`.
    """
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        row = json.loads(line)
        if not isinstance(row, dict) or "text" not in row or "id" not in row:
            raise click.ClickException(f"{path}:{number} is no row with `id` and `text`")
        yield row


def find_leaks(train: list[Path], held_out: list[Path], *, splits: set[str]) -> list[str]:
    """Return a line for each training row that nearly repeats a held-out row.

    Held-out rows that carry a `split` are looked at only when it is in `splits`.
    """
    index = NearDuplicateIndex()
    for path in held_out:
        for row in read_rows(path):
            if row.get("split", "test") in splits:
                index.add(row["id"], row["text"], package=row.get("package", ""))
    found = []
    for path in train:
        for row in read_rows(path):
            leak = index.near(row["text"], package=row.get("package", ""))
            if leak:
                found.append(f"{path.name}: {row['id']} repeats {leak.held_out} ({leak.reason})")
    return found


@click.command()
@click.option(
    "--train",
    "train",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    required=True,
    help="JSONL with training rows; may be given several times.",
)
@click.option(
    "--held-out",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    required=True,
    help="JSONL with held-out rows (rows marked `split: train` are passed over).",
)
def main(train: tuple[Path, ...], held_out: tuple[Path, ...]) -> None:
    """Exit 1 and name the pairs when a training row nearly repeats a held-out row."""
    leaks = find_leaks(list(train), list(held_out), splits={"validation", "test"})
    for line in leaks:
        click.echo(line, err=True)
    if leaks:
        raise click.ClickException(f"{len(leaks)} near-duplicates of held-out rows in training")
    click.echo("no near-duplicate of a held-out row in the training files")


if __name__ == "__main__":
    main()
