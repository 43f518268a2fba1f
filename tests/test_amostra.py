"""The embedded corpus keeps what it promises: sizes, licences, families, no leakage."""

from __future__ import annotations

import json
import re
from importlib import resources
from itertools import combinations
from typing import Any

import pytest

SPLITS = ("train", "validation", "test")


def _rows(name: str) -> list[dict[str, Any]]:
    file = resources.files("sintese") / "resources" / "amostra" / f"{name}.jsonl"
    return [json.loads(line) for line in file.read_text("utf-8").split("\n") if line]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _length(text: str) -> int:
    """Words as people count them: a dash or a list's bullet by itself is none."""
    return sum(bool(re.search(r"\w", token)) for token in text.split())


def _shingles(text: str) -> set[tuple[str, ...]]:
    words = _words(text)
    return {tuple(words[i : i + 5]) for i in range(len(words) - 4)}


def _jaccard(one: set[Any], other: set[Any]) -> float:
    return len(one & other) / len(one | other) if one | other else 0.0


def test_descriptions_are_as_many_and_as_long_as_promised() -> None:
    rows = _rows("descricoes")
    assert len(rows) >= 400
    assert len({row["id"] for row in rows}) == len({row["text"] for row in rows}) == len(rows)
    assert all(30 <= _length(row["text"]) <= 150 for row in rows)
    assert all("\n" not in row["summary"] and row["summary"].strip() for row in rows)
    assert {row["license"] for row in rows} <= {"CC0-1.0", "FSFAP"}
    assert {row["split"] for row in rows} == set(SPLITS)


def test_a_family_of_descriptions_lies_in_one_split() -> None:
    splits: dict[str, set[str]] = {}
    for row in _rows("descricoes"):
        splits.setdefault(row["family"], set()).add(row["split"])
    assert [family for family, found in splits.items() if len(found) > 1] == []


@pytest.mark.parametrize("name", ["descricoes", "noticias"])
def test_no_near_duplicates_across_splits(name: str) -> None:
    rows = [(row["split"], row["id"], _shingles(row["text"])) for row in _rows(name)]
    close = [
        (a[1], b[1])
        for a, b in combinations(rows, 2)
        if a[0] != b[0] and not a[2].isdisjoint(b[2]) and _jaccard(a[2], b[2]) >= 0.3
    ]
    assert close == []


@pytest.mark.parametrize(
    ("name", "count", "text_words", "summary_words"),
    [("noticias", 48, (250, 800), (40, 120)), ("longos", 6, (2000, 4000), (90, 120))],
)
def test_news_are_as_many_and_as_long_as_promised(
    name: str, count: int, text_words: tuple[int, int], summary_words: tuple[int, int]
) -> None:
    rows = _rows(name)
    assert len({row["id"] for row in rows}) == len(rows) == count
    for row in rows:
        assert text_words[0] <= len(row["text"].split()) <= text_words[1], row["id"]
        assert summary_words[0] <= len(row["summary"].split()) <= summary_words[1], row["id"]
        assert row["license"] == "CC0-1.0"


@pytest.mark.parametrize("name", ["noticias", "longos"])
def test_summaries_are_abstractive_and_their_figures_stand_in_the_text(name: str) -> None:
    for row in _rows(name):
        text, summary = _words(row["text"]), _words(row["summary"])
        runs = {tuple(text[i : i + 12]) for i in range(len(text) - 11)}
        copied = [i for i in range(len(summary) - 11) if tuple(summary[i : i + 12]) in runs]
        assert copied == [], row["id"]
        figures = set(re.findall(r"\d[\d.,]*\d|\d", row["summary"]))
        # The title is part of what the summary may draw on.
        whole = row["title"] + " " + row["text"]
        assert {f for f in figures if f not in whole} == set(), row["id"]


def test_each_section_of_the_news_is_split_alike() -> None:
    sections: dict[str, list[str]] = {}
    for row in _rows("noticias"):
        sections.setdefault(row["section"], []).append(row["split"])
    expected = ["test"] * 2 + ["train"] * 3 + ["validation"]
    assert len(sections) == 8
    assert all(sorted(splits) == expected for splits in sections.values())
