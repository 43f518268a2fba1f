"""Which weights are trained: one function a method, and how the result becomes one model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sintese.config import TuningConfig
from sintese.errors import ConfigError, Fault, did_you_mean

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Attention and feed-forward projections of T5 (`wi`) and of T5 v1.1 (`wi_0`, `wi_1`). Adapting
# all of them, not only q and v, is what makes LoRA match full fine-tuning:
# https://thinkingmachines.ai/blog/lora/ and https://arxiv.org/abs/2305.14314, section 4.
_T5_TARGETS = ("q", "k", "v", "o", "wi", "wi_0", "wi_1", "wo")


@dataclass(frozen=True)
class Parameters:
    """How many weights a model has, and how many of them are trained."""

    total: int
    trainable: int


def prepare(model: PreTrainedModel, tuning: TuningConfig) -> PreTrainedModel:
    """Return `model` ready to be trained by `tuning.method`.

    Raises:
        ConfigError: `tuning.target_modules` names modules that the model does not have.
    """
    return _METHODS[tuning.method](model, tuning)


def merge(model: PreTrainedModel) -> PreTrainedModel:
    """Return a model without adapter: LoRA matrices added into the weights they adapt."""
    return model.merge_and_unload() if hasattr(model, "merge_and_unload") else model


def count(model: PreTrainedModel) -> Parameters:
    """Count weights; tied ones once."""
    weights = list(model.parameters())
    return Parameters(
        total=sum(w.numel() for w in weights),
        trainable=sum(w.numel() for w in weights if w.requires_grad),
    )


def _full(model: PreTrainedModel, tuning: TuningConfig) -> PreTrainedModel:
    return model


def _lora(model: PreTrainedModel, tuning: TuningConfig) -> PreTrainedModel:
    import torch
    from peft import LoraConfig, TaskType, get_peft_model

    linear = {name for name, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    present = {name.rpartition(".")[2] for name in linear}
    wanted = tuning.target_modules or tuple(name for name in _T5_TARGETS if name in present)
    # As PEFT matches them: a whole name, or the end of one after a dot.
    known = [f".{name}" for name in linear]
    missing = [n for n in wanted if not n or not any(name.endswith(f".{n}") for name in known)]
    if missing or not wanted:
        hint = did_you_mean(missing[0] if missing else "", present & set(_T5_TARGETS))
        named = ", ".join(name or "''" for name in missing) or "module that LoRA knows how to adapt"
        raise ConfigError(
            [Fault("tuning.target_modules", f"the model has no linear layer {named}{hint}")]
        )
    return get_peft_model(
        model,
        LoraConfig(
            task_type=TaskType.SEQ_2_SEQ_LM,
            r=tuning.r,
            lora_alpha=tuning.lora_alpha,
            lora_dropout=tuning.lora_dropout,
            target_modules=list(wanted),
        ),
    )


_METHODS: dict[str, Callable[[PreTrainedModel, TuningConfig], PreTrainedModel]] = {
    "full": _full,
    "lora": _lora,
}
