"""The three ROUGE protocols: worked cases, equality with rouge_score, numbers on record."""

from __future__ import annotations

import importlib.metadata
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from sintese.baselines import LeadWords
from sintese.errors import DataError, UnknownNameError
from sintese.metrics import (
    PROTOCOLS,
    ROUGE_TYPES,
    Interval,
    bootstrap_interval,
    evaluate_metric,
    generated_lengths,
    rouge,
    rouge_all,
    rouge_rows,
    tokens,
)

WORDS = """
    avó avô não é ação ações coração estar eleições presidente em 1994 R$ 3.500,00 São Paulo
    covid-19 guarda-chuva d'água EUA Brasília café à às econômico polícia, governo. hoje;
    “disse” ontem! p.ex. 10º
""".split()  # noqa: SIM905 - a list literal would take 31 lines


def some_pairs(count: int, *, seed: int) -> tuple[list[str], list[str]]:
    """Predictions and references of 0 to 40 words, some of them over several lines."""
    rng = random.Random(seed)

    def text() -> str:
        words = rng.choices(WORDS, k=rng.randrange(41))
        return "".join(word + rng.choice([" ", " ", " ", "\n"]) for word in words)

    return [text() for _ in range(count)], [text() for _ in range(count)]


def test_protocols_declare_what_a_reader_must_know() -> None:
    assert list(PROTOCOLS) == ["unicode", "default", "xlsum_pt"]
    for name, protocol in PROTOCOLS.items():
        assert protocol.name == name
        assert protocol.direction == "higher"
        assert protocol.description and protocol.version and protocol.tokenizer


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_equal_texts_score_one_and_strangers_zero(protocol: str) -> None:
    same, other = "O gato dorme.", "Choveu muito ontem."
    rows = rouge_rows([same, other, ""], [same, same, same], protocol=protocol)
    assert rows == [dict.fromkeys(ROUGE_TYPES, score) for score in (1.0, 0.0, 0.0)]


def test_worked_scores() -> None:
    # Prediction of 4 tokens, reference of 6; shared: o, gato, dorme (in order), one bigram.
    row = rouge_rows(["O gato cinza dorme"], ["Hoje o gato dorme no sofá"], protocol="unicode")[0]
    assert row["rouge1"] == pytest.approx(2 * 3 / (4 + 6))
    assert row["rouge2"] == pytest.approx(2 * 1 / (3 + 5))
    assert row["rougeL"] == row["rougeLsum"] == pytest.approx(2 * 3 / (4 + 6))


def test_unicode_tells_grandmother_from_grandfather_and_default_does_not() -> None:
    assert rouge(["avó"], ["avô"], protocol="unicode")["rouge1"] == 0
    assert rouge(["avó"], ["avô"], protocol="default")["rouge1"] == 100
    assert tokens("Não é AÇÃO!") == ["não", "é", "ação"]
    assert tokens("Não é AÇÃO!", protocol="default") == ["n", "o", "a", "o"]


def test_unicode_reads_composed_and_decomposed_accents_alike() -> None:
    assert tokens("AVO\u0301") == tokens("avó") == ["avó"]


def test_unicode_finds_sentences_for_rougelsum_without_line_breaks() -> None:
    reference, swapped = "Choveu ontem. O Sr. João saiu.", "O Sr. João saiu. Choveu ontem."
    scores = rouge_rows([swapped], [reference], protocol="unicode")[0]
    assert scores["rougeLsum"] == 1
    assert scores["rougeL"] < 1
    assert rouge_rows([swapped], [reference], protocol="default")[0]["rougeLsum"] < 1


def test_default_is_rouge_score_exactly() -> None:
    from rouge_score.rouge_scorer import RougeScorer

    assert importlib.metadata.version("rouge_score") == "0.1.2"
    predictions, references = some_pairs(400, seed=7)
    scorer = RougeScorer(list(ROUGE_TYPES), use_stemmer=False)
    expected = [
        {
            kind: score.fmeasure
            for kind, score in scorer.score(target=reference, prediction=prediction).items()
        }
        for prediction, reference in zip(predictions, references, strict=True)
    ]
    assert rouge_rows(predictions, references, protocol="default") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # longer than 3 characters: stemmed
        ("Eleições presidenciais", ["eleiçõ", "presidenc"]),
        ("governo governos governar", ["govern", "govern", "govern"]),
        ("coração corações", ["coraçã", "coraçõ"]),
        ("rapidamente", ["rapid"]),
        # 3 characters or fewer: as they are
        ("lei ano dia", ["lei", "ano", "dia"]),
        # stopwords: as they are, however long
        ("estivéssemos também houveram estar", ["estivéssemos", "também", "houveram", "estar"]),
        # digits part from letters; punctuation goes
        ("covid19 R2D2", ["covid", "19", "r", "2", "d", "2"]),
        ("Às 12h30, 10º lugar", ["às", "12", "h", "30", "10", "º", "lug"]),
        ("R$ 3.500,00", ["r", "3", "500", "00"]),
        # accents tell words apart
        ("avó avô vovó vovô", ["avó", "avô", "vov", "vovô"]),
        # punctuation, of ASCII and of Unicode, is dropped and parts words
        ("guarda-chuva d'água", ["guard", "chuv", "d", "águ"]),
        ("“Sim”… — não¿", ["sim", "não"]),
        # symbols beyond ASCII are tokens, combining marks are not
        ("50€ 30°", ["50", "€", "30", "°"]),
        ("ma\u0303e", ["ma\u0303"]),
        # format characters vanish: a soft hyphen joins; no-break space parts
        ("pa\u00adra um\u00a0dia", ["para", "um", "dia"]),
        ("中国a1", ["中", "国", "a", "1"]),
        ("", []),
        (" .!? ", []),
    ],
)
def test_xlsum_pt_tokens(text: str, expected: list[str]) -> None:
    assert tokens(text, protocol="xlsum_pt") == expected


def test_xlsum_pt_leaves_numbers_whole_in_rougelsum_as_the_published_scorer_does() -> None:
    scores = rouge_rows(["covid19"], ["covid"], protocol="xlsum_pt")[0]
    assert scores["rouge1"] == pytest.approx(2 / 3)
    assert scores["rougeLsum"] == 0


def test_rouge_is_the_mean_of_its_rows_in_percent() -> None:
    predictions, references = some_pairs(5, seed=1)
    for name, scores in rouge_all(predictions, references).items():
        rows = rouge_rows(predictions, references, protocol=name)
        assert scores == rouge(predictions, references, protocol=name)
        assert scores["rougeL"] == pytest.approx(100 * sum(row["rougeL"] for row in rows) / 5)
    assert rouge(predictions, references) == rouge(predictions, references, protocol="unicode")


def test_bad_requests_say_what_is_wrong() -> None:
    with pytest.raises(DataError, match="1 predictions for 2 references"):
        rouge_rows(["a"], ["a", "b"], protocol="unicode")
    with pytest.raises(DataError, match="not one string"):
        rouge("abc", "abc")
    with pytest.raises(DataError, match="empty"):
        rouge([], [])
    assert rouge_rows([], [], protocol="default") == []
    with pytest.raises(UnknownNameError, match="did you mean 'unicode'"):
        rouge(["a"], ["a"], protocol="unicod")


def test_bootstrap_interval() -> None:
    rng = random.Random(3)
    scores = [rng.random() for _ in range(200)]
    mean = sum(scores) / len(scores)
    interval = bootstrap_interval(scores)
    assert interval == bootstrap_interval(scores, level=0.95, resamples=1000, seed=0)
    assert interval != bootstrap_interval(scores, seed=1)
    assert interval.level == 0.95
    assert interval.low < mean < interval.high
    # The standard error of 200 uniform numbers is 0.0204; ± 1.96 of them is 0.080 wide.
    assert interval.high - interval.low == pytest.approx(0.080, abs=0.012)
    narrow = bootstrap_interval(scores, level=0.5)
    assert interval.low < narrow.low < narrow.high < interval.high
    assert bootstrap_interval([4.0]) == Interval(low=4.0, high=4.0, level=0.95)


def test_bootstrap_interval_refuses_what_it_cannot_answer() -> None:
    with pytest.raises(DataError, match="at least one value"):
        bootstrap_interval([])
    with pytest.raises(DataError, match="finite"):
        bootstrap_interval([0.1, float("nan")])
    with pytest.raises(ValueError, match="level"):
        bootstrap_interval([0.1], level=95)
    with pytest.raises(ValueError, match="resamples"):
        bootstrap_interval([0.1], resamples=0)


def test_generated_lengths_count_words() -> None:
    assert generated_lengths(["", " um  dois\ntrês ", "guarda-chuva"]) == [0, 3, 1]


def test_evaluate_metric_answers_like_rouge(tmp_path: Path) -> None:
    import evaluate

    predictions, references = some_pairs(10, seed=2)
    metric = evaluate_metric(cache_dir=str(tmp_path))
    assert isinstance(metric, evaluate.Metric)
    for protocol in PROTOCOLS:
        assert metric.compute(
            predictions=predictions, references=references, protocol=protocol
        ) == rouge(predictions, references, protocol=protocol)
    metric.add_batch(predictions=predictions, references=references)
    assert metric.compute() == rouge(predictions, references)


def test_importing_is_cheap() -> None:
    heavy = {"numpy", "nltk", "rouge_score", "evaluate", "sentence_splitter", "datasets"}
    code = (
        "import sys, sintese.metrics, sintese.baselines\n"
        f"print(sorted({heavy!r} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def temario() -> list[dict[str, str]]:
    """The TeMário corpus, which may not be redistributed; skips where it is not at hand."""
    beside = Path(__file__).parents[2] / "shared" / "data" / "temario.jsonl"
    path = Path(os.environ.get("SINTESE_TEMARIO_JSONL", beside))
    if not path.is_file():
        pytest.skip("TeMário not at hand: set SINTESE_TEMARIO_JSONL")
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def test_temario_lead_200_words() -> None:
    corpus = temario()
    predictions = LeadWords(words=200).summarize([row["text"] for row in corpus])
    scores = rouge(predictions, [row["summary"] for row in corpus], protocol="unicode")
    assert len(corpus) == 100
    assert scores["rouge1"] == pytest.approx(44.45, abs=0.1)
    assert scores["rouge2"] == pytest.approx(15.04, abs=0.1)
    assert scores["rougeL"] == pytest.approx(22.06, abs=0.1)
