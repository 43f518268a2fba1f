"""Train `sintese-mini`, a small Portuguese T5, in three resumable stages.

`tokenizer` learns a SentencePiece vocabulary; `copy` teaches the fresh model to copy short spans
(without it a T5 this small sits on the unigram plateau for hours); `summarize` mixes
description → line pairs with section → title, lead extraction and denoising.

A checkpoint is written every few minutes, whole or not at all, and the same command goes on from
it. Batches depend only on the seed and the step, so an interrupted run sees the same batches.

Usage:
    python experiments/mini/train.py tokenizer --work-dir BUILD
    python experiments/mini/train.py copy --work-dir BUILD --steps 3000
    python experiments/mini/train.py summarize --work-dir BUILD --steps 20000
    python experiments/mini/train.py export --work-dir BUILD --output DIR
"""

from __future__ import annotations

import json
import math
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from material import Example, Material, batches, collate, load_material
from network import (
    Gossip,
    adafactor,
    fresh_model,
    pool_dropout,
    rate,
    save_atomically,
    validation_score,
)
from vocabulary import EOS, PAD, load_tokenizer, read_rows, train_tokenizer

if TYPE_CHECKING:
    import torch
    from transformers import T5ForConditionalGeneration


@dataclass(frozen=True)
class Plan:
    """What one stage does."""

    stage: str
    steps: int
    batch: int
    lr: float
    warmup: int
    cooldown: float
    smoothing: float
    ema: float
    seed: int
    save_minutes: float
    evaluate_every: int
    rank: int
    share_every: int


def fit(
    model: T5ForConditionalGeneration,
    draw: Callable[[random.Random], Example],
    plan: Plan,
    *,
    material: Material,
    work_dir: Path,
    validation: list[dict[str, str]],
) -> None:
    """Train `model`, going on from the stage's checkpoint when there is one.

    Writes `checkpoints/STAGE.pt` (model, average, optimizer), `checkpoints/STAGE-best.pt` (the
    averaged weights of the best validation ROUGE-1) and appends to `checkpoints/STAGE.jsonl`.
    """
    import torch
    from torch.nn.functional import cross_entropy

    folder = work_dir / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    own = plan.stage if plan.rank == 0 else f"{plan.stage}-r{plan.rank}"
    path, best_path = folder / f"{own}.pt", folder / f"{own}-best.pt"
    gossip = Gossip(folder, stage=plan.stage, rank=plan.rank, every=plan.share_every)
    optimizer = adafactor(model, lr=plan.lr)
    average = {k: v.detach().clone() for k, v in model.state_dict().items()}
    start, best, spent = 0, -1.0, 0.0
    if path.exists():
        saved = torch.load(path, weights_only=True, map_location=model.device)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        average = saved["average"]
        start, best, spent = saved["step"], saved["best"], saved["seconds"]
        click.echo(f"{plan.stage}: going on from step {start}")
    torch.manual_seed(plan.seed + start)
    model.train()
    names = [name for name, _ in model.named_parameters()]
    weights = dict(model.named_parameters())
    began = last_save = time.monotonic()
    losses: list[float] = []
    step = start
    amp = torch.autocast(model.device.type, torch.bfloat16)

    def save() -> None:
        save_atomically(
            {
                "model": model.state_dict(),
                "average": average,
                "optimizer": optimizer.state_dict(),
                "step": step,
                "best": best,
                "seconds": spent + time.monotonic() - began,
            },
            path,
        )

    seed = plan.seed + 1000 * plan.rank
    for step, batch in batches(draw, seed=seed, start=start, size=plan.batch):
        if step >= plan.steps:
            break
        tensors = collate(batch, model.device)
        with amp:
            logits = model(**tensors).logits
        loss = cross_entropy(
            logits.float().flatten(0, 1),
            tensors["labels"].flatten(),
            label_smoothing=plan.smoothing,
        )
        if not math.isfinite(loss.item()):
            raise click.ClickException(f"{plan.stage}: the loss at step {step} is {loss.item()}")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        factor = rate(step, steps=plan.steps, warmup=plan.warmup, cooldown=plan.cooldown)
        for group in optimizer.param_groups:
            group["lr"] = plan.lr * factor
        optimizer.step()
        model.zero_grad(set_to_none=True)
        gossip.meet(weights, step=step)
        losses.append(loss.item())
        decay = min(plan.ema, (step + 1) / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(
                [average[n] for n in names],
                [weights[n].detach() for n in names],
                1 - decay,
            )
            for name in average:
                if name not in weights:
                    average[name] = average["shared.weight"]
        if (step + 1) % plan.evaluate_every == 0 or step + 1 == plan.steps:
            held = {n: weights[n].detach().clone() for n in names}
            model.load_state_dict(average)
            score, outputs = validation_score(
                model, material.spm, validation, max_source=256, max_new_tokens=32
            )
            if score > best:
                best = score
                save_atomically(
                    {"model": model.state_dict(), "step": step, "score": score},
                    best_path,
                )
            model.load_state_dict(held, strict=False)
            mean = sum(losses) / len(losses)
            losses.clear()
            minutes = (spent + time.monotonic() - began) / 60
            line = {
                "step": step + 1,
                "loss": round(mean, 4),
                "rouge1": round(score, 4),
                "best": round(best, 4),
                "minutes": round(minutes, 1),
            }
            with (folder / f"{own}.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
            click.echo(f"{plan.stage} {json.dumps(line)} | {outputs[0]} | {outputs[1]}")
        if time.monotonic() - last_save > plan.save_minutes * 60:
            step += 1
            save()
            step -= 1
            last_save = time.monotonic()
    step = max(step, start)
    save()


def prepare(threads: int) -> torch.device:
    """Set thread count and return the device: CUDA when there is one."""
    import torch

    torch.set_num_threads(threads)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@click.group()
def main() -> None:
    """Train sintese-mini."""


@main.command()
@click.option("--work-dir", type=click.Path(path_type=Path), required=True)
def tokenizer(work_dir: Path) -> None:
    """Learn the tokenizer from WORK_DIR/data."""
    train_tokenizer(work_dir / "data", work_dir / "vocabulary")
    loaded = load_tokenizer(work_dir / "vocabulary" / "tokenizer")
    click.echo(f"vocabulary of {len(loaded)} tokens")


def stage_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that both training stages take."""
    for option in (
        click.option("--work-dir", type=click.Path(path_type=Path), required=True),
        click.option("--steps", type=click.IntRange(1), required=True, help="Last step."),
        click.option("--batch", default=32, show_default=True, help="Examples a step."),
        click.option("--lr", default=0.01, show_default=True, help="Peak learning rate."),
        click.option("--dropout", default=0.1, show_default=True),
        click.option("--smoothing", default=0.1, show_default=True, help="Label smoothing."),
        click.option("--cooldown", default=0.3, show_default=True, help="Part of falling rate."),
        click.option("--ema", default=0.998, show_default=True, help="Weight averaging."),
        click.option("--threads", default=2, show_default=True),
        click.option("--seed", default=17, show_default=True),
        click.option("--name", default=None, help="Name of the checkpoints [default: the stage]."),
        click.option("--evaluate-every", default=500, show_default=True),
        click.option("--rank", default=0, show_default=True, help="Number of this process."),
        click.option("--share-every", default=0, help="Steps between averagings [default: none]."),
    ):
        command = option(command)
    return command


def plan_of(stage: str, options: dict[str, Any]) -> Plan:
    """Turn the command line's options into a Plan."""
    return Plan(
        stage=options["name"] or stage,
        steps=options["steps"],
        batch=options["batch"],
        lr=options["lr"],
        warmup=200,
        cooldown=options["cooldown"],
        smoothing=options["smoothing"],
        ema=options["ema"],
        seed=options["seed"],
        save_minutes=2.0,
        evaluate_every=options["evaluate_every"],
        rank=options["rank"],
        share_every=options["share_every"],
    )


@main.command()
@stage_options
def copy(**options: Any) -> None:
    """Teach a fresh model to copy spans of 4 to 32 tokens."""
    device = prepare(options["threads"])
    work_dir: Path = options["work_dir"]
    material = load_material(
        work_dir / "data",
        work_dir / "vocabulary" / "spiece.model",
        max_source=64,
        max_target=34,
    )
    model = fresh_model(dropout=options["dropout"], seed=options["seed"]).to(device)
    pool_dropout(model, rate=options["dropout"], seed=options["seed"] + options["rank"])
    validation = read_rows(work_dir / "data" / "validation.jsonl")[:60]
    fit(
        model,
        material.copy,
        plan_of("copy", options),
        material=material,
        work_dir=work_dir,
        validation=[{"text": r["summary"], "summary": r["summary"]} for r in validation],
    )


@main.command()
@stage_options
@click.option("--init", default="copy", show_default=True, help="Checkpoint to start from.")
@click.option("--max-source", default=104, show_default=True)
@click.option("--max-target", default=28, show_default=True)
@click.option(
    "--mix",
    default="0.66,0.11,0.02,0.10,0.08,0.03",
    show_default=True,
    help="Shares of pairs, titles, leads, gap sentences, denoising and copying.",
)
def summarize(init: str, max_source: int, max_target: int, mix: str, **options: Any) -> None:
    """Train on description → line, mixed with titles, leads, denoising and copying."""
    import torch

    device = prepare(options["threads"])
    work_dir: Path = options["work_dir"]
    material = load_material(
        work_dir / "data",
        work_dir / "vocabulary" / "spiece.model",
        max_source=max_source,
        max_target=max_target,
    )
    model = fresh_model(dropout=options["dropout"], seed=options["seed"]).to(device)
    pool_dropout(model, rate=options["dropout"], seed=options["seed"] + options["rank"])
    saved = torch.load(
        work_dir / "checkpoints" / f"{init}.pt", weights_only=True, map_location=device
    )
    model.load_state_dict(saved.get("average", saved["model"]))
    shares = [float(part) for part in mix.split(",")]
    tasks = [
        material.pair,
        material.title,
        material.lead,
        material.gap,
        material.denoise,
        material.copy,
    ]

    def draw(rng: random.Random) -> Example:
        return rng.choices(tasks, shares)[0](rng)

    fit(
        model,
        draw,
        plan_of("summarize", options),
        material=material,
        work_dir=work_dir,
        validation=read_rows(work_dir / "data" / "validation.jsonl"),
    )


@main.command()
@click.option("--work-dir", type=click.Path(path_type=Path), required=True)
@click.option("--checkpoint", "names", multiple=True, help="Checkpoints to average.")
@click.option("--output", type=click.Path(path_type=Path), required=True)
@click.option("--num-beams", default=4, show_default=True)
@click.option("--length-penalty", default=1.2, show_default=True)
def export(
    work_dir: Path,
    names: tuple[str, ...],
    output: Path,
    num_beams: int,
    length_penalty: float,
) -> None:
    """Write the model directory: fp32 safetensors, configuration, tokenizer."""
    import torch
    from transformers import GenerationConfig

    states = []
    for name in names or ("summarize-best",):
        saved = torch.load(work_dir / "checkpoints" / f"{name}.pt", weights_only=True)
        states.append(saved.get("average", saved["model"]))
        click.echo(f"{name}: step {saved['step']}")
    mean = {k: torch.stack([s[k].float() for s in states]).mean(0) for k in states[0]}
    model = fresh_model(dropout=0.1, seed=0)
    model.load_state_dict(mean)
    model.generation_config = GenerationConfig(
        decoder_start_token_id=PAD,
        pad_token_id=PAD,
        eos_token_id=EOS,
        max_new_tokens=40,
        num_beams=num_beams,
        length_penalty=length_penalty,
        no_repeat_ngram_size=3,
    )
    output.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(output)
    for path in (work_dir / "vocabulary" / "tokenizer").iterdir():
        shutil.copyfile(path, output / path.name)
    for path in output.iterdir():
        path.chmod(0o644)
    load_tokenizer(output)
    size = sum(p.stat().st_size for p in output.iterdir())
    click.echo(f"{output}: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
