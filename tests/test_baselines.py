"""The lead baselines, worked by hand, and on TeMário where the corpus is at hand."""

from __future__ import annotations

import dataclasses

import pytest

from sintese.baselines import Lead, LeadWords

TEXT = "Manchete\n\nO Sr. João saiu. Choveu muito. Voltou tarde. Dormiu."


def test_lead_keeps_whole_sentences_and_counts_a_headline() -> None:
    assert Lead().summarize([TEXT]) == ["Manchete O Sr. João saiu. Choveu muito."]
    assert Lead(sentences=1).summarize([TEXT]) == ["Manchete"]


def test_lead_of_a_short_text_is_the_text() -> None:
    assert Lead(sentences=9).summarize(["Só isto. E isto."]) == ["Só isto. E isto."]


def test_lead_words_cuts_anywhere() -> None:
    assert LeadWords(words=4).summarize([TEXT]) == ["Manchete O Sr. João"]
    assert LeadWords(words=99).summarize(["um\n dois"]) == ["um dois"]


@pytest.mark.parametrize("summarizer", [Lead(), LeadWords(words=5)])
def test_contract(summarizer: Lead | LeadWords) -> None:
    assert summarizer.summarize([]) == []
    assert summarizer.summarize(["", " \n ", TEXT])[:2] == ["", ""]
    assert summarizer.summarize([TEXT, TEXT]) == summarizer.summarize([TEXT]) * 2


def test_names_tell_the_setting() -> None:
    assert [Lead().name, Lead(sentences=5).name, LeadWords(words=200).name] == [
        "lead-3",
        "lead-5",
        "lead-200-words",
    ]


def test_settings_are_frozen_and_bounded() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Lead().sentences = 4  # type: ignore[misc]
    with pytest.raises(ValueError, match="sentences must be at least 1, not 0"):
        Lead(sentences=0)
    with pytest.raises(ValueError, match="words must be at least 1, not -2"):
        LeadWords(words=-2)
