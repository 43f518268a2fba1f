"""Benchmarks: one file each, this project and its peers in the same run, interleaved.

Absolute times mean little on a shared machine; ratios do. `RESULTS.md` keeps what was measured.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata


@dataclass(frozen=True)
class Timing:
    """Seconds of one contender, a value a round."""

    name: str
    wall: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median wall time in seconds."""
        return statistics.median(self.wall)


def interleaved(contenders: Mapping[str, Callable[[], object]], *, rounds: int = 7) -> list[Timing]:
    """Time each contender `rounds` times, in turns, after one unmeasured turn each."""
    walls: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, work in contenders.items():
            started = time.perf_counter()
            work()
            if turn:
                walls[name].append(time.perf_counter() - started)
    return [Timing(name, tuple(values)) for name, values in walls.items()]


def table(timings: list[Timing], *, peers: tuple[str, ...], reach: str) -> str:
    """Return the result as Markdown; `peers` are set against the first contender, which is ours."""
    ours = timings[0]
    lines = ["| | median | spread | the first is faster by |", "| --- | --- | --- | --- |"]
    for timing in timings:
        ratio = f"{timing.median / ours.median:.1f} ×" if timing.name in peers else ""
        spread = f"{min(timing.wall):.3f}–{max(timing.wall):.3f} s"
        lines.append(f"| {timing.name} | {timing.median:.3f} s | {spread} | {ratio} |")
    return "\n".join([*lines, "", f"To reach: {reach}"])


def machine() -> str:
    """Return the line that says where a result comes from."""
    packages = ("torch", "transformers", "mlflow")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in packages)
    return (
        f"{time.strftime('%Y-%m-%d')}, {platform.machine()} {platform.system()}, "
        f"Python {platform.python_version()}, {versions}"
    )
