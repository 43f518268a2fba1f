"""One frozen `RunConfig` describes a run: YAML recipe, then overrides, then checks.

Field names are the ones Hugging Face uses for the same things. All faults of a
configuration are collected and raised together, so that nobody repairs a recipe one error
at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Self, TypeVar, Union, cast, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from sintese.errors import ConfigError, Fault, did_you_mean

RougeType = Literal["rouge1", "rouge2", "rougeL", "rougeLsum"]
ProtocolName = Literal["unicode", "default", "xlsum_pt"]


def _from_commas(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_from_commas)]


M = TypeVar("M", bound="Section")


class Section(BaseModel):
    """A part of `RunConfig`: immutable, closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class DataConfig(Section):
    """Which texts and summaries, and how they are split."""

    source: str = Field("amostra", description="corpus: amostra, temario, xlsum, xsum, files, hub")
    subset: str | None = Field(
        None, description="part of the corpus: descricoes | noticias (amostra), a language (xlsum)"
    )
    path: str | None = Field(None, description="local file, archive or folder to read from")
    train_file: str | None = Field(None, description="files: training rows")
    validation_file: str | None = Field(None, description="files: validation rows")
    test_file: str | None = Field(None, description="files: test rows")
    hub_id: str | None = Field(None, description="hub: data set id, for instance org/name")
    revision: str | None = Field(None, description="hub: branch, tag or commit to read")
    text_column: str | None = Field(None, description="column with the text; default by source")
    summary_column: str | None = Field(None, description="column with the summary")
    id_column: str | None = Field(None, description="column with the row's id, if there is one")
    validation_share: float = Field(
        0.1, gt=0, lt=1, description="share cut from training rows where no split is given"
    )
    test_share: float = Field(
        0.1, gt=0, lt=1, description="share cut from training rows where no split is given"
    )
    split_seed: int = Field(42, ge=0, description="seed of the splits made here")
    max_train_samples: int | None = Field(None, ge=1, description="use at most so many rows")
    max_validation_samples: int | None = Field(None, ge=1, description="likewise, validation")
    max_test_samples: int | None = Field(None, ge=1, description="likewise, test")
    max_bad_share: float = Field(
        0.01, ge=0, le=1, description="stop when a larger share of rows is unusable"
    )


class ModelConfig(Section):
    """Which base model, and how texts become its input."""

    base_model: str = Field(
        "unicamp-dl/ptt5-base-portuguese-vocab",
        description="hub id, local directory or the name of a model that ships with Síntese",
    )
    revision: str | None = Field(None, description="hub revision of the base model")
    tokenizer: str | None = Field(None, description="tokenizer, where it is not the base model's")
    init: Literal["pretrained", "random"] = Field(
        "pretrained", description="random: build the architecture from its configuration only"
    )
    source_prefix: str = Field("", description='put before every text, such as "summarize: "')
    max_source_length: int = Field(512, ge=8, le=65536, description="tokens of text the model sees")
    max_target_length: int = Field(
        256, ge=4, le=65536, description="tokens of summary used as target; longer ones are counted"
    )


class TuningConfig(Section):
    """Which weights are trained."""

    method: Literal["full", "lora"] = Field("lora", description="full fine-tuning or LoRA")
    r: int = Field(16, ge=1, le=1024, description="rank of the LoRA matrices")
    lora_alpha: float = Field(32, gt=0, description="LoRA scaling: alpha / r multiplies the update")
    lora_dropout: float = Field(0.05, ge=0, lt=1, description="dropout before the LoRA matrices")
    target_modules: Names | None = Field(
        None, description="comma-separated module names; default: q,k,v,o and feed-forward"
    )


class TrainingConfig(Section):
    """How the weights are trained."""

    output_dir: str = Field("outputs", description="checkpoints and exported models go below this")
    num_train_epochs: float = Field(3.0, gt=0, description="passes over the training split")
    max_steps: int | None = Field(
        None, ge=1, description="optimizer steps; overrides num_train_epochs"
    )
    learning_rate: float = Field(3e-4, gt=0, le=1, description="peak learning rate")
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = Field(
        "linear", description="learning rate after the warm-up"
    )
    warmup_steps: int | None = Field(None, ge=0, description="optimizer steps of warm-up")
    warmup_ratio: float = Field(
        0.05, ge=0, lt=1, description="share of all steps spent warming up, without warmup_steps"
    )
    weight_decay: float = Field(0.0, ge=0, description="decoupled weight decay")
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are clipped to this norm")
    optim: Literal["adamw_torch", "adamw_torch_fused", "adafactor"] = Field(
        "adamw_torch", description="optimizer"
    )
    per_device_train_batch_size: int = Field(8, ge=1, description="documents a device a forward")
    per_device_eval_batch_size: int = Field(8, ge=1, description="likewise while evaluating")
    gradient_accumulation_steps: int = Field(1, ge=1, description="forwards an optimizer step")
    precision: Literal["auto", "bf16", "fp32", "fp16"] = Field(
        "auto", description="auto: bf16 where the hardware computes it natively, else fp32"
    )
    gradient_checkpointing: bool = Field(False, description="less memory for more computation")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="label smoothing of the loss")
    eval_strategy: Literal["epoch", "steps", "no"] = Field(
        "epoch", description="when to evaluate on the validation split"
    )
    eval_steps: int = Field(200, ge=1, description="optimizer steps between evaluations, for steps")
    early_stopping_patience: int | None = Field(
        None, ge=1, description="stop after so many evaluations without a better metric"
    )
    metric_for_best_model: Literal["loss", "rouge1", "rouge2", "rougeL", "rougeLsum"] = Field(
        "rouge1", description="validation metric that chooses the best checkpoint"
    )
    save_total_limit: int = Field(2, ge=1, description="checkpoints kept")
    logging_steps: int = Field(10, ge=1, description="optimizer steps between logged losses")
    seed: int = Field(42, ge=0, lt=2**32, description="seed of weights, shuffling and dropout")


class GenerationConfig(Section):
    """How a summary is decoded, in training, evaluation and serving alike."""

    max_new_tokens: int = Field(128, ge=1, le=4096, description="longest summary, in tokens")
    min_new_tokens: int = Field(0, ge=0, le=4096, description="shortest summary, in tokens")
    num_beams: int = Field(4, ge=1, le=64, description="beams; 1 is greedy")
    length_penalty: float = Field(
        1.0, ge=-10, le=10, description="beam score exponent; above 0 favours longer summaries"
    )
    no_repeat_ngram_size: int = Field(
        3, ge=0, le=20, description="no n-gram of this size occurs twice; 0 allows all"
    )


class EvaluationConfig(Section):
    """How the trained model is measured on the test split."""

    protocol: ProtocolName = Field(
        "unicode", description="ROUGE protocol that decides; all three are always reported"
    )
    lead_sentences: int = Field(3, ge=1, description="k of the LEAD-k baseline")
    untuned: bool = Field(False, description="measure the base model as it was, too")
    batch_size: int = Field(8, ge=1, description="documents a generation batch")
    samples: int = Field(50, ge=1, description="rows of the samples table")


class GateConfig(Section):
    """When a new version becomes `champion`."""

    enabled: bool = Field(True, description="false: register as challenger and stop there")
    metric: RougeType = Field("rouge1", description="ROUGE type that decides")
    margin: float = Field(
        0.0, ge=0, le=100, description="points × 100 by which the champion must be exceeded"
    )
    beat_lead: bool = Field(True, description="refuse a model that does not exceed every LEAD")


class TrackingConfig(Section):
    """Where runs and models are recorded."""

    tracking_uri: str | None = Field(
        None, description="MLflow server or database; default MLFLOW_TRACKING_URI or ./mlflow.db"
    )
    experiment_name: str = Field("sintese", min_length=1, description="MLflow experiment")
    run_name: str | None = Field(None, description="MLflow run name; default: the recipe's name")
    registered_model_name: str = Field(
        "sintese", pattern=r"^[^/:.%\"']+$", description="model name in the MLflow registry"
    )
    register_model: bool = Field(True, description="false: log the model without registering it")
    system_metrics: bool = Field(True, description="log CPU, memory and GPU use")
    push_to_huggingface: str | None = Field(
        None, description="hub repository to upload the trained model to (token in HF_TOKEN)"
    )


class Recipe(Section):
    """What a recipe says of itself, outside its sections."""

    name: str = Field("sintese", min_length=1, description="short name of the recipe")
    description: str = Field("", description="what the recipe is for, shown on the MLflow run")


class RunConfig(Recipe):
    """Everything that decides a run. See `load` for how one is made from a recipe."""

    data: DataConfig = Field(default_factory=lambda: DataConfig())
    model: ModelConfig = Field(default_factory=lambda: ModelConfig())
    tuning: TuningConfig = Field(default_factory=lambda: TuningConfig())
    training: TrainingConfig = Field(default_factory=lambda: TrainingConfig())
    generation: GenerationConfig = Field(default_factory=lambda: GenerationConfig())
    evaluation: EvaluationConfig = Field(default_factory=lambda: EvaluationConfig())
    gate: GateConfig = Field(default_factory=lambda: GateConfig())
    tracking: TrackingConfig = Field(default_factory=lambda: TrackingConfig())

    @model_validator(mode="after")
    def _check(self) -> Self:
        if faults := cross_faults(self):
            # A custom error keeps pydantic from prefixing the text with "Value error, ".
            raise PydanticCustomError("sintese", "; ".join(map(str, faults)))
        return self


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
_FILE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")


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
        if flag in ("dataset", "dataset_name") and value.endswith(_FILE_SUFFIXES):
            overrides |= {"data.source": "files", "data.path": value}
        elif flag in ("dataset", "dataset_name") and "/" in value:
            overrides |= {"data.source": "hub", "data.hub_id": value}
        else:
            overrides[name] = value
    return overrides, faults


def read_recipe(path: str | Path) -> dict[str, Any]:
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
    for key, value in raw.items():
        if key in known and not isinstance(value, Mapping):
            faults.append(Fault(str(key), f"must hold fields, not {value!r}"))
        elif key not in RunConfig.model_fields:
            hint = did_you_mean(str(key), RunConfig.model_fields)
            faults.append(Fault(str(key), f"unknown section{hint}"))
        else:
            merged[key] = dict(value) if key in known else value
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
    config, faults = draft(read_recipe(path) if path else {}, overrides)
    if faults:
        raise ConfigError(faults)
    return config


def planned_steps(config: RunConfig, train_rows: int) -> int:
    """Return the number of optimizer steps that training on `train_rows` documents takes."""
    training = config.training
    if training.max_steps:
        return training.max_steps
    forwards = math.ceil(train_rows / training.per_device_train_batch_size)
    per_epoch = max(math.ceil(forwards / training.gradient_accumulation_steps), 1)
    return math.ceil(training.num_train_epochs * per_epoch)


def warmup_fault(config: RunConfig, train_rows: int) -> Fault | None:
    """Say so when the warm-up would outlast the training: its learning rate never peaks."""
    steps, warmup = planned_steps(config, train_rows), config.training.warmup_steps
    if warmup is None or warmup < steps:
        return None
    return Fault(
        "training.warmup_steps",
        f"{warmup} steps of warm-up in {steps} steps of training: the learning rate would never "
        f"reach its peak; use at most {max(steps // 10, 0)} or drop it for warmup_ratio",
    )


def cross_faults(config: RunConfig) -> list[Fault]:
    """Return the faults that concern several fields at once."""
    faults: list[Fault] = []
    training, generation = config.training, config.generation
    if training.precision == "fp16":
        faults.append(
            Fault(
                "training.precision",
                "fp16 overflows in T5's feed-forward layers and the loss turns NaN; "
                "use bf16, fp32 or auto",
            )
        )
    if training.max_steps and (fault := warmup_fault(config, train_rows=1)):
        faults.append(fault)
    if generation.min_new_tokens > generation.max_new_tokens:
        faults.append(
            Fault(
                "generation.min_new_tokens",
                f"{generation.min_new_tokens} is above max_new_tokens {generation.max_new_tokens}",
            )
        )
    if training.early_stopping_patience and training.eval_strategy == "no":
        faults.append(
            Fault(
                "training.early_stopping_patience",
                "needs evaluations to watch: set training.eval_strategy to epoch or steps",
            )
        )
    if config.data.validation_share + config.data.test_share >= 1:
        faults.append(
            Fault("data.test_share", "with data.validation_share leaves nothing to train on")
        )
    return faults


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
