"""The exception tree, on one page.

Every error a person can cause or cure derives from `SinteseError`. The command line
catches that base, prints the message as one line and leaves with `exit_code`; the HTTP
surfaces answer with `http_status`. A message names the flag or file, the value and the
remedy.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class SinteseError(Exception):
    """Base of every error that Síntese raises on purpose."""

    http_status: int = 500
    exit_code: int = 1


class UsageError(SinteseError):
    """The request itself is wrong: nothing was done, and repeating it will not help."""

    http_status = 422
    exit_code = 2


@dataclass(frozen=True)
class Fault:
    """One fault of a configuration: where it is, what was found and what to do about it."""

    where: str
    problem: str

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}" if self.where else self.problem


class ConfigError(UsageError):
    """A configuration that cannot be run. Holds every fault found, not only the first."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(str(fault) for fault in self.faults))


class UnknownNameError(UsageError):
    """A name that nothing answers to; says what was probably meant and what there is."""

    http_status = 404

    def __init__(self, kind: str, name: str, available: Iterable[str]) -> None:
        self.kind, self.name, self.available = kind, name, tuple(available)
        super().__init__(f"unknown {kind} {name!r}{did_you_mean(name, self.available)}")


class DataError(UsageError):
    """A corpus that cannot be read, lacks a column or is too dirty to use."""


class InputError(UsageError):
    """A text that cannot be summarized: not a string, blank, too large."""


class ModelError(SinteseError):
    """A model directory that is missing, damaged or not safe to load."""


class TrainingError(SinteseError):
    """Training that cannot go on, for instance because the loss is not a number."""


class TrackingError(SinteseError):
    """The tracking server or registry does not answer or does not hold what was asked for."""

    http_status = 502


class PublishingError(SinteseError):
    """The hub did not take the model; it is trained and registered all the same."""

    http_status = 502


class ComparisonError(UsageError):
    """Two evaluations that must not be compared: other data, other protocol."""

    http_status = 409


class MissingExtraError(SinteseError, ImportError):
    """An optional package is needed and absent."""

    exit_code = 2

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}: pip install 'sintese[{extra}]'")


def did_you_mean(name: str, available: Iterable[str]) -> str:
    """Return the tail of an error message: the closest name, and what there is if it is short."""
    names = sorted(available)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if not close:
        # `lernin_rate` for `training.learning_rate`: people drop the section, not the last word.
        leaves = {full.rpartition(".")[2]: full for full in names}
        last = difflib.get_close_matches(name.rpartition(".")[2], leaves, n=1, cutoff=0.6)
        close = [leaves[leaf] for leaf in last]
    hint = f"; did you mean {close[0]!r}?" if close else ""
    if not names or (close and len(names) > 12):
        return hint
    more = ", …" if len(names) > 24 else ""
    return f"{hint} (available: {', '.join(names[:24])}{more})"
