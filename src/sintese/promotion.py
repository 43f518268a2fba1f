"""The gate: whether a new version may become `champion`, decided by a pure function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sintese.config import GateConfig
from sintese.errors import ComparisonError


@dataclass(frozen=True)
class Standing:
    """What the gate knows of a summarizer.

    Attributes:
        name: the summarizer's, for the reasons.
        digest: of the test data it was measured on.
        protocol: name and version of the ROUGE protocol.
        score: mean F1 × 100 of the metric that decides.
    """

    name: str
    digest: str
    protocol: str
    score: float


@dataclass(frozen=True)
class Check:
    """One condition of a decision, in words and numbers."""

    name: str
    observed: float
    required: float
    passed: bool
    reason: str


@dataclass(frozen=True)
class PromotionDecision:
    """Whether to promote, and every check that led there."""

    promoted: bool
    checks: tuple[Check, ...]

    @property
    def reason(self) -> str:
        """One sentence: the failed checks, or all of them when none failed."""
        chosen = [c for c in self.checks if not c.passed] or list(self.checks)
        return "; ".join(check.reason for check in chosen)


def decide(
    candidate: Standing,
    *,
    leads: Sequence[Standing],
    champion: Standing | None,
    gate: GateConfig,
) -> PromotionDecision:
    """Decide whether `candidate` takes the place of `champion`.

    Raises:
        ComparisonError: they were not measured on the same data by the same protocol.
    """
    for other in (*leads, champion):
        if other and (other.digest, other.protocol) != (candidate.digest, candidate.protocol):
            raise ComparisonError(
                f"{candidate.name} and {other.name} cannot be compared: measured on test data "
                f"{candidate.digest[:12]} by {candidate.protocol} and on {other.digest[:12]} by "
                f"{other.protocol}; evaluate both on the same split"
            )
    checks = [
        _above(candidate, lead, margin=0.0, required=gate.beat_lead, metric=gate.metric)
        for lead in leads
    ]
    if champion is None:
        checks.append(
            Check("champion", candidate.score, 0.0, True, "there is no champion to exceed")
        )
    else:
        checks.append(
            _above(candidate, champion, margin=gate.margin, required=True, metric=gate.metric)
        )
    return PromotionDecision(all(check.passed for check in checks), tuple(checks))


def _above(
    candidate: Standing, other: Standing, *, margin: float, required: bool, metric: str
) -> Check:
    exceeded = candidate.score > other.score + margin
    verb = "exceeds" if exceeded else "does not exceed"
    by = f" by more than {margin:g}" if margin else ""
    waived = "" if exceeded or required else " (not asked for: gate.beat_lead is off)"
    return Check(
        name=f"above {other.name}",
        observed=candidate.score,
        required=other.score + margin,
        passed=exceeded or not required,
        reason=(
            f"{metric} {candidate.score:.2f} {verb} {other.score:.2f} of {other.name}{by}{waived}"
        ),
    )
