"""Scoring 2,000 pairs: each protocol against rouge_score on the same pairs.

The pairs are the embedded news texts' summaries in every combination with their texts'
beginnings, so that lengths are those of real summaries.
"""

from __future__ import annotations

from rouge_score.rouge_scorer import RougeScorer

from benchmarks import interleaved, table
from sintese import datasets, metrics
from sintese.config import DataConfig

_PAIRS = 2000


def run() -> str:
    """Return the table."""
    corpus = datasets.load(DataConfig(source="amostra", subset="noticias"))
    references = [s for split in datasets.SPLITS for s in corpus.summaries(split)]
    leads = [" ".join(t.split()[:80]) for split in datasets.SPLITS for t in corpus.texts(split)]
    pairs = [(lead, reference) for lead in leads for reference in references][:_PAIRS]
    predictions, expected = [p for p, _ in pairs], [r for _, r in pairs]
    scorer = RougeScorer(list(metrics.ROUGE_TYPES), use_stemmer=False)

    def peer() -> list[object]:
        return [scorer.score(r, p) for p, r in pairs]

    ours = metrics.rouge_rows(predictions, expected, protocol="default")
    theirs = peer()
    equal = all(
        row[kind] == score[kind].fmeasure  # type: ignore[index]
        for row, score in zip(ours, theirs, strict=True)
        for kind in metrics.ROUGE_TYPES
    )
    contenders = {
        f"{name} ({_PAIRS} pairs)": (
            lambda name=name: metrics.rouge_rows(predictions, expected, protocol=name)
        )
        for name in ("default", "unicode", "xlsum_pt")
    }
    timings = interleaved({**contenders, "rouge_score": peer}, rounds=3)
    verdict = "equal" if equal else "NOT EQUAL"
    return f"`default` and rouge_score: {verdict}.\n\n" + table(
        timings, peers=("rouge_score",), reach="15 ×, equal to 1e-9"
    )
