"""Engines: one file per way of generating with a model directory.

Each file offers `load(directory) -> Engine`; see `sintese.discovery` for how it is found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable


@dataclass(frozen=True)
class Summary:
    """A summary and what was seen while making it.

    Attributes:
        text: the summary.
        source_tokens: tokens of the whole text, the model's prefix and end mark included.
        truncated: whether the model saw only the beginning of the text.
        new_tokens: tokens generated, without padding and end mark.
        capped: whether generation ended because of `max_new_tokens`.
    """

    text: str
    source_tokens: int
    truncated: bool
    new_tokens: int
    capped: bool


@runtime_checkable
class Engine(Protocol):
    """A summarizer that generates with a model and can say more than the bare text."""

    @property
    def name(self) -> str:
        """Short name for tables and logs."""
        ...

    def summarize(self, texts: Sequence[str]) -> list[str]:
        """Return a summary for each text; blank texts give blank summaries."""
        ...

    def summaries(self, texts: Sequence[str]) -> list[Summary]:
        """Return what `summarize` returns, with lengths and truncation.

        Raises:
            InputError: a text that no tokenizer can read, such as half a surrogate pair.
        """
        ...

    def using(self, **settings: Any) -> Self:
        """Return the same engine, weights shared, with other fields of `GenerationConfig`.

        Raises:
            InputError: an unknown setting or one out of its range.
        """
        ...
