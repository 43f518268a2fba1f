"""Recipes and overrides: every fault at once, every field by its name, the same file back."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from sintese import config as configuration
from sintese import recipes
from sintese.config import RunConfig
from sintese.errors import ConfigError
from sintese.recipes import draft, flat, load, parse_overrides, resolve_name

RECIPES = sorted((Path(__file__).resolve().parents[1] / "experiments").glob("*.yaml"))


def recipe(folder: Path, text: str, name: str = "recipe.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def overridden(*pairs: tuple[str, str]) -> RunConfig:
    overrides, faults = parse_overrides(pairs)
    assert faults == []
    return load(overrides=overrides)


def faults_of(raw, overrides=None) -> dict[str, str]:
    _, faults = draft(raw, overrides)
    found = {fault.where: fault.problem for fault in faults}
    assert len(found) == len(faults), f"a fault is told twice: {faults}"
    return found


# Faults


def test_all_faults_come_in_one_error(tmp_path):
    path = recipe(
        tmp_path,
        """
        traning: {seed: 1}
        tuning: lora
        data:
          learning_rate: 1e-3
          text_colum: resumo
          validation_share: 0.6
          test_share: 0.5
        model:
          max_source_length: 4
        training:
          learning_rate: 0
          precision: fp16
          warmup_steps: 100
          max_steps: 100
          early_stopping_patience: 2
          eval_strategy: "no"
        generation:
          num_beams: many
          min_new_tokens: 64
          max_new_tokens: 32
        """,
    )
    with pytest.raises(ConfigError) as caught:
        load(path)
    faults = {fault.where: fault.problem for fault in caught.value.faults}
    assert len(faults) == len(caught.value.faults)
    assert {where for where in faults} == {
        "traning",
        "tuning",
        "data.learning_rate",
        "data.text_colum",
        "data.test_share",
        "model.max_source_length",
        "training.learning_rate",
        "training.precision",
        "training.warmup_steps",
        "training.early_stopping_patience",
        "generation.num_beams",
        "generation.min_new_tokens",
    }
    assert "unknown section; did you mean 'training'?" in faults["traning"]
    assert "must hold fields" in faults["tuning"]
    assert "did you mean 'training.learning_rate'?" in faults["data.learning_rate"]
    assert "did you mean 'text_column'?" in faults["data.text_colum"]
    assert "leaves nothing to train on" in faults["data.test_share"]
    assert faults["model.max_source_length"] == "4 should be greater than or equal to 8"
    assert faults["training.learning_rate"] == "0 should be greater than 0"
    assert "bf16" in faults["training.precision"]
    assert "100 steps of warm-up in 100 steps of training" in faults["training.warmup_steps"]
    assert "eval_strategy" in faults["training.early_stopping_patience"]
    assert faults["generation.num_beams"].startswith("'many' should be a valid integer")
    assert faults["generation.min_new_tokens"] == "64 is above max_new_tokens 32"
    for where in faults:
        assert where in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        ("training", "learning_rate", 0),
        ("training", "learning_rate", -1e-4),
        ("training", "learning_rate", 1.5),
        ("training", "learning_rate", "fast"),
        ("training", "learning_rate", math.nan),
        ("training", "num_train_epochs", 0),
        ("training", "num_train_epochs", math.inf),
        ("training", "num_train_epochs", math.nan),
        ("training", "max_steps", 0),
        ("training", "max_steps", 2.5),
        ("training", "weight_decay", math.nan),
        ("training", "max_grad_norm", math.nan),
        ("training", "seed", 2**32),
        ("training", "optim", "adamw_bnb_8bit"),
        ("training", "eval_strategy", "epochs"),
        ("tuning", "r", 0),
        ("tuning", "method", "qlora"),
        ("tuning", "lora_dropout", 1),
        ("tuning", "lora_alpha", math.inf),
        ("generation", "num_beams", 0),
        ("generation", "max_new_tokens", 4097),
        ("generation", "length_penalty", math.nan),
        ("data", "validation_share", 0),
        ("data", "max_bad_share", 1.1),
        ("evaluation", "protocol", "unicod"),
        ("gate", "metric", "rouge"),
        ("gate", "margin", -1),
        ("tracking", "registered_model_name", "a/b"),
        ("tracking", "registered_model_name", ""),
    ],
)
def test_a_value_out_of_range_is_named_and_shown(section, field, value):
    faults = faults_of({section: {field: value}})
    assert list(faults) == [f"{section}.{field}"]
    assert repr(value) in faults[f"{section}.{field}"]


def test_faulty_values_fall_back_to_their_defaults_and_good_ones_stay():
    config, faults = draft({"training": {"learning_rate": 0, "seed": 7}, "nome": "x"})
    assert [fault.where for fault in faults] == ["nome", "training.learning_rate"]
    assert "did you mean 'name'?" in faults[0].problem
    assert config.training.learning_rate == RunConfig().training.learning_rate
    assert config.training.seed == 7


@pytest.mark.parametrize("raw", [{"training": {1: 2}}, {"training": {True: "x"}}, {3: {"a": 1}}])
def test_keys_that_are_no_words_are_unknown_fields(raw):
    # YAML 1.1 reads `on: …` as True and `1: …` as a number.
    assert len(faults_of(raw)) == 1


def test_a_section_may_stand_empty(tmp_path):
    # What is left when somebody comments out every field of a section.
    assert load(recipe(tmp_path, "training:\n  # seed: 1\n")) == RunConfig()


def test_run_config_itself_runs_the_cross_checks():
    with pytest.raises(ValidationError, match="fp16 overflows") as caught:
        RunConfig(training={"precision": "fp16"})
    assert "Value error" not in str(caught.value)


def test_everything_is_frozen():
    config = RunConfig()
    for holder, field in ((config, "name"), (config.training, "seed"), (config, "training")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(holder, field, getattr(holder, field))
    assert hash(config) == hash(RunConfig())


# Steps


@pytest.mark.parametrize(
    ("rows", "batch", "accumulation", "epochs", "max_steps", "steps"),
    [
        (10, 4, 1, 3, None, 9),  # 3 forwards an epoch
        (10, 4, 2, 3, None, 6),  # the third forward makes a step of its own
        (10, 4, 4, 3, None, 3),
        (10, 4, 1, 1.5, None, 5),  # 4.5, rounded up
        (100, 8, 1, 0.1, None, 2),  # 13 forwards, 1.3 steps
        (3, 8, 1, 2, None, 2),
        (10, 4, 1, 3, 7, 7),
    ],
)
def test_planned_steps(rows, batch, accumulation, epochs, max_steps, steps):
    config = RunConfig(
        training={
            "per_device_train_batch_size": batch,
            "gradient_accumulation_steps": accumulation,
            "num_train_epochs": epochs,
            "max_steps": max_steps,
        }
    )
    assert configuration.planned_steps(config, rows) == steps


@pytest.mark.parametrize(
    ("warmup", "rows", "fits"), [(None, 8, True), (9, 80, True), (10, 80, False), (0, 1, True)]
)
def test_a_warm_up_as_long_as_the_training_is_a_fault(warmup, rows, fits):
    # Batches of 8, one epoch: 80 rows make 10 steps.
    config = RunConfig(training={"warmup_steps": warmup, "num_train_epochs": 1})
    fault = configuration.warmup_fault(config, rows)
    assert (fault is None) == fits
    if fault:
        assert fault.where == "training.warmup_steps"
        assert "10 steps of warm-up in 10 steps of training" in fault.problem
        assert "use at most 1 " in fault.problem


def test_the_warm_up_of_a_counted_training_is_checked_without_a_corpus():
    assert "training.warmup_steps" in faults_of({"training": {"max_steps": 5, "warmup_steps": 5}})
    assert not faults_of({"training": {"max_steps": 5, "warmup_steps": 4}})
    # Without max_steps it takes the corpus to know.
    assert not faults_of({"training": {"warmup_steps": 5000}})


# Names


@pytest.mark.parametrize(
    ("flag", "field"),
    [
        ("training.learning_rate", "training.learning_rate"),
        ("learning_rate", "training.learning_rate"),
        ("learning-rate", "training.learning_rate"),
        ("training.learning-rate", "training.learning_rate"),
        ("num_beams", "generation.num_beams"),
        ("r", "tuning.r"),
        ("name", "name"),
        ("model_checkpoint", "model.base_model"),
        ("model-checkpoint", "model.base_model"),
        ("model_name_or_path", "model.base_model"),
        ("tokenizer", "model.tokenizer"),
        ("tokenizer_name", "model.tokenizer"),
        ("dataset", "data.source"),
        ("text_column", "data.text_column"),
        ("summary_column", "data.summary_column"),
        ("experiment_name", "tracking.experiment_name"),
        ("push_to_huggingface", "tracking.push_to_huggingface"),
        ("max_eval_samples", "data.max_validation_samples"),
    ],
)
def test_names_people_know(flag, field):
    assert resolve_name(flag) == field


def test_every_field_answers_to_its_full_name_and_every_alias_to_a_field():
    known = recipes.fields()
    assert all(resolve_name(name) == name for name in known)
    assert set(recipes.ALIASES.values()) <= set(known)
    leaves = {name.rpartition(".")[2] for name in known}
    assert not leaves & set(recipes.ALIASES), "an alias hides a field"


def test_every_field_has_a_type_and_a_description():
    for name, (kind, description, _) in recipes.fields().items():
        assert kind and description, name


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("revision", ["ambiguous", "data.revision", "model.revision"]),
        ("lernin_rate", ["unknown option", "did you mean", "learning_rate"]),
        ("training.lernin_rate", ["unknown option", "did you mean 'training.learning_rate'?"]),
        ("model_chekpoint", ["unknown option", "did you mean 'model_checkpoint'?"]),
        ("", ["unknown option"]),
    ],
)
def test_other_names_are_refused(flag, words):
    with pytest.raises(ConfigError) as caught:
        resolve_name(flag)
    (fault,) = caught.value.faults
    assert fault.where == f"--{flag}"
    for word in words:
        assert word in fault.problem


# Overrides


@pytest.mark.parametrize("flag", ["dataset", "dataset_name", "dataset-name"])
@pytest.mark.parametrize(
    ("value", "fields"),
    [
        ("temario", {"source": "temario"}),
        ("dados/notícias.csv", {"source": "files", "path": "dados/notícias.csv"}),
        ("notas.jsonl", {"source": "files", "path": "notas.jsonl"}),
        ("notas.parquet", {"source": "files", "path": "notas.parquet"}),
        ("notas.ndjson", {"source": "files", "path": "notas.ndjson"}),
        ("dados/notas.jsonl.gz", {"source": "files", "path": "dados/notas.jsonl.gz"}),
        ("dados/NOTAS.CSV", {"source": "files", "path": "dados/NOTAS.CSV"}),
        ("org/resumos", {"source": "hub", "hub_id": "org/resumos"}),
    ],
)
def test_dataset_takes_a_name_a_file_or_a_hub_id(flag, value, fields):
    data = overridden((flag, value)).data
    assert {field: getattr(data, field) for field in fields} == fields


def test_overrides_are_read_as_the_field_asks():
    config = overridden(
        ("model_checkpoint", "t5-small"),
        ("training.learning_rate", "3e-3"),
        ("num-beams", "2"),
        ("length_penalty", "-1"),
        ("gradient_checkpointing", "true"),
        ("register_model", "false"),
        ("target_modules", "q, v"),
        ("source_prefix", "resuma: "),
        ("description", "três é demais"),
    )
    assert config.model.base_model == "t5-small"
    assert config.training.learning_rate == 0.003
    assert config.generation.num_beams == 2
    assert config.generation.length_penalty == -1
    assert config.training.gradient_checkpointing is True
    assert config.tracking.register_model is False
    assert config.tuning.target_modules == ("q", "v")
    assert config.model.source_prefix == "resuma: "
    assert config.description == "três é demais"


def test_the_last_override_wins_and_beats_the_recipe(tmp_path):
    path = recipe(tmp_path, "training: {seed: 1, learning_rate: 1.0e-4}\n")
    overrides, _ = parse_overrides([("seed", "2"), ("training.seed", "3")])
    config = load(path, overrides=overrides)
    assert (config.training.seed, config.training.learning_rate) == (3, 1e-4)


def test_null_empties_optional_fields_only():
    raw = {"training": {"max_steps": 5}, "data": {"subset": "noticias"}}
    config, faults = draft(raw, {"training.max_steps": "null", "data.subset": "none"})
    assert (faults, config.training.max_steps, config.data.subset) == ([], None, None)
    assert draft({}, {"name": "none"})[0].name == "none"
    assert "training.learning_rate" in faults_of({}, {"training.learning_rate": "null"})


def test_an_override_may_repair_what_the_recipe_broke():
    assert not faults_of({"training": {"learning_rate": 0}}, {"training.learning_rate": "1e-4"})


def test_faulty_overrides_are_collected_and_the_good_ones_kept():
    overrides, faults = parse_overrides(
        [("lernin_rate", "1"), ("seed", "3"), ("revision", "main"), ("text_colunm", "x")]
    )
    assert overrides == {"training.seed": "3"}
    assert [fault.where for fault in faults] == ["--lernin_rate", "--revision", "--text_colunm"]


# Recipe files


@pytest.mark.parametrize(
    ("written", "value"),
    [("3e-3", 0.003), ("3.0e-3", 0.003), ("1e-05", 1e-5), ("'0.01'", 0.01), ("1", 1.0)],
)
def test_numbers_as_people_write_them(tmp_path, written, value):
    # YAML 1.1 takes 3e-3, without a point, for a text.
    found = load(recipe(tmp_path, f"training: {{learning_rate: {written}}}\n"))
    assert found.training.learning_rate == value
    assert isinstance(found.training.learning_rate, float)


def test_an_unquoted_no_is_the_word_no(tmp_path):
    # YAML 1.1 takes it for False, and `eval_strategy: no` is what everybody writes.
    found = load(recipe(tmp_path, "training: {eval_strategy: no}\n"))
    assert found.training.eval_strategy == "no"


@pytest.mark.parametrize("written", ["[q, v]", "'q,v'", "q , v"])
def test_lists_of_names(tmp_path, written):
    path = recipe(tmp_path, f"tuning:\n  target_modules: {written}\n")
    assert load(path).tuning.target_modules == ("q", "v")


def test_a_missing_recipe_names_the_one_beside_it(tmp_path):
    recipe(tmp_path, "name: x\n", name="demo.yaml")
    with pytest.raises(ConfigError, match=r"--config: no file .*dmeo.yaml; did you mean 'demo"):
        load(tmp_path / "dmeo.yaml")
    with pytest.raises(ConfigError, match="no file"):
        load(tmp_path / "nowhere" / "demo.yaml")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"name: x\ntraining:\n  seed: [1\n", "recipe.yaml, line 4 is not YAML: "),
        (b"name: x\n\tseed: 1\n", "recipe.yaml, line 2 is not YAML: "),
        (b"- name: x\n", "holds no sections"),
        (b"just words\n", "holds no sections"),
        (b"", "holds no sections"),
        (b"name: \xe9t\xe9\n", "cannot read"),
        (b"name: !!python/object/apply:os.getcwd []\n", "line 1 is not YAML: "),
    ],
)
def test_a_file_that_is_no_recipe(tmp_path, content, problem):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(path)
    (fault,) = caught.value.faults
    assert fault.where == "--config"
    assert problem in fault.problem and "\n" not in fault.problem


def test_a_folder_is_no_recipe(tmp_path):
    with pytest.raises(ConfigError, match="cannot read"):
        load(tmp_path)


def test_without_recipe_and_overrides_the_defaults_hold():
    assert load() == RunConfig()


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_shipped_recipes_are_without_fault_and_come_back_from_yaml(path, tmp_path):
    config = load(path)
    assert config.description
    assert load(recipe(tmp_path, recipes.to_yaml(config))) == config


def test_the_resolved_recipe_reads_back_equal(tmp_path):
    config = overridden(
        ("name", "açúcar"),
        ("description", "linha um\nlinha dois: «não» # nada"),
        ("target_modules", "q,v"),
        ("eval_strategy", "no"),
        ("learning_rate", "1e-05"),
        ("source_prefix", "resuma: "),
        ("run_name", "null"),
        ("subset", "0123"),
    )
    text = recipes.to_yaml(config)
    assert load(recipe(tmp_path, text)) == config
    assert draft(yaml.safe_load(text)) == (config, [])
    assert "açúcar" in text


# The flat form that is logged


def test_flat_has_every_field_under_a_key_that_mlflow_run_does_not_use():
    names = {name.replace(".", "/") for name in recipes.fields()} - {"description"}
    found = flat(overridden(("target_modules", "q,v"), ("description", "longa")))
    assert set(found) == names
    assert not any("." in key for key in found)
    assert found["tuning/target_modules"] == ("q", "v")
    assert found["training/learning_rate"] == 3e-4
    assert found["name"] == "sintese"
    # Unset is None, never the word, which could be somebody's column.
    assert found["data/text_column"] is None
    assert "None" not in found.values()


def test_flat_tells_any_two_configurations_apart():
    changed = [
        overridden(pair)
        for pair in (("seed", "1"), ("r", "8"), ("name", "x"), ("data.revision", "main"))
    ]
    for one, other in itertools.combinations([RunConfig(), *changed], 2):
        assert flat(one) != flat(other)
