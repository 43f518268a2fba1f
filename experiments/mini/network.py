"""The network of sintese-mini and the machinery that trains it."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from material import WORD, Example, collate
from vocabulary import EOS, PAD, SENTINELS, VOCABULARY

if TYPE_CHECKING:
    import sentencepiece
    import torch
    from transformers import Adafactor, T5ForConditionalGeneration


def fresh_model(*, dropout: float, seed: int) -> T5ForConditionalGeneration:
    """Build the untrained 4.6 M-parameter T5 (v1.1 style, tied embeddings)."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(seed)
    config = T5Config(
        vocab_size=VOCABULARY,
        d_model=192,
        d_kv=32,
        d_ff=512,
        num_layers=3,
        num_decoder_layers=3,
        num_heads=6,
        feed_forward_proj="gated-gelu",
        dropout_rate=dropout,
        tie_word_embeddings=True,
        decoder_start_token_id=PAD,
        pad_token_id=PAD,
        eos_token_id=EOS,
    )
    return T5ForConditionalGeneration(config)


def pool_dropout(model: T5ForConditionalGeneration, *, rate: float, seed: int) -> None:
    """Give `model` dropout whose masks are windows of one fixed random pool.

    Drawing fresh Bernoulli masks took a third of a step on a CPU; a window at a random offset
    costs one multiplication. Attention weights are not dropped.
    """
    import torch

    class PooledDropout(torch.nn.Module):
        """Multiply by a window of the pool while training."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if not self.training or rate == 0:
                return x
            if x.numel() >= len(pool):
                return torch.nn.functional.dropout(x, rate)
            begin = draw.randrange(len(pool) - x.numel())
            return x * pool[begin : begin + x.numel()].view(x.shape).to(x.dtype)

    draw = random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    keep = (torch.rand(1 << 23, generator=generator) >= rate).float() / max(1e-6, 1 - rate)
    pool = keep.to(model.device, torch.bfloat16)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, torch.nn.Dropout):
                setattr(module, name, PooledDropout())
        if isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0


def adafactor(model: T5ForConditionalGeneration, *, lr: float) -> Adafactor:
    """Return Adafactor with updates scaled by each parameter's size.

    AdamW, and Muon with Adam for the embeddings, stayed on the unigram plateau longer or for good.
    """
    from transformers import Adafactor

    return Adafactor(
        model.parameters(),
        lr=lr,
        scale_parameter=True,
        relative_step=False,
        warmup_init=False,
    )


def rate(step: int, *, steps: int, warmup: int, cooldown: float) -> float:
    """Return the trapezoid schedule's factor: warm-up, plateau, then linear to 0.02."""
    rising = min(1.0, (step + 1) / max(1, warmup))
    falling = (steps - step) / max(1.0, steps * cooldown)
    return min(rising, max(0.02, min(1.0, falling)))


def save_atomically(payload: dict[str, Any], path: Path) -> None:
    """Write a checkpoint beside `path` and rename it into place."""
    import torch

    temporary = path.with_suffix(".tmp")
    torch.save(payload, temporary)
    temporary.replace(path)


class Gossip:
    """Training by several one-thread processes that average their weights now and then.

    On a busy machine two threads of one process wait for the slower core at every operation;
    processes that never wait for each other do not. Each writes its weights to a file every
    `every` steps and moves halfway to the newest weights of the others (local SGD without a
    barrier; Stich 2019, https://arxiv.org/abs/1805.09767).
    """

    def __init__(self, folder: Path, *, stage: str, rank: int, every: int) -> None:
        """Share through `folder/STAGE-peerN.pt`; `every` 0 shares nothing."""
        self.folder, self.stage, self.rank, self.every = folder, stage, rank, every
        self.seen: dict[Path, int] = {}

    def meet(self, weights: dict[str, torch.nn.Parameter], *, step: int) -> None:
        """Publish `weights`, then average them with what the peers have published since."""
        import torch

        if not self.every or (step + 1) % self.every:
            return
        own = self.folder / f"{self.stage}-peer{self.rank}.pt"
        save_atomically({"weights": {n: w.detach() for n, w in weights.items()}}, own)
        for path in sorted(self.folder.glob(f"{self.stage}-peer[0-9].pt")):
            written = path.stat().st_mtime_ns
            if path == own or self.seen.get(path) == written:
                continue
            first, self.seen[path] = path not in self.seen, written
            if first and time.time_ns() - written > 300e9:
                continue  # left by an earlier run
            theirs = torch.load(path, weights_only=True)["weights"]
            with torch.no_grad():
                for name, weight in weights.items():
                    weight.lerp_(theirs[name].to(weight.device), 0.5)


def validation_score(
    model: T5ForConditionalGeneration,
    spm: sentencepiece.SentencePieceProcessor,
    rows: list[dict[str, str]],
    *,
    max_source: int,
    max_new_tokens: int,
) -> tuple[float, list[str]]:
    """Return mean ROUGE-1 F (Unicode words) of greedy summaries of `rows`, and the summaries."""
    import torch

    order = sorted(range(len(rows)), key=lambda i: len(rows[i]["text"]))
    outputs = [""] * len(rows)
    model.eval()
    with torch.inference_mode():
        for begin in range(0, len(order), 32):
            part = order[begin : begin + 32]
            examples = [
                Example([*spm.encode(rows[i]["text"])[: max_source - 1], EOS], [EOS]) for i in part
            ]
            batch = collate(examples, model.device)
            ids = model.generate(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                max_new_tokens=max_new_tokens,
                do_sample=False,
                num_beams=1,
            )
            for i, row in zip(part, ids.tolist(), strict=True):
                outputs[i] = spm.decode([t for t in row if 2 < t < VOCABULARY - SENTINELS])
    model.train()
    total = 0.0
    for output, row in zip(outputs, rows, strict=True):
        got = Counter(WORD.findall(output.lower()))
        want = Counter(WORD.findall(row["summary"].lower()))
        shared = sum((got & want).values())
        total += 2 * shared / max(1, sum(got.values()) + sum(want.values()))
    return total / len(rows), outputs
