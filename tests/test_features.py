"""Token ids: end marks kept, pads out of the loss, everything cut is counted."""

from __future__ import annotations

import pytest

from sintese import features
from sintese.config import ModelConfig

TEXTS = (
    "O programa edita textos simples e complexos.",
    "Um jogo de cartas.",
    "A biblioteca lê e grava imagens em muitos formatos, e também as converte de um para outro.",
    "Não há.",
    "Ferramenta de rede para administradores de sistemas.",
)
SUMMARIES = (
    "Editor de textos",
    "Cartas",
    "Leitura e gravação de imagens em muitos formatos, com conversão entre eles",
    "Nada",
    "Rede",
)
EOS, PAD = 1, 0


def tokenized(tokenizer, texts=TEXTS, summaries=SUMMARIES, **model):
    return features.tokenize(texts, summaries, tokenizer=tokenizer, config=ModelConfig(**model))


@pytest.fixture(scope="module")
def model(tiny_model, tokenizer):
    from sintese.models import load_base

    return load_base(ModelConfig(base_model=str(tiny_model)), tokenizer, seed=0)


@pytest.mark.parametrize("limits", [(512, 256), (16, 8), (8, 4)])
def test_every_row_ends_with_the_end_mark_and_fits(tokenizer, limits):
    source, target = limits
    found = tokenized(tokenizer, max_source_length=source, max_target_length=target)
    assert found.dataset.column_names == ["input_ids", "labels"]
    cut = 0
    for row, text, summary in zip(found.dataset, TEXTS, SUMMARIES, strict=True):
        for ids, limit, whole in (
            (row["input_ids"], source, tokenizer(text)["input_ids"]),
            (row["labels"], target, tokenizer(summary)["input_ids"]),
        ):
            assert ids.count(EOS) == 1 and ids[-1] == EOS
            assert len(ids) == min(len(whole), limit)
            assert ids[:-1] == whole[: len(ids) - 1]
            assert PAD not in ids and -100 not in ids
            cut += len(whole) > limit
    assert cut or limits == (512, 256)


def test_the_prefix_stands_before_texts_and_not_before_summaries(tokenizer):
    found = tokenized(tokenizer, source_prefix="resuma: ").dataset
    for row, text, summary in zip(found, TEXTS, SUMMARIES, strict=True):
        assert row["input_ids"] == tokenizer("resuma: " + text)["input_ids"]
        assert row["labels"] == tokenizer(summary)["input_ids"]
    assert found[0]["input_ids"] != tokenized(tokenizer).dataset[0]["input_ids"]


def test_truncation_is_counted_exactly(tokenizer):
    # One piece each; with the end mark a text of n of them has n + 1 tokens.
    assert len(tokenizer("de de")["input_ids"]) == 3
    texts = [" ".join(["de"] * n) for n in (3, 7, 8, 20)]
    summaries = [" ".join(["de"] * n) for n in (9, 3, 4, 3)]
    cut = tokenized(
        tokenizer, texts, summaries, max_source_length=8, max_target_length=4
    ).truncation
    # 8 tokens fit 8: only texts of 8 and 20 words are cut; summaries of 9 and 4 words likewise.
    assert (cut.rows, cut.sources_cut, cut.targets_cut) == (4, 0.5, 0.5)
    assert (cut.longest_source, cut.longest_target) == (21, 10)
    assert cut.unknown_share == 0


def test_the_prefix_counts_towards_the_length(tokenizer):
    texts = [" ".join(["de"] * 7)]
    assert tokenized(tokenizer, texts, ["de"], max_source_length=8).truncation.sources_cut == 0
    prefixed = tokenized(tokenizer, texts, ["de"], max_source_length=8, source_prefix="de ")
    assert prefixed.truncation.sources_cut == 1


def test_the_share_of_unknown_tokens_is_exact(tokenizer):
    # A run of characters the vocabulary lacks is one <unk> after the space mark.
    assert tokenizer("日本")["input_ids"] == [*tokenizer("")["input_ids"][:-1], 4, 2, 1]
    found = tokenized(tokenizer, ["de de", "日本"], ["de", "日"])
    # Tokens: 3 + 3 of the texts, 2 + 3 of the summaries; unknown: one each of the last.
    assert found.truncation.unknown_share == pytest.approx(2 / 11)


def test_no_rows_are_no_failure(tokenizer):
    found = tokenized(tokenizer, [], [])
    assert len(found.dataset) == 0
    assert found.truncation == features.Truncation(0, 0.0, 0.0, 0, 0, 0.0)


@pytest.mark.parametrize("picked", [(0, 1), (2, 3, 4), (1,), (0, 1, 2, 3, 4)])
def test_a_batch_is_padded_to_its_own_width_and_pads_are_not_in_the_loss(tokenizer, model, picked):
    rows = [tokenized(tokenizer).dataset[i] for i in picked]
    batch = features.collator(tokenizer, model)(rows)
    assert set(batch) == {"input_ids", "attention_mask", "labels", "decoder_input_ids"}
    for name, column in (("input_ids", "input_ids"), ("labels", "labels")):
        longest = max(len(row[column]) for row in rows)
        width = batch[name].shape[1]
        assert width % 8 == 0 and longest <= width < longest + 8
    for i, row in enumerate(rows):
        length = len(row["input_ids"])
        ids, mask = batch["input_ids"][i].tolist(), batch["attention_mask"][i].tolist()
        assert ids == row["input_ids"] + [PAD] * (len(ids) - length)
        assert mask == [1] * length + [0] * (len(ids) - length)
        labels = batch["labels"][i].tolist()
        length = len(row["labels"])
        assert labels == row["labels"] + [-100] * (len(labels) - length)
        assert PAD not in labels and EOS in labels
        # Teacher forcing: the start token, then the labels one to the right, pads for −100.
        shifted = [PAD] + [PAD if label == -100 else label for label in labels[:-1]]
        assert batch["decoder_input_ids"][i].tolist() == shifted


def test_widths_follow_the_batch(tokenizer, model):
    rows = tokenized(tokenizer).dataset
    collate = features.collator(tokenizer, model)
    widths = [collate([rows[i]])["input_ids"].shape[1] for i in (1, 2)]
    assert widths[0] < widths[1]


def test_the_loss_ignores_padding(tokenizer, model):
    import torch

    rows = tokenized(tokenizer).dataset
    collate = features.collator(tokenizer, model)
    model.eval()
    with torch.no_grad():
        together = model(**collate([rows[i] for i in range(5)])).loss.item()
        alone = [model(**collate([rows[i]])).loss.item() for i in range(5)]
    lengths = [len(rows[i]["labels"]) for i in range(5)]
    mean = sum(a * n for a, n in zip(alone, lengths, strict=True)) / sum(lengths)
    assert together == pytest.approx(mean, rel=1e-5)


def test_the_collator_of_an_adapted_model_makes_the_decoder_input_too(tokenizer, tiny_model):
    from sintese import tuning
    from sintese.config import TuningConfig
    from sintese.models import load_base

    base = load_base(ModelConfig(base_model=str(tiny_model)), tokenizer, seed=0)
    adapted = tuning.prepare(base, TuningConfig())
    batch = features.collator(tokenizer, adapted)([tokenized(tokenizer).dataset[0]])
    assert batch["decoder_input_ids"][0, 0] == PAD
