"""Recipes: YAML, then overrides, then checks, into a `RunConfig` – and back.

All faults of a recipe are collected and raised together, so that nobody repairs it one error at
a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin

from pydantic import ValidationError

from sintese.config import Recipe, RunConfig, Section, cross_faults
from sintese.errors import ConfigError, Fault, did_you_mean

M = TypeVar("M", bound=Section)

# Names that people bring from the Hugging Face summarization example and from the PTT5/MLflow
# project this one replaces. Any other field whose name is unique needs no section either.
ALIASES: dict[str, str] = {
    "model_checkpoint": "model.base_model",
    "model_name_or_path": "model.base_model",
    "tokenizer_name": "model.tokenizer",
    "dataset": "data.source",
    "dataset_name": "data.source",
    "dataset_config_name": "data.subset",
    "max_eval_samples": "data.max_validation_samples",
    "max_predict_samples": "data.max_test_samples",
    "num_epochs": "training.num_train_epochs",
    "batch_size": "training.per_device_train_batch_size",
}
_FILE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")


def sections() -> dict[str, type[Section]]:
    """Return the sections of `RunConfig` by name, in order."""
    found = {}
    for name, field in RunConfig.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            found[name] = field.annotation
    return found


def fields() -> dict[str, tuple[str, str, Any]]:
    """Return every overridable field: dotted name → (type in words, description, default)."""
    out: dict[str, tuple[str, str, Any]] = {}
    for name, field in RunConfig.model_fields.items():
        if name not in sections():
            out[name] = (_in_words(field.annotation), field.description or "", field.default)
    for section, model in sections().items():
        for name, field in model.model_fields.items():
            words = _in_words(field.annotation)
            out[f"{section}.{name}"] = (words, field.description or "", field.default)
    return out


def resolve_name(flag: str) -> str:
    """Return the dotted field that `flag` (without dashes) stands for.

    Raises:
        ConfigError: no field answers to it, or several do.
    """
    known = fields()
    name = flag.replace("-", "_")
    if name in known:
        return name
    if name in ALIASES:
        return ALIASES[name]
    same_leaf = [field for field in known if field.rpartition(".")[2] == name]
    if len(same_leaf) == 1:
        return same_leaf[0]
    if same_leaf:
        raise ConfigError([Fault(f"--{flag}", f"is ambiguous: write {' or '.join(same_leaf)}")])
    raise ConfigError(
        [Fault(f"--{flag}", f"unknown option{did_you_mean(name, [*known, *ALIASES])}")]
    )


def parse_overrides(pairs: Iterable[tuple[str, str]]) -> tuple[dict[str, str], list[Fault]]:
    """Turn `(flag, value)` pairs into dotted overrides; the last one of a field wins.

    `--dataset` takes what people try first: a source's name, a file, or a hub id.
    """
    overrides: dict[str, str] = {}
    faults: list[Fault] = []
    for flag, value in pairs:
        try:
            name = resolve_name(flag)
        except ConfigError as error:
            faults.extend(error.faults)
            continue
        freely = flag.replace("-", "_") in ("dataset", "dataset_name")
        if freely and value.lower().removesuffix(".gz").endswith(_FILE_SUFFIXES):
            overrides |= {"data.source": "files", "data.path": value}
        elif freely and "/" in value:
            overrides |= {"data.source": "hub", "data.hub_id": value}
        else:
            overrides[name] = value
    return overrides, faults


def read(path: str | Path) -> dict[str, Any]:
    """Read a YAML recipe into a plain dictionary.

    Raises:
        ConfigError: the file is missing, is not YAML or holds no mapping.
    """
    import yaml

    path = Path(path)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        nearby = path.parent.glob("*.yaml") if path.parent.is_dir() else []
        hint = did_you_mean(path.name, [p.name for p in nearby])
        raise ConfigError([Fault("--config", f"no file {path}{hint}")]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Fault("--config", f"cannot read {path}: {error}")]) from None
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        problem = getattr(error, "problem", None) or "malformed"
        raise ConfigError([Fault("--config", f"{path}{line} is not YAML: {problem}")]) from None
    if not isinstance(raw, dict):
        raise ConfigError([Fault("--config", f"{path} holds no sections")])
    return raw


def draft(
    raw: Mapping[str, Any], overrides: Mapping[str, str] | None = None
) -> tuple[RunConfig, list[Fault]]:
    """Build a configuration and list its faults instead of raising on the first.

    Faulty values are replaced by their defaults in the returned configuration, so that the
    checks which need the whole of it, or the corpus, still run and report in the same breath.
    """
    known = sections()
    merged: dict[str, Any] = {}
    faults: list[Fault] = []
    for name, value in raw.items():
        key = str(name)  # YAML 1.1 reads `on:` as True and `1:` as a number
        if key in known and value is None:
            continue  # a section whose every field is commented out
        if key in known and not isinstance(value, Mapping):
            faults.append(Fault(key, f"must hold fields, not {value!r}"))
        elif key not in RunConfig.model_fields:
            hint = did_you_mean(key, RunConfig.model_fields)
            faults.append(Fault(key, f"unknown section{hint}"))
        else:
            merged[key] = {str(k): v for k, v in value.items()} if key in known else value
    for dotted, text in (overrides or {}).items():
        section, _, name = dotted.rpartition(".")
        target = merged.setdefault(section, {}) if section else merged
        target[name] = None if text in ("null", "none") and _optional(dotted) else text

    parts: dict[str, Any] = {}
    for section, model in known.items():
        parts[section], found = _repaired(model, merged.pop(section, {}), prefix=f"{section}.")
        faults.extend(found)
    top, found = _repaired(Recipe, merged, prefix="")
    faults.extend(found)
    config = RunConfig.model_construct(**dict(top), **parts)
    return config, faults + cross_faults(config)


def load(
    path: str | Path | None = None, *, overrides: Mapping[str, str] | None = None
) -> RunConfig:
    """Make a `RunConfig` from a recipe and overrides (dotted field name → text).

    Raises:
        ConfigError: with every fault that shows without looking at the corpus.
    """
    config, faults = draft(read(path) if path else {}, overrides)
    if faults:
        raise ConfigError(faults)
    return config


def flat(config: RunConfig) -> dict[str, Any]:
    """Return every field as `section/field` → value, the form in which MLflow logs it.

    A slash, because `mlflow run -P tuning.r=4` already logs `tuning.r`, as the text it was
    given, and MLflow refuses a second value for the same key.
    """
    out: dict[str, Any] = {}
    for name, value in config.model_dump().items():
        if isinstance(value, dict):
            out |= {f"{name}/{field}": inner for field, inner in value.items()}
        elif name != "description":
            out[name] = value
    return out


def to_yaml(config: RunConfig) -> str:
    """Return the resolved recipe as YAML that `load` reads back to an equal configuration."""
    import yaml

    plain = config.model_dump(mode="json")
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100)


def _repaired(model: type[M], values: Mapping[str, Any], *, prefix: str) -> tuple[M, list[Fault]]:
    """Validate `values`; where they are faulty, say why and fall back to the default."""
    faults: list[Fault] = []
    kept = dict(values)
    try:
        return model(**kept), faults
    except ValidationError as error:
        for detail in error.errors():
            key = str(detail["loc"][0])
            faults.append(_fault(detail, model, prefix=prefix))
            kept.pop(key, None)
    return model(**kept), faults


def _fault(detail: Any, model: type[Section], *, prefix: str) -> Fault:
    key = str(detail["loc"][0])
    if detail["type"] == "extra_forbidden":
        # Names of other sections count too: `data.learning_rate` is a misplaced, known field.
        every = [*model.model_fields, *fields()]
        return Fault(f"{prefix}{key}", f"unknown field{_suggestion(key, model, every)}")
    message = detail["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return Fault(f"{prefix}{key}", f"{detail['input']!r} should be {message}")


def _suggestion(key: str, model: type[Section], every: Iterable[str]) -> str:
    own = did_you_mean(key, model.model_fields)
    if "did you mean" in own:
        return own
    elsewhere = did_you_mean(key, every)
    return elsewhere.partition(" (")[0] + own if "did you mean" in elsewhere else own


def _optional(dotted: str) -> bool:
    section, _, name = dotted.rpartition(".")
    model = sections()[section] if section else RunConfig
    return NoneType in get_args(model.model_fields[name].annotation)


def _in_words(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Literal:
        return "|".join(map(str, get_args(annotation)))
    if origin is Annotated:
        return _in_words(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return "|".join(_in_words(a) for a in get_args(annotation) if a is not NoneType)
    if origin is tuple:
        return "names"
    return cast(str, annotation.__name__)
