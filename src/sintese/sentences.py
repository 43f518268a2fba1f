"""Portuguese sentences, for the lead baselines and for summary-level ROUGE."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

# The Portuguese list of the sentence-splitter package lacks these. Lower case, no final dot.
# fmt: off
_NEVER_LAST = frozenset({
    "av", "avs", "cap", "cel", "cia", "dep", "des", "dr", "dra", "exa", "exma", "exmas",
    "exmos", "gal", "gov", "govs", "ilma", "ilmo", "pe", "pres", "prof", "profa", "srta",
    "srtas", "sta", "stas", "tel",
})
# Abbreviations only in front of a number: "mar. 1994" is a month, "o mar. Depois" is the sea.
_NOT_LAST_BEFORE_A_NUMBER = frozenset({
    "jan", "fev", "mar", "abr", "mai", "jun", "jul", "ago", "set", "out", "nov", "dez", "aprox",
    "art", "arts", "cap", "caps", "fl", "fls", "inc", "máx", "mín", "núm", "núms", "pág",
    "págs", "vol", "vols",
})
# fmt: on
_OPENING = "\"'([“\u2018«¿¡"

# The package keeps "etc." from ever ending a sentence and does not know the one-character
# ellipsis; in front of a capital letter both end one.
_UNSEEN_END = re.compile(r"(\betc\.|…)([\"'”\u2019»)\]]*) (?=[\"'(\[“\u2018«]*[A-ZÀ-ÖØ-Þ])")


def split_sentences(text: str) -> list[str]:
    """Split Portuguese text into sentences; a line break always ends one.

    Rests on the sentence-splitter package (Koehn and Schroeder's rules for Europarl), which
    is conservative: after initials, Roman numerals and acronyms ("vitamina C. Depois") it
    does not split.

    Returns:
        The non-blank sentences in order, stripped, with every run of white space inside
        them made one space. Blank text gives an empty list.
    """
    sentences: list[str] = []
    for line in text.splitlines():
        words = " ".join(line.split())
        for piece in _UNSEEN_END.sub(r"\1\2\n", words).split("\n"):
            sentences.extend(_split_line(piece))
    return sentences


def _split_line(line: str) -> list[str]:
    """Split one line, taking back the package's splits after abbreviations it lacks."""
    sentences: list[str] = []
    for piece in _splitter()(line):
        if sentences and _is_abbreviated(sentences[-1], before=piece):
            sentences[-1] = f"{sentences[-1]} {piece}"
        elif piece:
            sentences.append(piece)
    return sentences


def _is_abbreviated(sentence: str, *, before: str) -> bool:
    last = sentence.rpartition(" ")[2].lstrip(_OPENING).lower()
    if not last.endswith("."):
        return False
    word = last[:-1]
    return word in _NEVER_LAST or (before[:1].isdigit() and word in _NOT_LAST_BEFORE_A_NUMBER)


@functools.cache
def _splitter() -> Callable[[str], list[str]]:
    from sentence_splitter import SentenceSplitter

    split: Callable[[str], list[str]] = SentenceSplitter(language="pt").split
    return split
