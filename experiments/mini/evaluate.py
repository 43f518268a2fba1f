"""Score a sintese-mini directory against LEAD and write its model card.

ROUGE is `sintese.metrics` under the `unicode` protocol; the interval is the 95 % paired bootstrap
of model minus LEAD, whose length is the mean reference length in words.

Usage:
    python experiments/mini/evaluate.py --model DIR --test test.jsonl --test descricoes.jsonl
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

KINDS = ("rouge1", "rouge2", "rougeL")


@dataclass(frozen=True)
class Report:
    """What was measured on one file; ROUGE in 0..100, novelty in 0..1, lengths in words."""

    name: str
    documents: int
    model: dict[str, float]
    lead: dict[str, float]
    lead_words: int
    gain: float
    gain_low: float
    gain_high: float
    novelty_unigrams: float
    novelty_bigrams: float
    reference_novelty_bigrams: float
    words: float
    reference_words: float
    distinct: int
    seconds: float


def summarize(
    model: Path,
    texts: Sequence[str],
    *,
    batch: int,
    max_source: int,
    generation: dict[str, Any],
) -> list[str]:
    """Summarize `texts` with the model directory's own generation settings.

    Args:
        model: the directory.
        texts: any number of texts.
        batch: texts at a time.
        max_source: tokens of a text that are read.
        generation: settings that replace the directory's.
    """
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModelForSeq2SeqLM.from_pretrained(model, dtype=torch.float32).to(device).eval()
    outputs = [""] * len(texts)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    for begin in range(0, len(order), batch):
        part = order[begin : begin + batch]
        inputs = tokenizer(
            [texts[i] for i in part],
            max_length=max_source,
            truncation=True,
            padding=True,
            return_tensors="pt",
        ).to(device)
        with torch.inference_mode():
            ids = network.generate(**inputs, **generation)
        decoded = tokenizer.batch_decode(ids, skip_special_tokens=True)
        for i, text in zip(part, decoded, strict=True):
            outputs[i] = text.strip()
    return outputs


def novelty(outputs: Sequence[str], texts: Sequence[str], *, order: int) -> float:
    """Return the mean share of each output's word n-grams that its text does not hold."""
    from sintese.metrics import tokens

    shares = []
    for output, text in zip(outputs, texts, strict=True):
        made, read = tokens(output), tokens(text)
        grams = {tuple(made[i : i + order]) for i in range(len(made) - order + 1)}
        known = {tuple(read[i : i + order]) for i in range(len(read) - order + 1)}
        if grams:
            shares.append(len(grams - known) / len(grams))
    return fmean(shares) if shares else 0.0


def report(
    name: str, texts: list[str], references: list[str], outputs: list[str], *, seconds: float
) -> Report:
    """Compare outputs and LEAD with the references."""
    from sintese.baselines import LeadWords
    from sintese.metrics import bootstrap_interval, rouge_rows

    count = max(1, round(fmean(len(r.split()) for r in references)))
    rows = rouge_rows(outputs, references, protocol="unicode")
    leads = rouge_rows(LeadWords(count).summarize(texts), references, protocol="unicode")
    gains = [100 * (a["rouge1"] - b["rouge1"]) for a, b in zip(rows, leads, strict=True)]
    interval = bootstrap_interval(gains, resamples=2000)
    return Report(
        name=name,
        documents=len(texts),
        model={k: 100 * fmean(row[k] for row in rows) for k in KINDS},
        lead={k: 100 * fmean(row[k] for row in leads) for k in KINDS},
        lead_words=count,
        gain=fmean(gains),
        gain_low=interval.low,
        gain_high=interval.high,
        novelty_unigrams=novelty(outputs, texts, order=1),
        novelty_bigrams=novelty(outputs, texts, order=2),
        reference_novelty_bigrams=novelty(references, texts, order=2),
        words=fmean(len(o.split()) for o in outputs),
        reference_words=fmean(len(r.split()) for r in references),
        distinct=len(set(outputs)),
        seconds=seconds,
    )


def table(reports: Sequence[Report]) -> str:
    """Return the Markdown table of the model card."""
    lines = [
        "| documents | n | | R1 | R2 | RL | R1 minus LEAD, 95 % interval |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for r in reports:
        scores = " | ".join(f"{r.model[k]:.2f}" for k in KINDS)
        floors = " | ".join(f"{r.lead[k]:.2f}" for k in KINDS)
        gain = f"{r.gain:+.2f} [{r.gain_low:+.2f}, {r.gain_high:+.2f}]"
        lines.append(f"| {r.name} | {r.documents} | sintese-mini | {scores} | {gain} |")
        lines.append(f"| | | LEAD, {r.lead_words} words | {floors} | |")
    lines.append("")
    for r in reports:
        lines.append(
            f"- {r.name}: {r.words:.1f} words a summary (references {r.reference_words:.1f}), "
            f"{100 * r.novelty_unigrams:.0f} % new words, {100 * r.novelty_bigrams:.0f} % new "
            f"bigrams (references {100 * r.reference_novelty_bigrams:.0f} %), {r.distinct} "
            f"distinct summaries of {r.documents}."
        )
    return "\n".join(lines)


def samples(texts: list[str], references: list[str], outputs: list[str], *, count: int) -> str:
    """Return every k-th document's text, reference and summary as Markdown."""
    every = max(1, len(texts) // count)
    parts = []
    for number, i in enumerate(range(0, every * count, every), start=1):
        text = " ".join(texts[i].split())
        text = text if len(text) <= 300 else text[:297].rsplit(" ", 1)[0] + " […]"
        text = text.replace("*", r"\*").replace("<", "&lt;").replace("_", r"\_")
        parts.append(
            f"{number}. {text}\n   - reference: {references[i]}\n"
            f"   - **sintese-mini: {outputs[i]}**"
        )
    return "\n".join(parts)


@click.command()
@click.option("--model", type=click.Path(path_type=Path, exists=True), required=True)
@click.option(
    "--test",
    "tests",
    type=(str, click.Path(path_type=Path, exists=True, dir_okay=False)),
    multiple=True,
    required=True,
    help="A name and a JSONL with `text` and `summary`; rows of another `split` are passed over.",
)
@click.option("--split", default="test", show_default=True, help="Rows with a split: only these.")
@click.option("--batch", default=16, show_default=True)
@click.option("--max-source", default=256, show_default=True, help="Source tokens.")
@click.option("--num-beams", default=None, type=int, help="Instead of the model's own.")
@click.option("--length-penalty", default=None, type=float, help="Instead of the model's own.")
@click.option("--show", default=20, show_default=True, help="Samples of the first file.")
@click.option("--card", type=click.Path(path_type=Path, exists=True), help="Template to fill.")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Also write JSON.")
def main(
    model: Path,
    tests: tuple[tuple[str, Path], ...],
    split: str,
    batch: int,
    max_source: int,
    num_beams: int | None,
    length_penalty: float | None,
    show: int,
    card: Path | None,
    json_path: Path | None,
) -> None:
    """Evaluate MODEL; with --card write its README.md from the template."""
    generation: dict[str, Any] = {}
    if num_beams is not None:
        generation["num_beams"] = num_beams
    if length_penalty is not None:
        generation["length_penalty"] = length_penalty
    reports = []
    shown = ""
    for name, path in tests:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        rows = [row for row in rows if row.get("split", split) == split]
        texts, references = [r["text"] for r in rows], [r["summary"] for r in rows]
        begin = time.perf_counter()
        outputs = summarize(model, texts, batch=batch, max_source=max_source, generation=generation)
        seconds = time.perf_counter() - begin
        reports.append(report(name, texts, references, outputs, seconds=seconds))
        if not shown:
            shown = samples(texts, references, outputs, count=show)
    click.echo(table(reports))
    if card is None:
        click.echo(shown)
    else:
        text = card.read_text(encoding="utf-8")
        text = text.replace("{{table}}", table(reports)).replace("{{samples}}", shown)
        (model / "README.md").write_text(text, encoding="utf-8")
    if json_path is not None:
        payload = json.dumps([asdict(r) for r in reports], indent=1, ensure_ascii=False)
        json_path.write_text(payload + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
