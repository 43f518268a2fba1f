"""One frozen `RunConfig` describes a run; `sintese.recipes` makes one from a YAML file.

Field names are the ones Hugging Face uses for the same things.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)
from pydantic_core import PydanticCustomError

from sintese.errors import Fault

RougeType = Literal["rouge1", "rouge2", "rougeL", "rougeLsum"]
ProtocolName = Literal["unicode", "default", "xlsum_pt"]


def _from_commas(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _word_no(value: object) -> object:
    # YAML 1.1 reads an unquoted `no` as False.
    return "no" if value is False else value


Names = Annotated[tuple[str, ...], BeforeValidator(_from_commas)]


M = TypeVar("M", bound="Section")


class Section(BaseModel):
    """A part of `RunConfig`: immutable, closed to unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False
    )


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
    eval_strategy: Annotated[Literal["epoch", "steps", "no"], BeforeValidator(_word_no)] = Field(
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
    experiment_name: str = Field(
        "sintese",
        min_length=1,
        description="MLflow experiment; inside mlflow run, its own --experiment-name decides",
    )
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
