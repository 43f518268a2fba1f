"""Summarizers without a model: the floor that every model must beat.

Each has a `name` and `summarize(texts)`, like every summarizer here, so a baseline is
evaluated, served and compared by the same code as a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sintese.sentences import split_sentences


@dataclass(frozen=True)
class Lead:
    """The first sentences of the text, joined by one space.

    A headline on a line of its own counts as a sentence. Fewer sentences than asked for
    give the whole text; blank text gives "".

    Attributes:
        sentences: how many to keep, at least 1; fewer raise ValueError.
    """

    sentences: int = 3

    def __post_init__(self) -> None:
        if self.sentences < 1:
            raise ValueError(f"sentences must be at least 1, not {self.sentences}")

    @property
    def name(self) -> str:
        """`lead-3` for three sentences."""
        return f"lead-{self.sentences}"

    def summarize(self, texts: Sequence[str]) -> list[str]:
        """Return one summary for each text, in order."""
        return [" ".join(split_sentences(text)[: self.sentences]) for text in texts]


@dataclass(frozen=True)
class LeadWords:
    """The first words of the text, a word being what white space separates.

    Set to the mean length of the references it is the fair floor for ROUGE, which rewards
    length. It may stop in mid-sentence. Blank text gives "".

    Attributes:
        words: how many to keep, at least 1; fewer raise ValueError.
    """

    words: int

    def __post_init__(self) -> None:
        if self.words < 1:
            raise ValueError(f"words must be at least 1, not {self.words}")

    @property
    def name(self) -> str:
        """`lead-200-words` for 200 words."""
        return f"lead-{self.words}-words"

    def summarize(self, texts: Sequence[str]) -> list[str]:
        """Return one summary for each text, in order, its words joined by one space."""
        return [" ".join(text.split()[: self.words]) for text in texts]
