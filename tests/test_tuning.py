"""Which weights are trained, counted by hand, and what merging leaves."""

from __future__ import annotations

import json

import pytest

from sintese import models, tuning
from sintese.config import GenerationConfig, ModelConfig, TuningConfig
from sintese.errors import ConfigError

# transformers 5 says of every T5 that its embeddings are tied, PEFT finds those of T5 v1.1 untied.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Input and output embeddings are no longer tied after merging:UserWarning"
)

# The tiny model: d_model 32, inner width of attention 2 × 16 = 32, d_ff 64, 2 + 2 layers.
WIDTH, INNER, FF = 32, 32, 64
ATTENTIONS = 2 + 2 * 2  # encoder self-attention; decoder self- and cross-attention
FEED_FORWARDS = 2 + 2


@pytest.fixture
def base(tiny_model, tokenizer):
    return models.load_base(ModelConfig(base_model=str(tiny_model)), tokenizer, seed=0)


@pytest.fixture
def plain(tmp_path, tokenizer):
    """A T5 v1.0: one `wi` instead of a gated pair, one matrix for input and output embeddings."""
    shape = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 2}
    content = {"model_type": "t5", "decoder_start_token_id": 0, **shape}
    (tmp_path / "config.json").write_text(json.dumps(content))
    config = ModelConfig(base_model=str(tmp_path), init="random")
    return models.load_base(config, tokenizer, seed=0)


def shapes(names) -> list[tuple[int, int]]:
    """Return (inputs, outputs) of every linear layer of those names."""
    per_layer = {
        "q": [(WIDTH, INNER)] * ATTENTIONS,
        "k": [(WIDTH, INNER)] * ATTENTIONS,
        "v": [(WIDTH, INNER)] * ATTENTIONS,
        "o": [(INNER, WIDTH)] * ATTENTIONS,
        "wi_0": [(WIDTH, FF)] * FEED_FORWARDS,
        "wi_1": [(WIDTH, FF)] * FEED_FORWARDS,
        "wo": [(FF, WIDTH)] * FEED_FORWARDS,
    }
    return [shape for name in names for shape in per_layer[name]]


def logits(model, tokenizer):
    import torch

    batch = tokenizer(["não é ação", "um jogo de cartas"], return_tensors="pt", padding=True)
    model.eval()
    with torch.inference_mode():
        return model(**batch, decoder_input_ids=torch.tensor([[0, 5, 6], [0, 7, 8]])).logits


def stir(model) -> None:
    """Give LoRA's matrices seeded values; those of B start at zero."""
    import torch

    torch.manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.normal_(std=0.1)


def test_full_trains_everything(base):
    total = tuning.count(base).total
    prepared = tuning.prepare(base, TuningConfig(method="full"))
    assert prepared is base
    assert tuning.count(prepared) == tuning.Parameters(total=total, trainable=total)


def test_the_total_is_counted_by_hand(base):
    blocks = sum(a * b for a, b in shapes(["q", "k", "v", "o", "wi_0", "wi_1", "wo"]))
    norms = WIDTH * (2 * 2 + 3 * 2 + 2)  # 2 in an encoder layer, 3 in a decoder layer, 1 at the end
    embeddings = 640 * WIDTH * 2  # shared input, output of its own
    positions = 2 * 32 * 2  # buckets × heads, in the first layer of each side
    assert tuning.count(base).total == blocks + norms + embeddings + positions


@pytest.mark.parametrize(
    ("targets", "adapted"),
    [
        (None, ("q", "k", "v", "o", "wi_0", "wi_1", "wo")),
        (("q", "v"), ("q", "v")),
        (("wo",), ("wo",)),
    ],
)
@pytest.mark.parametrize("r", [1, 4, 16])
def test_lora_trains_r_times_inputs_plus_outputs_of_each_target(base, targets, adapted, r):
    before = tuning.count(base).total
    prepared = tuning.prepare(base, TuningConfig(r=r, target_modules=targets))
    expected = sum(r * (inputs + outputs) for inputs, outputs in shapes(adapted))
    assert tuning.count(prepared) == tuning.Parameters(before + expected, expected)
    trained = {n.rpartition(".lora_")[0] for n, w in prepared.named_parameters() if w.requires_grad}
    assert {name.rpartition(".")[2] for name in trained} == set(adapted)


def test_a_plain_t5_is_adapted_by_its_own_names(plain):
    prepared = tuning.prepare(plain, TuningConfig())
    assert prepared.peft_config["default"].target_modules == {"q", "k", "v", "o", "wi", "wo"}


def test_the_adapter_is_configured_as_asked_and_knows_its_task(base):
    from peft import TaskType

    tuned = TuningConfig(r=8, lora_alpha=24, lora_dropout=0.25, target_modules=("q", "k"))
    adapter = tuning.prepare(base, tuned).peft_config["default"]
    assert adapter.task_type == TaskType.SEQ_2_SEQ_LM
    assert (adapter.r, adapter.lora_alpha, adapter.lora_dropout) == (8, 24, 0.25)
    assert adapter.target_modules == {"q", "k"}


def test_a_fresh_adapter_changes_nothing(base, tokenizer):
    import torch

    before = logits(base, tokenizer)
    assert torch.equal(logits(tuning.prepare(base, TuningConfig()), tokenizer), before)


@pytest.mark.parametrize("dotted", [True, False])
def test_a_module_may_be_named_with_its_path(base, dotted):
    name = "decoder.block.0.layer.0.SelfAttention.q" if dotted else "q"
    prepared = tuning.prepare(base, TuningConfig(r=1, target_modules=(name,)))
    modules = 1 if dotted else ATTENTIONS
    assert tuning.count(prepared).trainable == modules * (WIDTH + INNER)


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (("q", "wo_1"), ["wo_1", "did you mean"]),
        (("wi",), ["wi", "did you mean 'wi_"]),
        (("q_proj", "v_proj"), ["q_proj, v_proj", "available: k, o, q, v, wi_0, wi_1, wo"]),
        # A known last name under a path that is not there.
        (("decoder.q",), ["decoder.q"]),
        # There, but nothing that LoRA can adapt.
        (("layer_norm",), ["layer_norm"]),
        (("block",), ["block"]),
        # `--tuning.target_modules q,`
        (("q", ""), []),
    ],
)
def test_targets_that_cannot_be_adapted_are_named(base, targets, words):
    with pytest.raises(ConfigError) as caught:
        tuning.prepare(base, TuningConfig(target_modules=targets))
    (fault,) = caught.value.faults
    assert fault.where == "tuning.target_modules"
    assert "\n" not in fault.problem
    for word in words:
        assert word in fault.problem


def test_merging_gives_what_the_adapter_gave_in_a_plain_model(base, tokenizer):
    import torch
    from peft import PeftModel

    kind, names = type(base), set(base.state_dict())
    before = logits(base, tokenizer)
    prepared = tuning.prepare(base, TuningConfig(r=4))
    stir(prepared)
    adapted = logits(prepared, tokenizer)
    assert not torch.allclose(adapted, before, atol=1e-2)
    merged = tuning.merge(prepared)
    assert type(merged) is kind and not isinstance(merged, PeftModel)
    assert set(merged.state_dict()) == names
    torch.testing.assert_close(logits(merged, tokenizer), adapted, rtol=1e-4, atol=1e-4)


def test_merging_adds_alpha_over_r_times_b_a(base):
    import torch

    q = base.decoder.block[1].layer[1].EncDecAttention.q
    before = q.weight.detach().clone()
    prepared = tuning.prepare(base, TuningConfig(r=4, lora_alpha=12, target_modules=("q",)))
    stir(prepared)
    layer = prepared.get_base_model().decoder.block[1].layer[1].EncDecAttention.q
    update = 3.0 * (layer.lora_B["default"].weight @ layer.lora_A["default"].weight).detach()
    merged = tuning.merge(prepared).decoder.block[1].layer[1].EncDecAttention.q.weight
    torch.testing.assert_close(merged, before + update, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["base", "plain"])
def test_a_merged_model_comes_back_from_disk_as_it_was(kind, tokenizer, tmp_path, request):
    import torch

    prepared = tuning.prepare(request.getfixturevalue(kind), TuningConfig(r=4))
    stir(prepared)
    adapted = logits(prepared, tokenizer)
    merged = tuning.merge(prepared)
    manifest = models.Manifest("org/base", "0" * 64, "", 64, GenerationConfig())
    models.save(merged, tokenizer, tmp_path / "merged", manifest=manifest)
    config = ModelConfig(base_model=str(tmp_path / "merged"))
    again = models.load_base(config, models.load_tokenizer(config), seed=0)
    assert models.digest(again) == models.digest(merged)
    assert torch.equal(logits(again, tokenizer), logits(merged, tokenizer))
    torch.testing.assert_close(logits(again, tokenizer), adapted, rtol=1e-4, atol=1e-4)


def test_a_model_without_adapter_is_merged_already(base):
    assert tuning.merge(base) is base
