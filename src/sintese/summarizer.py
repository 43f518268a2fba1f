"""The one interface of everything that summarizes: models, baselines and remote servers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

from sintese import discovery
from sintese.engines import Engine, Summary

__all__ = ["Engine", "Summarizer", "Summary", "load"]


@runtime_checkable
class Summarizer(Protocol):
    """Anything with a name that turns texts into summaries, one for one and in order."""

    @property
    def name(self) -> str:
        """Short name for tables and logs, such as `lead-3` or `sintese v4`."""
        ...

    def summarize(self, texts: Sequence[str]) -> list[str]:
        """Return a summary for each text; blank texts give blank summaries."""
        ...


def load(directory: str | Path, *, engine: str = "hf", batch_size: int = 8) -> Engine:
    """Load the model directory that a run exported.

    Args:
        directory: what `models.save` wrote: weights, tokenizer and `sintese.json`.
        engine: the file of `sintese.engines` that runs it.
        batch_size: most texts decoded at once.

    Raises:
        UnknownNameError: there is no such engine.
        ModelError: the directory is missing, damaged or not safe to load.
    """
    module = discovery.get("sintese.engines", engine, kind="engine")
    return cast(Engine, module.load(Path(directory), batch_size=batch_size))
