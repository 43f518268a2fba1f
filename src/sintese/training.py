"""Fine-tuning through transformers' Trainer: a tokenized corpus in, a `TrainResult` out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sintese import features, metrics
from sintese.config import RunConfig, planned_steps
from sintese.errors import TrainingError
from sintese.models import Precision, decoding

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# What the Trainer calls things → what they are called in MLflow. The slash makes MLflow's UI
# put training and validation in a group of charts each.
_TRAIN_NAMES = {
    "loss": "train/loss",
    "grad_norm": "train/grad_norm",
    "learning_rate": "train/learning_rate",
    "epoch": "train/epoch",
}

Report = Callable[[dict[str, float], int], None]
"""Receives metrics by name and the optimizer step they belong to."""


@dataclass(frozen=True)
class TrainResult:
    """What training did.

    Attributes:
        steps: optimizer steps done; fewer than planned after early stopping.
        train_loss: mean loss over all steps.
        best_metric: value of `metric_for_best_model` of the weights kept, if it was evaluated.
        best_step: step of those weights, if it was evaluated.
        seconds: wall time.
        history: every logged step: `step` and metrics by their MLflow names.
    """

    steps: int
    train_loss: float
    best_metric: float | None
    best_step: int | None
    seconds: float
    history: tuple[dict[str, float], ...]


def fit(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    train: features.Features,
    validation: features.Features,
    references: Sequence[str],
    config: RunConfig,
    precision: Precision,
    output_dir: Path,
    report: Report,
) -> TrainResult:
    """Train `model` in place; afterwards it holds the best weights seen on `validation`.

    Args:
        model: prepared by `tuning.prepare`.
        tokenizer: the model's.
        train: tokenized training split.
        validation: tokenized validation split.
        references: the validation summaries, whole, in the order of `validation`.
        config: the resolved recipe.
        precision: decided by `models.choose_precision`.
        output_dir: checkpoints go to `output_dir/checkpoints`.
        report: called with each batch of metrics.

    Raises:
        TrainingError: the loss is no longer a finite number.
    """
    from transformers import (
        EarlyStoppingCallback,
        PrinterCallback,
        ProgressCallback,
        Seq2SeqTrainer,
    )

    _set_generation(model, tokenizer, config)
    evaluates = config.training.eval_strategy != "no"
    recorder = _recorder(report)
    loss = _Loss(config.training.label_smoothing)
    callbacks: list[Any] = [recorder, _watch(loss)]
    if config.training.early_stopping_patience:
        callbacks.append(EarlyStoppingCallback(config.training.early_stopping_patience))
    trainer = Seq2SeqTrainer(
        model=model,
        args=_arguments(config, precision, output_dir, rows=train.truncation.rows),
        train_dataset=train.dataset,
        eval_dataset=validation.dataset if evaluates else None,
        processing_class=tokenizer,
        data_collator=features.collator(tokenizer, model),
        compute_loss_func=loss,
        compute_metrics=_scorer(tokenizer, references, config) if evaluates else None,
        callbacks=callbacks,
    )
    # The Trainer adds one or the other; both print every log as a raw dictionary.
    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_progress())
    outcome = trainer.train()
    if not math.isfinite(outcome.training_loss):
        raise _not_finite(outcome.training_loss, trainer.state.global_step)
    return TrainResult(
        steps=trainer.state.global_step,
        train_loss=outcome.training_loss,
        best_metric=trainer.state.best_metric,
        best_step=trainer.state.best_global_step if evaluates else None,
        seconds=outcome.metrics["train_runtime"],
        history=tuple(recorder.history),
    )


def _arguments(config: RunConfig, precision: Precision, output_dir: Path, *, rows: int) -> Any:
    import torch
    from transformers import Seq2SeqTrainingArguments

    training = config.training
    steps = planned_steps(config, rows)
    warmup = training.warmup_steps
    if warmup is None:
        warmup = min(round(steps * training.warmup_ratio), steps - 1)
    evaluates = training.eval_strategy != "no"
    return Seq2SeqTrainingArguments(
        output_dir=str(output_dir / "checkpoints"),
        num_train_epochs=training.num_train_epochs,
        max_steps=training.max_steps or -1,
        learning_rate=training.learning_rate,
        lr_scheduler_type=training.lr_scheduler_type,
        warmup_steps=warmup,
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        optim=training.optim,
        per_device_train_batch_size=training.per_device_train_batch_size,
        per_device_eval_batch_size=training.per_device_eval_batch_size,
        gradient_accumulation_steps=training.gradient_accumulation_steps,
        activation_checkpointing=training.gradient_checkpointing,
        bf16=precision.name == "bf16",
        # bf16 asked for on a machine without a GPU: the Trainer takes that only if told so.
        use_cpu=precision.name == "bf16" and not torch.cuda.is_available(),
        eval_strategy=training.eval_strategy,
        eval_steps=training.eval_steps,
        save_strategy=training.eval_strategy,
        save_steps=training.eval_steps,
        save_total_limit=training.save_total_limit,
        load_best_model_at_end=evaluates,
        metric_for_best_model=f"eval_{training.metric_for_best_model}" if evaluates else None,
        greater_is_better=training.metric_for_best_model != "loss",
        predict_with_generate=True,
        logging_steps=training.logging_steps,
        logging_first_step=True,
        # The default replaces a NaN loss by the running mean and hides that training is lost.
        logging_nan_inf_filter=False,
        seed=training.seed,
        data_seed=training.seed,
        report_to="none",
        dataloader_pin_memory=precision.name == "bf16",
    )


def _set_generation(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: RunConfig
) -> None:
    """Make evaluation decode as serving will.

    Set on the model itself: the Trainer would set it on PEFT's wrapper, whose `generate` asks the
    wrapped model, and every summary would end at the library's default of 20 tokens.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    base.generation_config = decoding(config.generation, base.config, tokenizer)


class _Loss:
    """Cross-entropy over the tokens of a whole optimizer step, padding (−100) left out.

    The Trainer divides by the tokens of all accumulated batches only if the model's own loss
    takes part in that; T5's does not, and loss and gradient would grow with
    `gradient_accumulation_steps`.
    """

    def __init__(self, label_smoothing: float) -> None:
        self.label_smoothing = label_smoothing
        self.last: torch.Tensor | None = None

    def __call__(self, outputs: Any, labels: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        from torch.nn.functional import cross_entropy

        logits = outputs["logits"]
        total = cross_entropy(
            logits.reshape(-1, logits.shape[-1]).float(),
            labels.reshape(-1),
            ignore_index=-100,
            label_smoothing=self.label_smoothing,
            reduction="sum",
        )
        count = (labels != -100).sum() if num_items_in_batch is None else num_items_in_batch
        self.last = (total / count).detach()
        return total / count


def _watch(loss: _Loss) -> Any:
    """Return a Trainer callback that ends training one step after a loss that is no number.

    One step after and not at once: by then the value has long been computed, and asking a GPU
    for it does not make the next step wait.
    """
    from transformers import TrainerCallback

    class Watch(TrainerCallback):  # type: ignore[misc] # transformers is untyped
        def __init__(self) -> None:
            self.before: torch.Tensor | None = None

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if self.before is not None and not math.isfinite(value := self.before.item()):
                raise _not_finite(value, state.global_step - 1)
            self.before = loss.last

    return Watch()


def _scorer(
    tokenizer: PreTrainedTokenizerBase, references: Sequence[str], config: RunConfig
) -> Callable[[Any], dict[str, float]]:
    pad, eos = tokenizer.pad_token_id, tokenizer.eos_token_id

    def score(prediction: Any) -> dict[str, float]:
        # Rows of different batches are padded to one width with −100, which is no token.
        rows = [[t if t >= 0 else pad for t in row] for row in prediction.predictions.tolist()]
        texts = tokenizer.batch_decode(rows, skip_special_tokens=True)
        lengths = [sum(t not in (pad, eos) for t in row[1:]) for row in rows]
        cap = config.generation.max_new_tokens
        return {
            **metrics.rouge(texts, references, protocol=config.evaluation.protocol),
            "generated_tokens": sum(lengths) / len(lengths),
            "capped_share": sum(length >= cap for length in lengths) / len(lengths),
        }

    return score


def _recorder(report: Report) -> Any:
    """Return a Trainer callback that renames, keeps and reports what the Trainer logs."""
    from transformers import TrainerCallback

    class Recorder(TrainerCallback):  # type: ignore[misc] # transformers is untyped
        def __init__(self) -> None:
            self.history: list[dict[str, float]] = []

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            found: dict[str, float] = {}
            for key, value in (logs or {}).items():
                if key in _TRAIN_NAMES:
                    found[_TRAIN_NAMES[key]] = float(value)
                elif key.startswith("eval_") and not key.endswith("_per_second"):
                    found[f"validation/{key.removeprefix('eval_')}"] = float(value)
            if not found.keys() - {"train/epoch"}:
                return  # the Trainer's closing summary
            self.history.append({"step": state.global_step, **found})
            report(found, state.global_step)
            if not math.isfinite(found.get("train/loss", 0.0)):
                raise _not_finite(found["train/loss"], state.global_step)

    return Recorder()


def _progress() -> Any:
    """Return a Trainer callback: one bar with time left and loss, a line an evaluation."""
    from tqdm.auto import tqdm
    from transformers import TrainerCallback

    class Progress(TrainerCallback):  # type: ignore[misc] # transformers is untyped
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.bar = tqdm(total=state.max_steps, desc="training", unit="step", mininterval=1.0)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.bar.update(state.global_step - self.bar.n)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            logs = logs or {}
            if "loss" in logs:
                self.bar.set_postfix(loss=f"{logs['loss']:.3f}")
            if "eval_loss" in logs:
                rouge = f", rouge1 {logs['eval_rouge1']:.2f}" if "eval_rouge1" in logs else ""
                self.bar.write(
                    f"  step {state.global_step}: validation loss {logs['eval_loss']:.3f}{rouge}"
                )

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.bar.close()

    return Progress()


def _not_finite(loss: float, step: int) -> TrainingError:
    return TrainingError(
        f"the training loss is {loss} at step {step}: lower training.learning_rate, or use "
        "training.precision fp32; nothing was registered"
    )
