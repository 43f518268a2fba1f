"""Text normalization and the first sieve: what of a corpus can be used, and why the rest cannot.

Accents, hyphens, apostrophes and dashes are never touched: they are Portuguese, not noise.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

WHERE = "__where__"
"""Optional key of a row under which a reader says where the row stood, as `train.csv:12`."""

_LINE_ENDS = re.compile("\r\n?|[\v\f\x85\u2028\u2029]")
# Tabs and every Unicode space separator, among them NBSP, narrow NBSP and ideographic space.
_SPACES = re.compile("[ \t\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]+")
# Control characters other than the line feed; lone surrogates, which no file can hold; and
# marks that never show: soft hyphen, zero-width space, word joiner, byte order mark. The
# zero-width joiner stays, because emoji are spelled with it.
_UNSEEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff\u00ad\u200b\u2060\ufeff]")
_EDGES = re.compile(" ?\n ?")


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used: where it stood and why."""

    where: str
    reason: str

    def __str__(self) -> str:
        return f"{self.where} ({self.reason})"


@dataclass(frozen=True)
class Document:
    """A usable row: its texts are normalized and neither is blank."""

    id: str
    text: str
    summary: str


@dataclass(frozen=True)
class Cleaned:
    """What `clean` kept and what it did not.

    Attributes:
        documents: the rows kept, in their order; ids are unique.
        counts: rows by what became of them: `kept`, `broken`, `not_text`, `blank_text`,
            `blank_summary`, `summary_not_shorter` or `duplicate`. They add up to the rows read.
        quarantined: the rows that are faults of the data: all but the last two kinds.
    """

    documents: list[Document]
    counts: Counter[str]
    quarantined: tuple[BadRow, ...]


def normalize(text: str) -> str:
    """Return `text` in one canonical spelling.

    Unicode NFC; line feeds as the only line ends, all of them kept; every run of spaces, tabs
    and no-break spaces one space, none at the ends of lines; no control characters, lone
    surrogates, soft hyphens or zero-width spaces.
    """
    text = _SPACES.sub(" ", _LINE_ENDS.sub("\n", text))
    # Once more: removing what stood between two spaces leaves two spaces.
    text = _SPACES.sub(" ", _UNSEEN.sub("", text))
    return _EDGES.sub("\n", unicodedata.normalize("NFC", text)).strip()


def fingerprint(text: str) -> str:
    """Return the digest under which two normalized texts count as the same: white space apart."""
    return hashlib.blake2b(" ".join(text.split()).encode(), digest_size=16).hexdigest()


def clean(rows: Iterable[Mapping[str, Any] | BadRow], *, name: str = "") -> Cleaned:
    """Normalize rows and drop those that cannot teach or test a summarizer.

    Dropped are rows whose text or summary is not a string or blank, whose summary has as many
    characters as the text or more, and whose text stood in an earlier row.

    Args:
        rows: mappings with the keys `id` (None: made from the text, so that it depends neither
            on the file nor on the order), `text`, `summary`, optionally `WHERE`; or rows that
            the reader already found broken.
        name: what to call the rows in `BadRow.where`, where they do not say it themselves.
    """
    documents: list[Document] = []
    counts: Counter[str] = Counter()
    quarantined: list[BadRow] = []
    seen: set[str] = set()
    ids: Counter[str] = Counter()
    for number, row in enumerate(rows, start=1):
        if isinstance(row, BadRow):
            counts["broken"] += 1
            quarantined.append(row)
            continue
        text, summary = row.get("text"), row.get("summary")
        if not isinstance(text, str) or not isinstance(summary, str):
            field, value = ("summary", summary) if isinstance(text, str) else ("text", text)
            kind, reason = "not_text", f"{field} is {_in_words(value)}, not text"
        else:
            text, summary = normalize(text), normalize(summary)
            kind, reason = _fault(text, summary)
        if kind:
            counts[kind] += 1
            if reason:
                quarantined.append(BadRow(str(row.get(WHERE) or f"{name}:{number}"), reason))
            continue
        assert isinstance(text, str) and isinstance(summary, str)
        key = fingerprint(text)
        if key in seen:
            counts["duplicate"] += 1
            continue
        seen.add(key)
        given = row.get("id")
        identity = key[:12] if given is None or given == "" else normalize(str(given))
        ids[identity] += 1
        if ids[identity] > 1:
            # Predictions are matched by id: two rows must not answer to one name.
            identity = f"{identity}#{ids[identity]}"
        documents.append(Document(identity, text, summary))
    counts["kept"] = len(documents)
    return Cleaned(documents, counts, tuple(quarantined))


def _fault(text: str, summary: str) -> tuple[str, str]:
    """Return the kind of fault and, where the row itself is broken, the reason in words."""
    if not text:
        return "blank_text", "the text is blank"
    if not summary:
        return "blank_summary", "the summary is blank"
    if len(summary) >= len(text):
        return "summary_not_shorter", ""
    return "", ""


def _in_words(value: object) -> str:
    return "missing" if value is None else type(value).__name__
