"""What a person reads of a run in MLflow: curves, the table of samples, the description."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sintese.config import RunConfig
from sintese.evaluation import Evaluation
from sintese.features import Features
from sintese.promotion import PromotionDecision
from sintese.training import TrainResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sintese.datasets import Corpus

_PROTOCOL_TITLES = {
    "unicode": "unicode (accents kept)",
    "default": "default (rouge_score as is)",
    "xlsum_pt": "xlsum_pt (XL-Sum's scorer)",
}


def curves(history: Sequence[Mapping[str, float]]) -> dict[str, Figure]:
    """Draw loss, learning rate and validation ROUGE over optimizer steps, a figure each.

    Args:
        history: `TrainResult.history`.

    Returns:
        File name → figure; only those for which there is something to draw.
    """
    wanted = {
        "loss": ("Loss", {"train/loss": "training", "validation/loss": "validation"}),
        "learning_rate": ("Learning rate", {"train/learning_rate": ""}),
        "rouge": (
            "Validation ROUGE (F1 × 100)",
            {f"validation/{kind}": kind for kind in ("rouge1", "rouge2", "rougeL", "rougeLsum")},
        ),
    }
    figures = {}
    for name, (title, series) in wanted.items():
        points = {
            label: [(row["step"], row[key]) for row in history if key in row]
            for key, label in series.items()
        }
        drawn = {label: xy for label, xy in points.items() if xy}
        if drawn:
            figures[f"{name}.png"] = _lines(title, drawn)
    return figures


def samples(
    evaluation: Evaluation, baselines: Sequence[Evaluation], *, limit: int, protocol: str
) -> list[dict[str, Any]]:
    """Return the first `limit` documents as table rows: texts side by side and their ROUGE."""
    table = []
    for number, row in enumerate(evaluation.rows[:limit]):
        others = {other.name: other.rows[number] for other in baselines}
        table.append(
            {
                "id": row.id,
                "text": row.text,
                "reference": row.reference,
                "prediction": row.prediction,
                **{name: other.prediction for name, other in others.items()},
                **{k: round(100 * value, 2) for k, value in row.rouge[protocol].items()},
                **{
                    f"{name} rouge1": round(100 * other.rouge[protocol]["rouge1"], 2)
                    for name, other in others.items()
                },
            }
        )
    return table


def score_table(evaluations: Sequence[Evaluation], *, protocol: str) -> list[tuple[str, ...]]:
    """Return a header and a row a system: ROUGE with intervals and length, ready to print."""
    kinds = ("rouge1", "rouge2", "rougeL", "rougeLsum")
    header: tuple[str, ...] = ("system", *kinds, "words")
    rows = [header]
    for evaluation in evaluations:
        cells = []
        for kind in kinds:
            score = evaluation.rouge[protocol][kind]
            cells.append(f"{score.mean:.2f} [{score.interval.low:.1f}, {score.interval.high:.1f}]")
        rows.append((evaluation.name, *cells, f"{evaluation.generated_words:.1f}"))
    return rows


def summary(evaluation: Evaluation) -> dict[str, Any]:
    """Return what is kept of an evaluation in `evaluation.json`."""
    return {
        "name": evaluation.name,
        "n": len(evaluation.rows),
        "digest": evaluation.digest,
        "rouge": evaluation.means(),
        "intervals": {
            protocol: {
                kind: [score.interval.low, score.interval.high] for kind, score in scores.items()
            }
            for protocol, scores in evaluation.rouge.items()
        },
        "generated_words": evaluation.generated_words,
        "empty_share": evaluation.empty_share,
        "truncated_share": evaluation.truncated_share,
        "capped_share": evaluation.capped_share,
        "seconds": evaluation.seconds,
    }


def run_description(config: RunConfig, corpus: Corpus, features: Mapping[str, Features]) -> str:
    """Return the run's description before training: what is trained on what."""
    sizes = ", ".join(f"{len(rows)} {split}" for split, rows in corpus.splits.items())
    cuts = "; ".join(
        f"{split}: {100 * f.truncation.sources_cut:.1f} % of texts above "
        f"{config.model.max_source_length} tokens, {100 * f.truncation.targets_cut:.1f} % of "
        f"summaries above {config.model.max_target_length}"
        for split, f in features.items()
    )
    return "\n".join(
        [
            f"{config.description}\n" if config.description else "",
            f"**{config.tuning.method}** of `{config.model.base_model}` on **{corpus.name}** "
            f"({sizes} documents).",
            "",
            f"- Corpus: `{corpus.origin}`, licence {corpus.licence}, digest `{corpus.digest[:12]}`",
            f"- Truncation: {cuts}",
        ]
    ).strip()


def result_description(
    evaluations: Sequence[Evaluation], *, protocol: str, training: TrainResult
) -> str:
    """Return the part of the description that is known at the end: ROUGE against LEAD."""
    lines = [f"\n### Test split, {len(evaluations[0].rows)} documents, F1 × 100\n"]
    for name in evaluations[0].rouge:
        mark = ", decides" if name == protocol else ""
        header, *rows = score_table(evaluations, protocol=name)
        lines.append(f"**{_PROTOCOL_TITLES.get(name, name)}**{mark}\n")
        lines.append(_markdown_row(header))
        lines.append(_markdown_row(("---",) * len(header)))
        lines.extend(_markdown_row(row) for row in rows)
        lines.append("")
    best = f", best at step {training.best_step}" if training.best_step else ""
    lines.append(f"Trained {training.steps} steps in {training.seconds:.0f} s{best}.")
    return "\n".join(lines)


def model_card(
    config: RunConfig, corpus: Corpus, evaluations: Sequence[Evaluation], *, training: TrainResult
) -> str:
    """Return the README.md of a model directory, in the hub's form: data, licence, scores, use."""
    front = [
        "---",
        "library_name: transformers",
        f"language: {corpus.language or 'pt'}",
        f"base_model: {config.model.base_model}",
        "tags: [summarization, sintese]",
        "---",
    ]
    prefix = f" Put `{config.model.source_prefix}` before every text." * bool(
        config.model.source_prefix
    )
    settings = ", ".join(f"{k}={v}" for k, v in config.generation.model_dump().items())
    return "\n".join(
        [
            *front,
            f"\n# {config.name}\n",
            config.description,
            f"\n- Base model: `{config.model.base_model}`, tuned by {config.tuning.method}",
            f"- Corpus: {corpus.name} (`{corpus.origin}`), digest `{corpus.digest[:12]}`",
            f"- Licence of the corpus: {corpus.licence}. It may restrict what this model can be "
            "used for.",
            f"- Reads {config.model.max_source_length} tokens of a text.{prefix}",
            f"- Decoding: {settings}",
            result_description(evaluations, protocol=config.evaluation.protocol, training=training),
        ]
    )


def decision_description(decision: PromotionDecision) -> str:
    """Return a decision as Markdown: the verdict and a row a check."""
    verdict = "Promoted to `champion`" if decision.promoted else "Not promoted"
    lines = [f"### {verdict}\n", "| check | observed | required | passed | reason |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for c in decision.checks:
        passed = "yes" if c.passed else "no"
        lines.append(
            _markdown_row((c.name, f"{c.observed:.2f}", f"{c.required:.2f}", passed, c.reason))
        )
    return "\n".join(lines)


def warnings(evaluation: Evaluation, features: Mapping[str, Features]) -> list[str]:
    """Return what a person should know before believing the figures."""
    found = []
    if (evaluation.capped_share or 0) > 0.2:
        found.append(
            f"{100 * (evaluation.capped_share or 0):.0f} % of the summaries end at "
            "generation.max_new_tokens, not by themselves: raise it, or train longer"
        )
    if evaluation.empty_share:
        found.append(f"{100 * evaluation.empty_share:.1f} % of the summaries are empty")
    if train := features.get("train"):
        cut = train.truncation
        if cut.sources_cut > 0:
            found.append(
                f"{100 * cut.sources_cut:.1f} % of the training texts were cut at "
                f"model.max_source_length (the longest has {cut.longest_source} tokens)"
            )
        if cut.targets_cut > 0:
            found.append(
                f"{100 * cut.targets_cut:.1f} % of the training summaries were cut at "
                f"model.max_target_length (the longest has {cut.longest_target} tokens)"
            )
        if cut.unknown_share > 0.01:
            found.append(
                f"{100 * cut.unknown_share:.1f} % of the tokens are unknown to the tokenizer: "
                "it does not fit this language"
            )
    return found


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _lines(title: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> Figure:
    # The object interface: pyplot keeps figures alive and picks a backend on import.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for label, points in series.items():
        xs, ys = zip(*points, strict=True)
        axes.plot(xs, ys, label=label or None, marker="o" if len(points) < 30 else None, ms=3)
    axes.set_xlabel("optimizer step")
    axes.set_title(title, loc="left")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if any(series):
        axes.legend(frameon=False)
    return figure
