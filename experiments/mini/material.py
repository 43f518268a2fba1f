"""What sintese-mini is trained on: how examples are drawn, varied and put into batches."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from vocabulary import EOS, PAD, read_rows, sentinel

if TYPE_CHECKING:
    import sentencepiece
    import torch

TITLE_TASK, LEAD_TASK, GAP_TASK = (
    99,
    98,
    97,
)  # sentinels that open the auxiliary tasks' sources
WORD = re.compile(r"\w+")
SENTENCE = re.compile(r"(?<=[.!?;:])\s+|\n+")


@dataclass(frozen=True)
class Example:
    """Source and target token ids, both closed by </s>."""

    source: list[int]
    target: list[int]


@dataclass
class Material:
    """The training rows and how an example is drawn from them."""

    pairs: list[dict[str, str]]
    passages: list[str]
    titled: list[dict[str, str]]
    spm: sentencepiece.SentencePieceProcessor
    max_source: int
    max_target: int
    rare: list[str] = field(default_factory=list)
    common: frozenset[str] = frozenset()
    shares: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Weigh the pairs, and find the rare capitalized words that substitution draws from.

        A pair weighs one over the square root of its family's size: the held-out documents are
        one a family, and families of hundreds (language packs, plug-ins) teach little.
        """
        sizes = Counter(p["family"] for p in self.pairs)
        self.shares = list(accumulate(sizes[p["family"]] ** -0.5 for p in self.pairs))
        counts = Counter(w for p in self.pairs for w in set(WORD.findall(p["text"])))
        self.common = frozenset(w for w, n in counts.items() if n > 40)
        self.rare = sorted(
            w
            for w, n in counts.items()
            if n <= 6 and 3 <= len(w) <= 12 and not w[0].isdigit() and w != w.lower()
        )

    def encode(self, text: str, rng: random.Random, *, sample: float = 0.0) -> list[int]:
        """Tokenize `text`; with probability `sample` by a sampled segmentation."""
        if rng.random() < sample:
            return self.spm.encode(text, enable_sampling=True, alpha=0.2, nbest_size=-1)
        return self.spm.encode(text)

    def substitute(self, text: str, summary: str, rng: random.Random) -> tuple[str, str]:
        """Give names that text and summary share another name, in both: copying, not recall."""
        in_text = set(WORD.findall(text))
        shared = {
            w
            for w in WORD.findall(summary)
            if w in in_text and w not in self.common and w != w.lower() and len(w) > 2
        }
        for word in sorted(shared):
            if rng.random() < 0.5:
                other = rng.choice(self.rare)
                pattern = re.compile(rf"\b{re.escape(word)}\b")
                text, summary = pattern.sub(other, text), pattern.sub(other, summary)
        return text, summary

    def vary(self, text: str, rng: random.Random) -> str:
        """Drop sentences or shorten a text, always keeping its opening most of the time."""
        parts = [s for s in SENTENCE.split(text) if s.strip()]
        kind = rng.random()
        if len(parts) < 2 or kind < 0.45:
            return text
        if kind < 0.6:
            return parts[0] if len(parts[0].split()) >= 5 else " ".join(parts[:2])
        if kind < 0.92:
            return " ".join([parts[0], *(s for s in parts[1:] if rng.random() < 0.7)])
        return " ".join(s for s in parts if rng.random() < 0.8) or text

    def drop_words(self, text: str, rng: random.Random) -> str:
        """Drop one word in fourteen."""
        return " ".join(w for w in text.split() if rng.random() >= 0.07)

    def pair(self, rng: random.Random, *, augment: bool = True) -> Example:
        """Draw a description → line example."""
        row = rng.choices(self.pairs, cum_weights=self.shares)[0]
        text, summary = row["text"], row["summary"]
        if augment:
            if rng.random() < 0.4:
                text, summary = self.substitute(text, summary, rng)
            text = self.vary(text, rng)
            if rng.random() < 0.35:
                text = self.drop_words(text, rng)
        source = self.encode(text, rng, sample=0.3 if augment else 0.0)
        return self.close(source, self.spm.encode(summary))

    def title(self, rng: random.Random) -> Example:
        """Draw a section → title example."""
        row = rng.choice(self.titled)
        source = [sentinel(TITLE_TASK), *self.encode(row["text"], rng, sample=0.1)]
        return self.close(source, self.spm.encode(row["title"]))

    def anything(self, rng: random.Random) -> str:
        """Draw a passage: a description or a piece of documentation."""
        return rng.choice(self.pairs)["text"] if rng.random() < 0.4 else rng.choice(self.passages)

    def lead(self, rng: random.Random) -> Example:
        """Draw a text → its first words example."""
        source = self.spm.encode(self.anything(rng))
        return self.close([sentinel(LEAD_TASK), *source], source[: rng.randint(6, 20)])

    def gap(self, rng: random.Random) -> Example:
        """Draw a text without one sentence → that sentence (the first, or the most telling).

        The most telling sentence shares most words with the rest, as in PEGASUS
        (https://arxiv.org/abs/1912.08777).
        """
        for _ in range(20):
            parts = [s for s in SENTENCE.split(self.anything(rng)) if s.strip()]
            if len(parts) < 3:
                continue
            which = 0
            if rng.random() < 0.5:
                sets = [set(WORD.findall(part.lower())) for part in parts]
                whole = Counter(word for found in sets for word in found)
                which = max(
                    range(len(parts)),
                    key=lambda i: sum(whole[w] > 1 for w in sets[i]) / (6 + len(sets[i])),
                )
            if len(WORD.findall(parts[which])) < 5:
                continue
            rest = " ".join(parts[:which] + parts[which + 1 :])
            source = [sentinel(GAP_TASK), *self.encode(rest, rng, sample=0.1)]
            return self.close(source, self.spm.encode(parts[which]))
        return self.lead(rng)

    def denoise(self, rng: random.Random) -> Example:
        """Draw a span-corruption example: about 15 % of the tokens in spans of mean 3."""
        ids = self.spm.encode(self.anything(rng))
        length = min(len(ids), rng.randint(24, 80))
        start = rng.randint(0, len(ids) - length)
        ids = ids[start : start + length]
        source: list[int] = []
        target: list[int] = []
        number = 0
        i = 0
        while i < len(ids):
            if rng.random() < 0.06 and len(target) < self.max_target - 8:
                span = min(rng.randint(1, 5), len(ids) - i)
                source.append(sentinel(number))
                target += [sentinel(number), *ids[i : i + span]]
                number += 1
                i += span
            else:
                source.append(ids[i])
                i += 1
        return self.close(source, target)

    def copy(self, rng: random.Random) -> Example:
        """Draw a span of 4 to 32 tokens to be copied."""
        ids = self.spm.encode(self.anything(rng))
        length = min(rng.randint(4, 32), len(ids))
        start = rng.randint(0, len(ids) - length)
        span = ids[start : start + length]
        return Example([*span, EOS], [*span, EOS])

    def close(self, source: list[int], target: list[int]) -> Example:
        """Cut both sides to their limits and add </s>."""
        return Example([*source[: self.max_source - 1], EOS], [*target[: self.max_target - 1], EOS])


def load_material(data: Path, spm_file: Path, *, max_source: int, max_target: int) -> Material:
    """Read the training files of `build_data.py`."""
    import sentencepiece

    rows = read_rows(data / "train_text.jsonl")
    titled = [r for r in rows if 2 <= len(WORD.findall(r["title"])) <= 14]
    return Material(
        pairs=read_rows(data / "train_pairs.jsonl"),
        passages=[r["text"] for r in rows],
        titled=titled,
        spm=sentencepiece.SentencePieceProcessor(model_file=str(spm_file)),
        max_source=max_source,
        max_target=max_target,
    )


def batches(
    draw: Callable[[random.Random], Example],
    *,
    seed: int,
    start: int,
    size: int,
    pool: int = 32,
) -> Iterator[tuple[int, list[Example]]]:
    """Yield (step, batch) from step `start` on; examples of like length share a batch.

    Each pool of `pool` batches is drawn from its own generator, so that a resumed run sees the
    batches it would have seen.
    """
    number = start // pool
    while True:
        rng = random.Random(f"{seed}:{number}")
        examples = sorted(
            (draw(rng) for _ in range(pool * size)),
            key=lambda e: (len(e.source), len(e.target)),
        )
        order = list(range(pool))
        rng.shuffle(order)
        for place, which in enumerate(order):
            step = number * pool + place
            if step >= start:
                yield step, examples[which * size : (which + 1) * size]
        number += 1


def collate(batch: list[Example], device: torch.device) -> dict[str, torch.Tensor]:
    """Pad a batch: sources with 0, labels with -100."""
    import torch

    width = max(len(e.source) for e in batch)
    height = max(len(e.target) for e in batch)
    source = torch.tensor([e.source + [PAD] * (width - len(e.source)) for e in batch])
    labels = torch.tensor([e.target + [-100] * (height - len(e.target)) for e in batch])
    mask = (source != PAD).long()
    return {
        "input_ids": source.to(device),
        "attention_mask": mask.to(device),
        "labels": labels.to(device),
    }
