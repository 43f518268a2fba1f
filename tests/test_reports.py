"""What a person reads of a run: curves, tables, descriptions and warnings."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest

from sintese import metrics, reports
from sintese.config import RunConfig
from sintese.datasets import Corpus
from sintese.evaluation import Evaluation, score
from sintese.features import Features, Truncation
from sintese.promotion import Check, PromotionDecision
from sintese.training import TrainResult

RESULT = TrainResult(
    steps=12, train_loss=1.5, best_metric=20.0, best_step=8, seconds=61.4, history=()
)
HISTORY = (
    {"step": 1, "train/loss": 5.0, "train/learning_rate": 1e-3, "train/epoch": 0.5},
    {"step": 2, "train/loss": 4.0, "train/learning_rate": 5e-4, "train/epoch": 1.0},
    {"step": 2, "validation/loss": 4.5, "validation/rouge1": 10.0, "validation/rougeL": 8.0},
    {"step": 2, "train/epoch": 1.0},
)


def evaluation(name: str, *predictions: str, **changes) -> Evaluation:
    references = ("O gato dorme.", "A avó fez pão.", "Muita chuva.")
    return score(
        predictions or ("O gato come.", "A avó fez | pão.", "Chuva."),
        ids=("a", "b", "c"),
        texts=("texto um", "texto | dois", "texto três"),
        references=references,
        digest="d" * 64,
        name=name,
        **changes,
    )


def truncation(**changes) -> Truncation:
    return replace(Truncation(4, 0.0, 0.0, 30, 9, 0.0), **changes)


@pytest.fixture
def corpus() -> Corpus:
    from datasets import Dataset

    def rows(count: int) -> Dataset:
        return Dataset.from_dict({key: [f"{key}{i}" for i in range(count)] for key in FIELDS})

    return Corpus(
        name="amostra/descricoes",
        splits={"train": rows(4), "validation": rows(2), "test": rows(3)},
        origin="amostra/descricoes",
        licence="CC0-1.0",
        citation="",
        language="pt",
        counts={},
        quarantined=(),
    )


FIELDS = ("id", "text", "summary")


def cells(line: str) -> list[str]:
    """Split a row of a Markdown table as a renderer does: at bars that are not escaped."""
    assert line.startswith("|") and line.endswith("|") and "\n" not in line
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def tables(markdown: str) -> list[list[list[str]]]:
    """Return every table of a text as rows of cells; its rows are equally wide."""
    blocks = re.findall(r"(?:^\|.*\n?)+", markdown, flags=re.MULTILINE)
    found = [[cells(line) for line in block.splitlines()] for block in blocks]
    for table in found:
        assert len({len(row) for row in table}) == 1
        assert set(table[1]) == {"---"}
    return found


# Curves


def test_curves_hold_the_points_of_the_history():
    figures = reports.curves(HISTORY)
    assert set(figures) == {"loss.png", "learning_rate.png", "rouge.png"}

    def drawn(name: str) -> dict[str, list[tuple[float, float]]]:
        (axes,) = figures[name].axes
        assert axes.get_xlabel() == "optimizer step" and axes.get_title(loc="left")
        return {
            line.get_label(): list(zip(*map(list, line.get_data()), strict=True))
            for line in axes.lines
        }

    assert drawn("loss.png") == {"training": [(1, 5.0), (2, 4.0)], "validation": [(2, 4.5)]}
    assert drawn("rouge.png") == {"rouge1": [(2, 10.0)], "rougeL": [(2, 8.0)]}
    assert list(drawn("learning_rate.png").values()) == [[(1, 1e-3), (2, 5e-4)]]
    # A single curve needs no legend, several do.
    assert figures["learning_rate.png"].axes[0].get_legend() is None
    legend = figures["loss.png"].axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["training", "validation"]


def test_curves_can_be_written_as_pictures():
    for figure in reports.curves(HISTORY).values():
        out = io.BytesIO()
        figure.savefig(out, format="png")
        assert out.getvalue().startswith(b"\x89PNG") and len(out.getvalue()) > 1000


def test_what_was_not_measured_is_not_drawn():
    assert set(reports.curves(HISTORY[:2])) == {"loss.png", "learning_rate.png"}
    assert reports.curves([]) == {}
    assert reports.curves([{"step": 3, "train/epoch": 1.0}]) == {}


# Tables


def test_samples_put_systems_side_by_side():
    ours, lead = evaluation("model"), evaluation("lead-3", "O gato dorme.", "", "x")
    table = reports.samples(ours, [lead], limit=2, protocol="unicode")
    assert [row["id"] for row in table] == ["a", "b"]
    first = table[0]
    assert list(first) == [
        *("id", "text", "reference", "prediction", "lead-3"),
        *metrics.ROUGE_TYPES,
        "lead-3 rouge1",
    ]
    assert (first["prediction"], first["lead-3"]) == ("O gato come.", "O gato dorme.")
    assert first["rouge1"] == 66.67 and first["lead-3 rouge1"] == 100.0
    assert table[1]["text"] == "texto | dois"
    assert len(reports.samples(ours, [], limit=50, protocol="default")) == 3


def test_the_score_table_has_a_row_a_system():
    ours, lead = evaluation("model"), evaluation("lead-3", "O gato dorme.", "", "x y")
    header, *rows = reports.score_table([ours, lead], protocol="unicode")
    assert header == ("system", *metrics.ROUGE_TYPES, "words")
    assert [row[0] for row in rows] == ["model", "lead-3"]
    scored = ours.rouge["unicode"]["rouge1"]
    low, high = scored.interval.low, scored.interval.high
    assert rows[0][1] == f"{scored.mean:.2f} [{low:.1f}, {high:.1f}]"
    assert rows[1][-1] == f"{5 / 3:.1f}"
    assert all(len(row) == len(header) for row in rows)


def test_the_summary_of_an_evaluation_is_plain_data():
    import json

    found = evaluation("model", truncated_share=0.5, capped_share=0.25, seconds=2.0)
    kept = reports.summary(found)
    assert json.loads(json.dumps(kept)) == kept
    assert (kept["name"], kept["n"], kept["digest"]) == ("model", 3, "d" * 64)
    assert kept["rouge"] == found.means()
    assert (kept["truncated_share"], kept["capped_share"], kept["seconds"]) == (0.5, 0.25, 2.0)
    interval = found.rouge["default"]["rouge2"].interval
    assert kept["intervals"]["default"]["rouge2"] == [interval.low, interval.high]


# Descriptions


def test_the_run_description_says_what_is_trained_on_what(corpus):
    config = RunConfig(
        description="Para ver.", model={"base_model": "org/base"}, tuning={"method": "lora"}
    )
    features = {
        "train": Features(None, truncation(sources_cut=0.25, targets_cut=0.5)),
        "validation": Features(None, truncation()),
    }
    text = reports.run_description(config, corpus, features)
    assert text.startswith("Para ver.\n")
    assert "**lora** of `org/base` on **amostra/descricoes**" in text
    assert "(4 train, 2 validation, 3 test documents)" in text
    assert "licence CC0-1.0" in text and corpus.digest[:12] in text
    assert "train: 25.0 % of texts above 512 tokens, 50.0 % of summaries above 256" in text
    assert "validation: 0.0 % of texts" in text
    bare = reports.run_description(RunConfig(), corpus, features)
    assert bare.startswith("**lora**")


def test_the_result_description_has_a_table_a_protocol():
    ours, lead = evaluation("mo|del"), evaluation("lead-3")
    text = reports.result_description([ours, lead], protocol="unicode", training=RESULT)
    found = tables(text)
    assert len(found) == len(metrics.PROTOCOLS)
    for table, protocol in zip(found, metrics.PROTOCOLS, strict=True):
        header, _, *rows = table
        assert tuple(header) == reports.score_table([ours], protocol=protocol)[0]
        assert [row[0] for row in rows] == ["mo\\|del", "lead-3"]
    assert text.count("decides") == 1 and "unicode (accents kept)**, decides" in text
    assert "3 documents" in text
    assert text.endswith("Trained 12 steps in 61 s, best at step 8.")
    unevaluated = replace(RESULT, best_step=None)
    assert reports.result_description([ours], protocol="default", training=unevaluated).endswith(
        "Trained 12 steps in 61 s."
    )


@pytest.mark.parametrize("promoted", [True, False])
def test_the_decision_is_a_table_that_bars_do_not_break(promoted):
    checks = (
        Check("above a|b", 30.0, 20.0, True, "rouge1 30.00 exceeds 20.00 of a|b"),
        Check("champion", 30.0, 0.0, promoted, "there is no champion to exceed"),
    )
    text = reports.decision_description(PromotionDecision(promoted, checks))
    assert text.splitlines()[0] == (
        "### Promoted to `champion`" if promoted else "### Not promoted"
    )
    ((header, _, first, second),) = tables(text)
    assert header == ["check", "observed", "required", "passed", "reason"]
    assert first == ["above a\\|b", "30.00", "20.00", "yes", "rouge1 30.00 exceeds 20.00 of a\\|b"]
    assert second[3] == ("yes" if promoted else "no")


def test_the_model_card_can_be_read_by_the_hub(corpus):
    import yaml

    config = RunConfig(
        name="açúcar",
        model={"base_model": "org/base", "source_prefix": "resuma: ", "max_source_length": 99},
        generation={"num_beams": 5},
    )
    card = reports.model_card(config, corpus, [evaluation("model")], training=RESULT)
    _, front, body = card.split("---\n", 2)
    facts = yaml.safe_load(front)
    assert (facts["language"], facts["base_model"]) == ("pt", "org/base")
    assert "summarization" in facts["tags"] and facts["library_name"] == "transformers"
    assert "# açúcar" in body and "CC0-1.0" in body and "num_beams=5" in body
    assert "Reads 99 tokens" in body and "`resuma: `" in body
    assert len(tables(body)) == len(metrics.PROTOCOLS)
    plain = reports.model_card(RunConfig(), corpus, [evaluation("model")], training=RESULT)
    assert "before every text" not in plain


# Warnings


def test_a_sound_run_warns_of_nothing():
    features = {"train": Features(None, truncation(unknown_share=0.01))}
    sound = evaluation("model", truncated_share=0.0, capped_share=0.2)
    assert reports.warnings(sound, features) == []
    assert reports.warnings(evaluation("lead-3"), {}) == []


@pytest.mark.parametrize(
    ("changes", "cut", "words"),
    [
        ({"capped_share": 0.21}, {}, ["21 %", "generation.max_new_tokens"]),
        ({}, {"sources_cut": 0.5}, ["50.0 %", "model.max_source_length", "30 tokens"]),
        ({}, {"targets_cut": 0.25}, ["25.0 %", "model.max_target_length", "9 tokens"]),
        ({}, {"unknown_share": 0.02}, ["2.0 %", "unknown", "tokenizer"]),
    ],
)
def test_each_doubt_is_told_with_its_number(changes, cut, words):
    features = {"train": Features(None, truncation(**cut))}
    (warning,) = reports.warnings(evaluation("model", **changes), features)
    for word in words:
        assert word in warning


def test_empty_summaries_are_warned_of():
    (warning,) = reports.warnings(evaluation("model", "", " ", "x"), {})
    assert "66.7 %" in warning and "empty" in warning


def test_all_doubts_are_told():
    cut = truncation(sources_cut=0.5, targets_cut=0.5, unknown_share=0.5)
    found = reports.warnings(
        evaluation("model", "", "x", "y", capped_share=1.0), {"train": Features(None, cut)}
    )
    assert len(found) == 5
