"""What may be loaded, what is loaded, and what comes back from disk."""

from __future__ import annotations

import dataclasses
import json
import pickle
import shutil
import unicodedata
from pathlib import Path

import pytest

from sintese import models
from sintese.config import GenerationConfig, ModelConfig, TrainingConfig
from sintese.errors import ModelError
from sintese.models import Manifest, check_safe, load_base, load_tokenizer

SENTENCES = ("não é ação", "São Luís, às 15h — 50 %", "“Pão de açúcar”", "linha um\nlinha dois")


def one_line(caught: pytest.ExceptionInfo[ModelError]) -> str:
    text = str(caught.value)
    assert text and "\n" not in text
    return text


@pytest.fixture
def copy(tiny_model, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "copy"))


@pytest.fixture(scope="module")
def base(tiny_model, tokenizer):
    return load_base(ModelConfig(base_model=str(tiny_model)), tokenizer, seed=0)


def manifest(**changes) -> Manifest:
    return dataclasses.replace(
        Manifest(
            base_model="org/base",
            base_digest="ab" * 32,
            source_prefix="resuma: ",
            max_source_length=64,
            generation=GenerationConfig(num_beams=2, max_new_tokens=12),
        ),
        **changes,
    )


class Canary:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def logits(model, tokenizer):
    import torch

    batch = tokenizer(list(SENTENCES), return_tensors="pt", padding=True)
    model.eval()
    with torch.inference_mode():
        return model(**batch, decoder_input_ids=torch.zeros((len(SENTENCES), 3), dtype=int)).logits


# Safety


@pytest.mark.parametrize("suffix", ["bin", "pt", "pth", "ckpt", "pkl", "pickle"])
def test_pickles_are_refused_and_not_run(copy, tokenizer, suffix):
    canary = copy.parent / "canary"
    poisoned = copy / f"pytorch_model.{suffix}"
    poisoned.write_bytes(pickle.dumps(Canary(canary)))
    config = ModelConfig(base_model=str(copy))
    for load in (
        lambda: check_safe(copy),
        lambda: load_tokenizer(config),
        lambda: load_base(config, tokenizer, seed=0),
        lambda: load_base(config.model_copy(update={"init": "random"}), tokenizer, seed=0),
    ):
        with pytest.raises(ModelError) as caught:
            load()
        assert str(poisoned) in one_line(caught) and "safetensors" in str(caught.value)
    assert not canary.exists()
    pickle.loads(poisoned.read_bytes())
    assert canary.exists(), "the canary would not have sung"


def test_a_pickle_in_place_of_the_weights_is_not_run(copy, tokenizer):
    canary = copy.parent / "canary"
    (copy / "model.safetensors").write_bytes(pickle.dumps(Canary(canary)))
    with pytest.raises(ModelError) as caught:
        load_base(ModelConfig(base_model=str(copy)), tokenizer, seed=0)
    assert str(copy) in one_line(caught)
    assert not canary.exists()


def test_training_args_of_older_trainers_are_let_lie(copy):
    (copy / "training_args.bin").write_bytes(pickle.dumps(Canary(copy.parent / "canary")))
    check_safe(copy)
    assert not (copy.parent / "canary").exists()


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_of_a_model_repository_is_refused_and_not_run(copy, tokenizer, name):
    canary = copy.parent / "canary"
    code = f"import pathlib\npathlib.Path({str(canary)!r}).touch()\n"
    (copy / "modeling_own.py").write_text(code, encoding="utf-8")
    path = copy / name
    content = json.loads(path.read_text()) if path.exists() else {}
    auto = {"AutoConfig": "modeling_own.Own", "AutoTokenizer": ["modeling_own.Own", None]}
    path.write_text(json.dumps(content | {"auto_map": auto}), encoding="utf-8")
    for load in (
        lambda: check_safe(copy),
        lambda: load_tokenizer(ModelConfig(base_model=str(copy))),
        lambda: load_base(ModelConfig(base_model=str(copy)), tokenizer, seed=0),
    ):
        with pytest.raises(ModelError) as caught:
            load()
        assert "auto_map" in one_line(caught) and name in str(caught.value)
    assert not canary.exists()


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe", b"3", b"null", b"[]"])
def test_a_configuration_that_is_no_json_object_is_refused(copy, name, content):
    (copy / name).write_bytes(content)
    with pytest.raises(ModelError) as caught:
        check_safe(copy)
    assert name in one_line(caught)


def test_a_sound_directory_passes(copy):
    check_safe(copy)
    assert sorted(path.name for path in copy.iterdir()) == [
        "config.json",
        "model.safetensors",
        "spiece.model",
    ]


# Tokenizers


def test_the_tokenizer_is_the_sentencepiece_model_and_the_sentinels(tiny_model, tokenizer):
    import sentencepiece

    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tiny_model / "spiece.model"))
    assert len(tokenizer) == pieces.vocab_size() + 100
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (0, 1, 2)
    for text in SENTENCES:
        for form in ("NFC", "NFD"):
            written = unicodedata.normalize(form, text)
            assert tokenizer(written)["input_ids"] == [*pieces.encode(written), 1]
    assert tokenizer.decode(tokenizer("não é ação")["input_ids"][:-1]) == "não é ação"


def test_a_folder_with_nothing_but_spiece_model_is_a_tokenizer(tiny_model, tokenizer, tmp_path):
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    shutil.copy(tiny_model / "spiece.model", folder)
    alone = load_tokenizer(ModelConfig(base_model="org/elsewhere", tokenizer=str(folder)))
    assert len(alone) == len(tokenizer) > 500
    for text in SENTENCES:
        assert alone(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert alone.decode(alone("não é ação")["input_ids"], skip_special_tokens=True) == "não é ação"


def test_a_saved_tokenizer_comes_back_the_same(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    again = load_tokenizer(ModelConfig(base_model=str(tmp_path)))
    assert len(again) == len(tokenizer)
    for text in SENTENCES:
        for form in ("NFC", "NFD"):
            written = unicodedata.normalize(form, text)
            assert again(written)["input_ids"] == tokenizer(written)["input_ids"]


@pytest.mark.parametrize("name", ["org/nowhere", "no/such/local/folder", "./nowhere", "t5 small"])
def test_a_model_that_is_nowhere_gives_one_line(name, tokenizer):
    config = ModelConfig(base_model=name)
    with pytest.raises(ModelError) as caught:
        load_tokenizer(config)
    assert repr(name) in one_line(caught)
    with pytest.raises(ModelError) as caught:
        load_base(config, tokenizer, seed=0)
    assert repr(name) in one_line(caught)


# Weights


def test_pretrained_weights_are_those_of_the_file_in_fp32(tiny_model, base):
    import torch
    from safetensors.torch import load_file

    state = base.state_dict()
    for name, tensor in load_file(tiny_model / "model.safetensors").items():
        assert torch.equal(state[name], tensor), name
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}


def test_random_weights_are_seeded_and_leave_the_callers_generator_alone(tiny_model, tokenizer):
    import torch

    config = ModelConfig(base_model=str(tiny_model), init="random")
    torch.manual_seed(123)
    expected = torch.rand(1)
    torch.manual_seed(123)
    first = models.digest(load_base(config, tokenizer, seed=7))
    assert torch.equal(torch.rand(1), expected)
    assert models.digest(load_base(config, tokenizer, seed=7)) == first
    assert models.digest(load_base(config, tokenizer, seed=8)) != first


def test_random_weights_need_no_weight_file_and_fit_the_tokenizer(copy, tokenizer):
    (copy / "model.safetensors").unlink()
    content = json.loads((copy / "config.json").read_text())
    for written, rounded in ((8, 640), (640, 640), (1000, 1000)):
        # 600 pieces, and the next multiple of 128 is 640; a larger vocabulary stays as it is.
        (copy / "config.json").write_text(json.dumps(content | {"vocab_size": written}))
        config = ModelConfig(base_model=str(copy), init="random")
        model = load_base(config, tokenizer, seed=0)
        assert model.get_input_embeddings().num_embeddings == rounded == model.config.vocab_size
        assert model.get_output_embeddings().out_features == rounded


def test_a_shipped_architecture_is_built_by_its_name(tokenizer):
    model = load_base(ModelConfig(base_model="t5-small", init="random"), tokenizer, seed=0)
    assert (model.config.d_model, model.config.num_layers) == (512, 6)


def test_missing_safetensors_give_one_line_with_the_way_out(copy, tokenizer):
    (copy / "model.safetensors").unlink()
    with pytest.raises(ModelError) as caught:
        load_base(ModelConfig(base_model=str(copy)), tokenizer, seed=0)
    assert "holds no safetensors" in one_line(caught)
    assert str(copy) in str(caught.value)


@pytest.mark.parametrize("kept", [0, 4, 100, 5000])
def test_cut_off_safetensors_give_one_line(copy, tokenizer, kept):
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelError) as caught:
        load_base(ModelConfig(base_model=str(copy)), tokenizer, seed=0)
    assert str(copy) in one_line(caught)


def test_weights_that_do_not_fit_the_configuration_give_one_line(copy, tokenizer):
    path = copy / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"d_ff": 128}))
    with pytest.raises(ModelError) as caught:
        load_base(ModelConfig(base_model=str(copy)), tokenizer, seed=0)
    assert str(copy) in one_line(caught)


def test_weights_that_are_not_all_there_are_refused(copy, tokenizer):
    # transformers would make up what is missing, at random, and say so only in its log.
    from safetensors.torch import load_file, save_file

    path = copy / "model.safetensors"
    tensors = load_file(path)
    del tensors["decoder.block.1.layer.2.DenseReluDense.wo.weight"]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(ModelError) as caught:
        load_base(ModelConfig(base_model=str(copy)), tokenizer, seed=0)
    assert str(copy) in one_line(caught)


def test_a_tokenizer_larger_than_the_model_is_refused(copy, tiny_model):
    import sentencepiece

    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tiny_model / "spiece.model"))
    tokenizer = load_tokenizer(ModelConfig(base_model=str(tiny_model)))
    tokenizer.add_tokens([f"novo{number}" for number in range(41)])
    assert len(tokenizer) == pieces.vocab_size() + 141
    with pytest.raises(ModelError) as caught:
        load_base(ModelConfig(base_model=str(copy)), tokenizer, seed=0)
    assert "641 pieces" in one_line(caught) and "only 640" in str(caught.value)


@pytest.mark.parametrize("init", ["pretrained", "random"])
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_decoder_only_model_is_refused(tmp_path, tokenizer, kind, init):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    with pytest.raises(ModelError) as caught:
        load_base(ModelConfig(base_model=str(tmp_path), init=init), tokenizer, seed=0)
    assert f"is a {kind} model" in one_line(caught) and "encoder-decoder" in str(caught.value)


@pytest.mark.parametrize("kind", ["bart", "marian"])
def test_an_encoder_decoder_outside_the_t5_family_is_refused(tmp_path, tokenizer, kind):
    # Its special tokens, its start token and the modules that LoRA adapts are all different.
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": kind, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1})
    )
    config = ModelConfig(base_model=str(tmp_path), init="random")
    with pytest.raises(ModelError, match=f"is a {kind} model"):
        load_base(config, tokenizer, seed=0)


def test_an_unknown_architecture_gives_one_line(tmp_path, tokenizer):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "sintese9000"}))
    with pytest.raises(ModelError) as caught:
        load_base(ModelConfig(base_model=str(tmp_path)), tokenizer, seed=0)
    assert "sintese9000" in one_line(caught)


# Digests


def test_equal_weights_have_equal_digests_and_one_changed_value_another(tiny_model, tokenizer):
    import torch

    config = ModelConfig(base_model=str(tiny_model))
    one, other = (load_base(config, tokenizer, seed=seed) for seed in (0, 1))
    first = models.digest(one)
    assert models.digest(other) == first and len(first) == 64
    with torch.no_grad():
        weight = other.decoder.block[1].layer[0].SelfAttention.q.weight
        weight[3, 4] = torch.nextafter(weight[3, 4], torch.tensor(torch.inf))
    assert models.digest(other) != first


def test_names_and_shapes_count_towards_a_digest():
    import torch

    def digest(**tensors):
        module = torch.nn.Module()
        for name, tensor in tensors.items():
            module.register_buffer(name, tensor)
        return models.digest(module)

    values = torch.arange(6.0)
    found = [
        digest(a=values),
        digest(b=values),
        digest(a=values.reshape(2, 3)),
        digest(a=values.reshape(3, 2)),
        digest(a=values[:3], b=values[3:]),
        digest(a=torch.tensor(1.0)),
    ]
    assert len(set(found)) == len(found)
    # The order of registration and of memory does not.
    assert digest(b=values, a=values) == digest(a=values, b=values)
    transposed = values.reshape(2, 3).T.contiguous().T
    assert digest(a=transposed) == digest(a=values.reshape(2, 3))


# Manifests and directories


def test_a_manifest_comes_back_equal(tmp_path):
    written = manifest(source_prefix="resuma — «já»: ")
    written.write(tmp_path)
    assert Manifest.read(tmp_path) == written
    assert "já" in (tmp_path / models.MANIFEST).read_text(encoding="utf-8")


def test_a_directory_without_manifest_is_an_export_that_did_not_finish(tmp_path):
    with pytest.raises(ModelError, match=r"no complete model directory: no sintese\.json"):
        Manifest.read(tmp_path)


DAMAGES = {
    "cut off": lambda content: "{",
    "a list": lambda content: "[]",
    "null": lambda content: "null",
    "no base_digest": lambda content: without(content, "base_digest"),
    "no generation": lambda content: without(content, "generation"),
    "generation null": lambda content: json.dumps({**content, "generation": None}),
    "unknown key": lambda content: json.dumps({**content, "surprise": 1}),
    "two faults in generation": lambda content: json.dumps(
        {**content, "generation": {"num_beams": 0, "surprise": 1}}
    ),
    "length a text": lambda content: json.dumps({**content, "max_source_length": "64"}),
    "length negative": lambda content: json.dumps({**content, "max_source_length": -1}),
    "prefix null": lambda content: json.dumps({**content, "source_prefix": None}),
}


def without(content: dict, key: str) -> str:
    return json.dumps({name: value for name, value in content.items() if name != key})


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_manifest_gives_one_line(tmp_path, damage):
    manifest().write(tmp_path)
    path = tmp_path / models.MANIFEST
    path.write_text(damage(json.loads(path.read_text(encoding="utf-8"))), encoding="utf-8")
    with pytest.raises(ModelError) as caught:
        Manifest.read(tmp_path)
    assert f"{path} is damaged: " in one_line(caught)


def test_a_saved_model_comes_back_with_the_same_logits(base, tokenizer, tmp_path):
    import torch

    directory = tmp_path / "deep" / "model"
    models.save(base, tokenizer, directory, manifest=manifest())
    assert {"config.json", "model.safetensors", models.MANIFEST} <= {
        path.name for path in directory.iterdir()
    }
    check_safe(directory)
    config = ModelConfig(base_model=str(directory))
    again = load_base(config, load_tokenizer(config), seed=99)
    assert models.digest(again) == models.digest(base)
    assert torch.equal(logits(again, load_tokenizer(config)), logits(base, tokenizer))
    assert Manifest.read(directory) == manifest()


def test_saving_does_not_overwrite(base, tokenizer, tmp_path):
    with pytest.raises(FileExistsError):
        models.save(base, tokenizer, tmp_path, manifest=manifest())
    assert not list(tmp_path.iterdir())


def test_a_save_that_breaks_off_leaves_no_manifest(base, tmp_path):
    class Full:
        def save_pretrained(self, directory):
            raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        models.save(base, Full(), tmp_path / "model", manifest=manifest())
    with pytest.raises(ModelError, match="no complete model directory"):
        Manifest.read(tmp_path / "model")


# What ships


def test_shipped_models_can_be_located_and_are_safe():
    for name, directory in models.shipped().items():
        assert models.locate(name) == str(directory)
        assert (directory / "model.safetensors").is_file(), name
        check_safe(directory)
    assert models.locate("org/name") == "org/name"


def test_every_architecture_is_a_configuration_of_an_encoder_decoder():
    from transformers import AutoConfig

    assert "t5-small" in models.architectures()
    assert not set(models.architectures()) & set(models.shipped())
    for name, path in models.architectures().items():
        assert AutoConfig.from_pretrained(path).is_encoder_decoder, name


# Precision


@pytest.mark.parametrize(
    ("asked", "cuda", "native", "chosen"),
    [
        ("fp32", True, True, "fp32"),
        ("bf16", True, True, "bf16"),
        ("auto", False, False, "fp32"),
        ("auto", True, False, "fp32"),
        ("auto", True, True, "bf16"),
    ],
)
def test_the_precision_is_chosen_with_a_reason(monkeypatch, asked, cuda, native, chosen):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: native)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    precision = models.choose_precision(TrainingConfig(precision=asked))
    assert precision.name == chosen
    if asked != "auto":
        assert "training.precision" in precision.reason
    else:
        assert ("Tesla T4" if cuda else "no CUDA device") in precision.reason


def test_shipped_models_name_no_path_of_the_machine_that_made_them():
    # SentencePiece writes the paths of its training files into spiece.model.
    for directory in models.shipped().values():
        for path in directory.iterdir():
            content = path.read_bytes()
            found = [
                mark for mark in (b"/work/", b"/home/", b"/tmp/", b"/root/") if mark in content
            ]
            assert found == [], path
