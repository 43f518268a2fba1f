"""Scores belong to rows, rows to documents, and predictions from files are checked."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from statistics import fmean

import pytest

from sintese import metrics
from sintese.engines import Summary
from sintese.errors import DataError
from sintese.evaluation import Evaluation, evaluate, read_predictions, score
from sintese.summarizer import Engine, Summarizer

IDS = ("a", "b", "c")
TEXTS = ("O gato dorme no sofá. Depois come.", "A avó fez pão.", "Choveu muito. Parou.")
REFERENCES = ("O gato dorme.", "A avó fez pão.", "Muita chuva.")


@dataclass
class Fake:
    """A summarizer that answers from a table and remembers the batches it was given."""

    answers: dict[str, str]
    name: str = "fake"
    batches: list[list[str]] = field(default_factory=list)

    def summarize(self, texts):
        self.batches.append(list(texts))
        return [self.answers[text] for text in texts]


@dataclass
class FakeEngine(Fake):
    """The same with lengths: the first text was cut, the last two summaries were."""

    def summaries(self, texts):
        return [
            Summary(text, 9, truncated=i == "a", new_tokens=3, capped=i != "a")
            for text, i in zip(self.summarize(texts), IDS, strict=False)
        ]

    def using(self, **settings):
        return self


def data(**changes):
    return {
        "ids": IDS,
        "texts": TEXTS,
        "references": REFERENCES,
        "digest": "d1",
        **changes,
    }


def answers(*predictions: str) -> dict[str, str]:
    return dict(zip(TEXTS, predictions, strict=True))


def test_rows_stand_in_order_and_carry_their_own_scores():
    made = ("O gato dorme.", "", "Choveu.")
    found = evaluate(Fake(answers(*made)), **data())
    assert (found.name, found.digest) == ("fake", "d1")
    assert [(r.id, r.text, r.reference, r.prediction) for r in found.rows] == list(
        zip(IDS, TEXTS, REFERENCES, made, strict=True)
    )
    for protocol in metrics.PROTOCOLS:
        expected = metrics.rouge_rows(made, REFERENCES, protocol=protocol)
        assert [row.rouge[protocol] for row in found.rows] == expected
        for kind, scored in found.rouge[protocol].items():
            values = [100 * row[kind] for row in expected]
            assert scored.mean == pytest.approx(fmean(values))
            assert scored.interval == metrics.bootstrap_interval(values)
            assert scored.interval.low <= scored.mean <= scored.interval.high
    assert found.rows[0].rouge["unicode"]["rouge1"] == 1.0
    assert found.rows[1].rouge["unicode"]["rouge1"] == 0.0
    for protocol, kinds in metrics.rouge_all(made, REFERENCES).items():
        assert found.means()[protocol] == pytest.approx(kinds)


def test_lengths_and_blanks_are_counted():
    found = evaluate(Fake(answers("um dois três", " ", "quatro")), **data())
    assert found.generated_words == pytest.approx(4 / 3)
    assert found.empty_share == pytest.approx(1 / 3)
    assert found.seconds is not None and found.seconds >= 0


def test_a_bare_summarizer_knows_nothing_of_truncation():
    fake = Fake(answers("x", "y", "z"))
    assert isinstance(fake, Summarizer) and not isinstance(fake, Engine)
    found = evaluate(fake, **data())
    assert (found.truncated_share, found.capped_share) == (None, None)


def test_an_engine_tells_of_truncation():
    fake = FakeEngine(answers("x", "y", "z"), name="engine")
    assert isinstance(fake, Engine)
    found = evaluate(fake, **data())
    assert found.truncated_share == pytest.approx(1 / 3)
    assert found.capped_share == pytest.approx(2 / 3)
    assert [row.prediction for row in found.rows] == ["x", "y", "z"]


@pytest.mark.parametrize(("size", "sizes"), [(1, [1, 1, 1]), (2, [2, 1]), (3, [3]), (32, [3])])
def test_texts_are_handed_over_in_batches(size, sizes):
    fake = Fake(answers("x", "y", "z"))
    found = evaluate(fake, **data(), batch_size=size)
    assert [len(batch) for batch in fake.batches] == sizes
    assert [text for batch in fake.batches for text in batch] == list(TEXTS)
    assert [row.prediction for row in found.rows] == ["x", "y", "z"]


def test_progress_names_the_summarizer(capsys):
    evaluate(Fake(answers("x", "y", "z"), name="lead-9"), **data(), progress=True)
    assert "lead-9" in capsys.readouterr().err
    evaluate(Fake(answers("x", "y", "z"), name="lead-9"), **data())
    assert capsys.readouterr().err == ""


def test_a_summarizer_that_drops_a_text_is_caught():
    class Short(Fake):
        def summarize(self, texts):
            return super().summarize(texts)[1:]

    with pytest.raises(DataError, match="2 predictions for 3 references"):
        evaluate(Short(answers("x", "y", "z")), **data())


@pytest.mark.parametrize("kind", [Fake, FakeEngine])
def test_an_empty_split_is_refused(kind):
    with pytest.raises(DataError):
        evaluate(kind({}), **data(ids=(), texts=(), references=()))


def test_predictions_from_elsewhere_are_scored_alike():
    made = ("O gato dorme.", "", "Choveu.")
    live = evaluate(Fake(answers(*made)), **data())
    filed = score(made, **data(), name="fake")
    assert isinstance(filed, Evaluation)
    assert (filed.rows, filed.rouge, filed.seconds) == (live.rows, live.rouge, None)


# Files of predictions


def line(**row) -> str:
    return json.dumps(row, ensure_ascii=False)


GOOD = line(id="a", prediction="um", reference="dois")


def test_predictions_are_read_in_order(tmp_path):
    path = tmp_path / "made.jsonl"
    rows = [
        {"id": "b", "prediction": "não é ação", "reference": "é", "system": "mine"},
        {"id": 7, "prediction": "", "reference": ""},
        {"id": "a", "prediction": "linha\nnova", "reference": " x "},
    ]
    path.write_text("\n\n".join(line(**row) for row in rows) + "\n \n", encoding="utf-8")
    assert read_predictions(path) == (
        ["b", "7", "a"],
        ["não é ação", "", "linha\nnova"],
        ["é", "", " x "],
    )


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\u0085", "\x1c"])
def test_line_separators_inside_a_text_do_not_end_the_row(tmp_path, separator):
    # All but the last are legal in JSON strings as they are; the last only escaped.
    path = tmp_path / "made.jsonl"
    text = f"antes{separator}depois"
    written = (
        GOOD
        + "\n"
        + json.dumps(
            {"id": "b", "prediction": text, "reference": text}, ensure_ascii=separator < " "
        )
    )
    path.write_text(written, encoding="utf-8")
    assert read_predictions(path)[1] == ["um", text]


def test_files_of_other_systems_are_read_too(tmp_path):
    path = tmp_path / "made.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + f"{GOOD}\r\n".encode())
    assert read_predictions(path) == (["a"], ["um"], ["dois"])


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("{", ["line 3", "not JSON"]),
        (line(id="b", prediction="x"), ["line 3", "no 'reference'", "id, prediction, reference"]),
        (line(prediction="x", reference="y"), ["line 3", "no 'id'"]),
        (line(id="b", reference="y"), ["line 3", "no 'prediction'"]),
        (line(id="b", prediction=None, reference="y"), ["line 3", "prediction is None"]),
        (line(id="b", prediction="x", reference=["y"]), ["line 3", "reference is ['y']"]),
        (line(id="b", prediction=3, reference="y"), ["line 3", "prediction is 3"]),
        (line(id=None, prediction="x", reference="y"), ["line 3", "id"]),
        ("[1]", ["line 3", "no 'id'"]),
        ("null", ["line 3", "no 'id'"]),
        (line(id="a", prediction="x", reference="y"), ["'a'", "more than once"]),
    ],
)
def test_a_faulty_row_is_named_by_its_line(tmp_path, broken, words):
    path = tmp_path / "made.jsonl"
    path.write_text(f"{GOOD}\n\n{broken}\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_predictions(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "holds no rows"), (b"\n \n", "holds no rows"), (b"\xe9", "cannot be read")],
)
def test_a_file_without_rows_is_refused(tmp_path, content, words):
    path = tmp_path / "made.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_predictions(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "none.jsonl", tmp_path):
        with pytest.raises(DataError, match="cannot be read"):
            read_predictions(path)
