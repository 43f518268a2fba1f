"""What cleaning keeps, what it drops, and that it says why."""

from __future__ import annotations

import unicodedata

import pytest

from sintese.cleaning import WHERE, BadRow, clean, fingerprint, normalize

KEPT = [
    "São João — Pão-de-açúcar, d'água 2-8",
    "“Ação”, «não é só isso»… – e o nº 5º?",
    "guarda-chuva à-toa, d’água: 3 × 4 ≠ 13",
    "primeira linha\nsegunda\n\nquarta",
    "👩‍👩‍👧 família 🇧🇷",
]


@pytest.mark.parametrize("text", KEPT)
def test_portuguese_stays_as_it_is(text):
    assert normalize(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\r\nb\rc", "a\nb\nc"),
        ("R$\u00a010\u202f000", "R$ 10 000"),
        ("  dois   espaços\te uma tabulação  ", "dois espaços e uma tabulação"),
        ("fim da linha  \n  começo", "fim da linha\ncomeço"),
        ("nulo\x00 sino\x07 escape\x1b[0m", "nulo sino escape[0m"),
        ("hí\u00adfen mole, zero\u200blargura, \ufeffmarca", "hífen mole, zerolargura, marca"),
        ("um \x00 dois", "um dois"),
        ("parágrafo\u2029outro\u2028linha", "parágrafo\noutro\nlinha"),
        ("metade \ud83d de um emoji", "metade de um emoji"),
        ("\n\n \t\n", ""),
    ],
)
def test_normalize(text, expected):
    assert normalize(text) == expected


def test_the_same_letters_get_the_same_spelling():
    word = "avó, avô, pingüim, ação"
    assert normalize(unicodedata.normalize("NFD", word)) == word
    assert normalize("avó") != normalize("avô")


@pytest.mark.parametrize("text", [*KEPT, "a\u00ad \u00ad b", "e\u0301\x00\u0301", " \n \r\n x"])
def test_normalize_twice_is_once(text):
    assert normalize(normalize(text)) == normalize(text)


def row(text="um texto bem mais longo que o resumo", summary="um resumo", **more):
    return {"id": None, "text": text, "summary": summary, **more}


def test_every_row_is_accounted_for():
    rows = [
        row(),
        BadRow("a.jsonl:2", "not JSON"),
        row(text=None),
        row(text="outro texto, também longo", summary=3),
        row(text=" \u00a0\n"),
        row(text="terceiro texto, longo", summary="\t"),
        row(text="curto", summary="mais longo que o texto"),
        row(text="um texto  bem mais longo\nque o resumo"),
    ]
    cleaned = clean(rows, name="a.jsonl")
    assert cleaned.counts == {
        "kept": 1, "broken": 1, "not_text": 2, "blank_text": 1, "blank_summary": 1,
        "summary_not_shorter": 1, "duplicate": 1,
    }  # fmt: skip
    assert sum(cleaned.counts.values()) == len(rows)
    assert list(map(str, cleaned.quarantined)) == [
        "a.jsonl:2 (not JSON)",
        "a.jsonl:3 (text is missing, not text)",
        "a.jsonl:4 (summary is int, not text)",
        "a.jsonl:5 (the text is blank)",
        "a.jsonl:6 (the summary is blank)",
    ]


def test_a_row_may_say_where_it_stood():
    cleaned = clean([row(text="", **{WHERE: "train.csv:41"})], name="x")
    assert cleaned.quarantined == (BadRow("train.csv:41", "the text is blank"),)


def test_texts_come_out_normalized():
    (document,) = clean([row(text="  ação\u00a0e reação, mais longo ", summary=" ação ")]).documents
    assert (document.text, document.summary) == ("ação e reação, mais longo", "ação")


def test_ids_are_unique_and_depend_on_the_text_alone():
    texts = [f"texto número {n}, mais longo que o resumo" for n in range(3)]
    made = [d.id for d in clean([row(text=t) for t in texts]).documents]
    turned = [d.id for d in clean([row(text=t) for t in reversed(texts)]).documents]
    assert made == turned[::-1] and len(set(made)) == 3
    given = clean([row(text=t, id=i) for t, i in zip(texts, ["a", "a", 7], strict=True)])
    assert [d.id for d in given.documents] == ["a", "a#2", "7"]


def test_fingerprints_ignore_white_space_only():
    assert fingerprint("a  b\nc") == fingerprint("a b c") != fingerprint("a b C")
