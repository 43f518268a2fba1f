"""The contract of engines: every file of `sintese.engines` on the same exported model."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from sintese import discovery, models, summarizer
from sintese.config import GenerationConfig, ModelConfig
from sintese.engines import Engine, Summary
from sintese.errors import InputError, ModelError, UnknownNameError, UsageError
from sintese.summarizer import Summarizer

PREFIX = "resuma: "
LIMIT = 64  # tokens of text
TEXTS = (
    "O diário é um aplicativo que permite manter um diário da sua vida.",
    "Não há.",
    "Um editor de texto simples para programadores, com realce de sintaxe e abas.",
    "Jogo de cartas.",
    "A biblioteca lê e grava imagens em muitos formatos.",
    "São Luís, às 15h — 50 % de chuva; “água” até amanhã.",
    "Ferramenta de rede para administradores de sistemas.",
    "Chuva.",
    "O governo anunciou novas medidas para a economia, e o mercado reagiu com calma.",
    "Um tocador de músicas que também edita as informações dos arquivos e baixa as capas.",
    "Calendário, contatos e tarefas.",
)
LONG = " ".join(TEXTS)
GREEDY = {"num_beams": 1, "no_repeat_ngram_size": 0}
BEAMS = {"num_beams": 4, "no_repeat_ngram_size": 3, "length_penalty": 0.6}


@pytest.fixture(scope="module")
def directory(tiny_model, tokenizer, tmp_path_factory) -> Path:
    """The tiny model as a run exports it."""
    base = models.load_base(ModelConfig(base_model=str(tiny_model)), tokenizer, seed=0)
    found: Path = tmp_path_factory.mktemp("export") / "model"
    generation = GenerationConfig(max_new_tokens=12, **GREEDY)
    manifest = models.Manifest("tiny-t5", "0" * 64, PREFIX, LIMIT, generation)
    models.save(base, tokenizer, found, manifest=manifest)
    return found


@pytest.fixture(scope="module", params=discovery.available("sintese.engines"))
def engine(request, directory) -> Engine:
    try:
        return summarizer.load(directory, engine=request.param)
    except ImportError as error:
        pytest.skip(f"engine {request.param}: {error}")


@pytest.fixture(scope="module")
def reference(directory):
    """Return what transformers itself generates for one text: (token ids, text)."""
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForSeq2SeqLM.from_pretrained(directory).eval()

    def generate(text: str, **settings) -> tuple[list[int], str]:
        batch = tokenizer(PREFIX + text, return_tensors="pt")
        assert batch["input_ids"].shape[1] <= LIMIT
        with torch.inference_mode():
            # Beams stop as soon as there are enough finished ones, as in serving.
            stop = {"early_stopping": True} if settings["num_beams"] > 1 else {}
            (row,) = model.generate(**batch, max_new_tokens=12, **settings, **stop).tolist()
        ids = [token for token in row[1:] if token not in (0, 1)]
        return ids, tokenizer.decode(ids, skip_special_tokens=True).strip()

    return generate


# What every engine does


def test_it_is_an_engine_and_a_summarizer(engine):
    assert isinstance(engine, Engine) and isinstance(engine, Summarizer)
    assert engine.name and isinstance(engine.name, str)


@pytest.mark.parametrize("settings", [GREEDY, BEAMS], ids=["greedy", "beams"])
def test_it_gives_what_transformers_gives(engine, reference, settings):
    found = engine.using(**settings).summaries(TEXTS)
    expected = [reference(text, **settings) for text in TEXTS]
    assert [summary.text for summary in found] == [text for _, text in expected]
    assert [summary.new_tokens for summary in found] == [len(ids) for ids, _ in expected]
    # Summaries that are all alike, or all as long as may be, would prove little.
    assert len({summary.text for summary in found}) == len(TEXTS)
    assert settings is GREEDY or len({summary.new_tokens for summary in found}) > 1


@pytest.mark.parametrize("settings", [GREEDY, BEAMS], ids=["greedy", "beams"])
def test_a_batch_gives_what_each_text_gives_alone_in_order(engine, settings):
    chosen = engine.using(**settings)
    together = chosen.summaries(TEXTS)
    assert together == [chosen.summaries([text])[0] for text in TEXTS]
    assert chosen.summaries(TEXTS[::-1]) == together[::-1]
    assert chosen.summarize(TEXTS) == [summary.text for summary in together]


def test_the_same_text_gives_the_same_summary(engine):
    assert len({engine.summarize([TEXTS[0]])[0] for _ in range(3)}) == 1
    assert len(set(engine.summarize([TEXTS[0]] * 3))) == 1


@pytest.mark.parametrize("blank", ["", " ", "\n\t ", "\u00a0"])
def test_blank_texts_give_blank_summaries_and_disturb_nobody(engine, blank):
    before = engine.summaries(TEXTS[:2])
    found = engine.summaries([blank, TEXTS[0], blank, TEXTS[1], blank])
    assert [found[1], found[3]] == before
    for i in (0, 2, 4):
        assert (found[i].text, found[i].new_tokens) == ("", 0)
        assert not found[i].truncated and not found[i].capped
    assert engine.summarize([blank]) == [""]


def test_no_texts_give_no_summaries(engine):
    assert engine.summarize([]) == [] == engine.summaries([])


def test_any_sequence_of_texts_will_do(engine):
    assert engine.summarize(tuple(TEXTS[:2])) == engine.summarize(list(TEXTS[:2]))


def test_a_text_that_is_too_long_is_flagged_and_read_from_its_beginning(engine, tokenizer):
    def tokens(text: str) -> int:
        return len(tokenizer(PREFIX + text)["input_ids"])

    # One piece a word: a text of exactly LIMIT tokens, and one of LIMIT + 1.
    room = LIMIT - tokens("")
    fits, over = (" ".join(["de"] * n) for n in (room, room + 1))
    assert (tokens(fits), tokens(over)) == (LIMIT, LIMIT + 1)
    whole, cut, long = engine.summaries([fits, over, LONG])
    assert [s.truncated for s in (whole, cut, long)] == [False, True, True]
    assert [s.source_tokens for s in (whole, cut, long)] == [LIMIT, LIMIT + 1, tokens(LONG)]
    # Cut back to the same tokens, end mark and all, it gives the same summary.
    assert cut.text == whole.text
    # What stands beyond the limit is not read, and what stands before it is.
    assert engine.summarize([LONG + " Chuva."]) == [long.text] != engine.summarize(["Aqui " + LONG])


@pytest.mark.parametrize("settings", [GREEDY, BEAMS], ids=["greedy", "beams"])
@pytest.mark.parametrize("limit", [1, 5, 30])
def test_no_summary_is_longer_than_asked_for_and_a_cap_is_flagged(engine, limit, settings):
    free = engine.using(**settings, max_new_tokens=200).summaries(TEXTS)
    for found, unbound in zip(
        engine.using(**settings, max_new_tokens=limit).summaries(TEXTS), free, strict=True
    ):
        assert 0 <= found.new_tokens <= limit
        assert found.capped == (found.new_tokens == limit)
        if settings is GREEDY and unbound.new_tokens < limit:
            assert not found.capped and found == unbound


def test_no_summary_is_shorter_than_asked_for(engine):
    short = [s.new_tokens for s in engine.using(**BEAMS).summaries(TEXTS)]
    assert min(short) < 12
    found = engine.using(**BEAMS, min_new_tokens=12, max_new_tokens=14).summaries(TEXTS)
    assert all(12 <= summary.new_tokens <= 14 for summary in found)


def test_no_n_gram_occurs_twice(engine):
    chosen = engine.using(num_beams=1, max_new_tokens=60)
    (free,) = chosen.using(no_repeat_ngram_size=0).summarize([LONG])
    (bound,) = chosen.using(no_repeat_ngram_size=1).summarize([LONG])
    assert len(free.split()) > len(set(free.split()))
    assert len(bound.split()) == len(set(bound.split())) > 1


def test_using_leaves_the_original_as_it_was(engine):
    before = engine.summaries(TEXTS[:3])
    other = engine.using(max_new_tokens=3)
    assert [s.new_tokens for s in other.summaries(TEXTS[:3])] == [3, 3, 3]
    assert engine.summaries(TEXTS[:3]) == before
    assert engine.using().summaries(TEXTS[:3]) == before
    assert other.name == engine.name


def test_settings_add_up(engine):
    chosen = engine.using(max_new_tokens=3).using(num_beams=2)
    assert {s.new_tokens for s in chosen.summaries(TEXTS)} <= {0, 1, 2, 3}
    assert chosen.summaries(TEXTS) == engine.using(num_beams=2, max_new_tokens=3).summaries(TEXTS)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_length": 10}, ["max_length", "max_new_tokens"]),
        ({"do_sample": True}, ["do_sample"]),
        ({"num_beams": 0}, ["num_beams", "0"]),
        ({"num_beams": 65}, ["num_beams", "64"]),
        ({"num_beams": "many"}, ["num_beams", "many"]),
        ({"num_beams": None}, ["num_beams", "None"]),
        ({"max_new_tokens": 0}, ["max_new_tokens", "0"]),
        ({"max_new_tokens": 5000}, ["max_new_tokens", "4096"]),
        ({"length_penalty": float("nan")}, ["length_penalty"]),
        ({"no_repeat_ngram_size": -1}, ["no_repeat_ngram_size"]),
        ({"min_new_tokens": 40, "max_new_tokens": 20}, ["min_new_tokens", "40", "20"]),
    ],
)
def test_settings_that_are_unknown_or_out_of_range_are_refused(engine, settings, words):
    with pytest.raises(InputError) as caught:
        engine.using(**settings)
    assert isinstance(caught.value, UsageError) and "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_special_tokens_in_a_text_do_no_harm(engine):
    texts = [
        "Antes </s> depois.",
        "</s>",
        "<extra_id_0> <pad> <unk> <extra_id_99>",
        "<script>alert('não')</script>",
    ]
    before = engine.summaries(TEXTS[:2])
    found = engine.summaries([TEXTS[0], *texts, TEXTS[1]])
    assert [found[0], found[-1]] == before
    for summary in found:
        assert isinstance(summary, Summary)
        assert not any(mark in summary.text for mark in ("</s>", "<pad>", "<extra_id_", "<unk>"))
    # An end mark written in the text does not end it.
    assert engine.summarize(["Antes </s> depois."]) != engine.summarize(["Antes </s> chuva."])


def test_special_tokens_in_a_text_are_plain_text(engine):
    # As letters `</s>` is several pieces; as the end mark it would be one.
    (plain,) = engine.summaries(["Antes depois."])
    (marked,) = engine.summaries(["Antes </s> depois."])
    assert marked.source_tokens > plain.source_tokens + 1
    (sentinel,) = engine.summaries(["Antes <extra_id_0> depois."])
    assert sentinel.source_tokens > plain.source_tokens + 1


def test_decomposed_accents_are_read_as_composed_ones(engine):
    composed = [unicodedata.normalize("NFC", text) for text in TEXTS]
    decomposed = [unicodedata.normalize("NFD", text) for text in TEXTS]
    assert composed != decomposed
    assert engine.summaries(decomposed) == engine.summaries(composed)


@pytest.mark.parametrize(
    "text", ["👩‍👩‍👧 família 🇧🇷", "שלום עולם", "nulo \0 aqui", "日本語", "\ud800 sozinho", "\u200b"]
)
def test_any_string_is_summarized_or_refused(engine, text):
    try:
        (found,) = engine.summarize([text])
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(found, str)


# Directories


@pytest.mark.parametrize("name", discovery.available("sintese.engines"))
@pytest.mark.parametrize("missing", ["everything", "sintese.json", "model.safetensors"])
def test_a_directory_that_is_not_whole_is_refused(directory, tmp_path, name, missing):
    import shutil

    broken = tmp_path / "broken"
    if missing != "everything":
        shutil.copytree(directory, broken)
        (broken / missing).unlink()
    try:
        with pytest.raises(ModelError) as caught:
            summarizer.load(broken, engine=name)
    except ImportError as error:
        pytest.skip(f"engine {name}: {error}")
    assert str(broken) in str(caught.value) and "\n" not in str(caught.value)


def test_an_unknown_engine_is_refused(directory):
    with pytest.raises(UnknownNameError, match=r"unknown engine 'hff'; did you mean 'hf'\?"):
        summarizer.load(directory, engine="hff")


def test_a_path_may_be_a_string(directory, engine):
    assert summarizer.load(str(directory)).name == directory.name == engine.name


# The reference engine in particular


def test_hf_shares_weights_between_settings(directory):
    engine = summarizer.load(directory)
    other = engine.using(num_beams=4)
    assert other.model is engine.model and other.tokenizer is engine.tokenizer
    assert (other.generation.num_beams, engine.generation.num_beams) == (4, 1)


def test_hf_takes_its_settings_from_the_manifest(directory):
    engine = summarizer.load(directory)
    assert (engine.source_prefix, engine.max_source_length) == (PREFIX, LIMIT)
    assert engine.generation == GenerationConfig(max_new_tokens=12, **GREEDY)
    assert not engine.model.training
