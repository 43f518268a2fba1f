"""The gate decides from numbers alone, and says why."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from sintese.config import GateConfig
from sintese.errors import ComparisonError
from sintese.promotion import PromotionDecision, Standing, decide

CANDIDATE = Standing("version 4", "data", "unicode (1)", 30.0)


def standing(name: str, score: float, **changes) -> Standing:
    return replace(CANDIDATE, name=name, score=score, **changes)


def decision(*, lead=20.0, champion=None, **gate) -> PromotionDecision:
    return decide(
        CANDIDATE,
        leads=[standing("lead-3", lead)],
        champion=None if champion is None else standing("champion v3", champion),
        gate=GateConfig(**gate),
    )


@pytest.mark.parametrize(
    ("lead", "champion", "gate", "promoted"),
    [
        (20.0, None, {}, True),
        (30.0, None, {}, False),  # as good as LEAD is not better
        (40.0, None, {}, False),
        (40.0, None, {"beat_lead": False}, True),
        (20.0, 29.9, {}, True),
        (20.0, 30.0, {}, False),  # the champion stays when nothing is gained
        (20.0, 30.1, {}, False),
        (40.0, 29.0, {}, False),
        (40.0, 29.0, {"beat_lead": False}, True),
        (20.0, 29.0, {"margin": 0.9}, True),
        (20.0, 29.0, {"margin": 1.0}, False),
        (20.0, 29.0, {"margin": 1.5}, False),
        (29.5, 20.0, {"margin": 5.0}, True),  # the margin is the champion's, not LEAD's
        (20.0, math.nan, {}, False),
        (math.nan, None, {}, False),
    ],
)
def test_who_is_promoted(lead, champion, gate, promoted):
    found = decision(lead=lead, champion=champion, **gate)
    assert found.promoted is promoted
    assert found.promoted == all(check.passed for check in found.checks)
    assert len(found.checks) == 2


def test_a_candidate_that_was_not_measured_is_not_promoted():
    found = decide(
        replace(CANDIDATE, score=math.nan),
        leads=[standing("lead-3", 1.0)],
        champion=standing("champion v3", 1.0),
        gate=GateConfig(),
    )
    assert not found.promoted and not any(check.passed for check in found.checks)


def test_every_lead_must_be_exceeded():
    leads = [standing("lead-3", 20.0), standing("lead-45-words", 31.0)]
    found = decide(CANDIDATE, leads=leads, champion=None, gate=GateConfig())
    assert not found.promoted
    assert [(check.name, check.passed) for check in found.checks] == [
        ("above lead-3", True),
        ("above lead-45-words", False),
        ("champion", True),
    ]


def test_the_first_version_without_leads_becomes_champion():
    found = decide(CANDIDATE, leads=[], champion=None, gate=GateConfig())
    assert found.promoted and found.reason == "there is no champion to exceed"


def test_the_reason_of_a_refusal_is_what_failed_with_its_numbers():
    found = decision(lead=20.0, champion=29.5, margin=1.0)
    assert found.reason == ("rouge1 30.00 does not exceed 29.50 of champion v3 by more than 1")
    assert "lead-3" not in found.reason
    both = decision(lead=40.0, champion=50.0)
    assert "of lead-3; rouge1" in both.reason and "50.00 of champion v3" in both.reason


def test_the_reason_of_a_promotion_is_everything_that_was_asked():
    found = decision(lead=20.0, champion=25.0, metric="rougeL")
    assert found.reason == (
        "rougeL 30.00 exceeds 20.00 of lead-3; rougeL 30.00 exceeds 25.00 of champion v3"
    )


def test_a_waived_check_says_so():
    check = decision(lead=40.0, beat_lead=False).checks[0]
    assert check.passed
    assert "does not exceed 40.00 of lead-3" in check.reason and "beat_lead" in check.reason
    # And a check that was passed anyway says nothing of a waiver.
    assert "beat_lead" not in decision(lead=20.0, beat_lead=False).checks[0].reason


def test_a_check_holds_what_was_seen_and_what_was_required():
    check = decision(champion=25.0, margin=1.5).checks[1]
    assert (check.observed, check.required, check.passed) == (30.0, 26.5, True)


@pytest.mark.parametrize("changes", [{"digest": "other"}, {"protocol": "unicode (2)"}])
@pytest.mark.parametrize("who", ["lead", "champion"])
def test_other_data_or_another_protocol_cannot_be_compared(who, changes):
    other = standing("the other", 10.0, **changes)
    with pytest.raises(ComparisonError) as caught:
        decide(
            CANDIDATE,
            leads=[other] if who == "lead" else [],
            champion=other if who == "champion" else None,
            gate=GateConfig(beat_lead=False),
        )
    text = str(caught.value)
    assert "version 4 and the other cannot be compared" in text and "\n" not in text
    assert next(iter(changes.values())) in text


def test_the_same_input_gives_the_same_decision():
    assert decision(champion=25.0) == decision(champion=25.0)
