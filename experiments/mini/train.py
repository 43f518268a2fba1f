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
import re
import shutil
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import sentencepiece
    import torch
    from transformers import PreTrainedTokenizerBase, T5ForConditionalGeneration

VOCABULARY = 8000
SENTINELS = 100
PAD, EOS, UNK = 0, 1, 2
TITLE_TASK, LEAD_TASK, GAP_TASK = (
    99,
    98,
    97,
)  # sentinels that open the sources of the auxiliary tasks
KEPT_CHARACTERS = "".join(map(chr, range(0x21, 0x7F))) + (
    "“”‘’«»—–…€ºª°•§²³½áàâãéêíóôõúüçÁÀÂÃÉÊÍÓÔÕÚÇ"
)
WORD = re.compile(r"\w+")
SENTENCE = re.compile(r"(?<=[.!?;:])\s+|\n+")


# ---------------------------------------------------------------- tokenizer


def normalization_rules() -> str:
    """Return SentencePiece rules: blanks become a space, letter + accent become one character.

    NFKC is not used: it would turn `1ª` into `1a`, `…` into `...` and `²` into `2`.
    """
    rules = [f"{code:X}\t20" for code in (0x09, 0x0A, 0x0D, 0xA0, 0x2009, 0x202F)]
    rules += [f"{code:X}\t" for code in (0xAD, 0x200B, 0xFEFF)]
    letters = "aeiouycnAEIOUYCN"
    for letter in letters:
        for accent in (0x300, 0x301, 0x302, 0x303, 0x308, 0x327):
            joined = unicodedata.normalize("NFC", letter + chr(accent))
            if len(joined) == 1:
                rules.append(f"{ord(letter):X} {accent:X}\t{ord(joined):X}")
    return "".join(rule + "\n" for rule in rules)


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read a JSONL file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def train_tokenizer(data: Path, folder: Path) -> None:
    """Learn the vocabulary from the training files alone and save it in T5's form.

    Writes `spiece.model`, `tokenizer.json` and `tokenizer_config.json` into `folder`; sentinels
    `<extra_id_99>` … `<extra_id_0>` take the last 100 ids, as in T5.
    """
    import sentencepiece

    folder.mkdir(parents=True, exist_ok=True)
    pairs = [p for p in read_rows(data / "train_pairs.jsonl") if p["origin"] == "ddtp"]
    lines = [line for p in pairs for text in (p["text"], p["summary"]) for line in text.split("\n")]
    lines += [row["text"] for row in read_rows(data / "train_text.jsonl")]
    text = folder / "text.txt"
    text.write_text("\n".join(line for line in lines if line.strip()), encoding="utf-8")
    rules = folder / "rules.tsv"
    rules.write_text(normalization_rules(), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(text),
        model_prefix=str(folder / "spiece"),
        model_type="unigram",
        vocab_size=VOCABULARY - SENTINELS,
        character_coverage=0.99995,
        byte_fallback=True,
        normalization_rule_tsv=str(rules),
        pad_id=PAD,
        eos_id=EOS,
        unk_id=UNK,
        bos_id=-1,
        pad_piece="<pad>",
        eos_piece="</s>",
        unk_piece="<unk>",
        required_chars="".join(map(chr, range(0x21, 0x7F)))
        + "“”‘’«»—–…€ºª°•§²³½áàâãéêíóôõúüçÁÀÂÃÉÊÍÓÔÕÚÇ",
        num_threads=2,
        minloglevel=2,
    )
    save_tokenizer(folder / "spiece.model", folder / "tokenizer")
    for leftover in (text, rules):
        leftover.unlink()


def save_tokenizer(model_file: Path, folder: Path) -> None:
    """Save `model_file` as the T5 tokenizer that AutoTokenizer loads from `folder`.

    The pieces are carried over one by one and the class is the plain PreTrainedTokenizerFast:
    T5Tokenizer of transformers 5 rebuilds its own pipeline without byte fallback (`&` or an emoji
    would be `<unk>`), and T5Tokenizer(vocab_file=...) builds a vocabulary of sentinels only.
    """
    import sentencepiece
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    spm = sentencepiece.SentencePieceProcessor(model_file=str(model_file))
    pieces = [(spm.id_to_piece(i), spm.get_score(i)) for i in range(spm.get_piece_size())]
    pieces += [(f"<extra_id_{i}>", 0.0) for i in reversed(range(SENTINELS))]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=UNK, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex("[\u00ad\u200b\ufeff]"), ""),
            normalizers.NFC(),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(left=True, right=True),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.post_processor = TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", EOS)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        extra_special_tokens=[f"<extra_id_{i}>" for i in range(SENTINELS)],
        model_max_length=512,
    )
    fast.save_pretrained(folder)
    shutil.copyfile(model_file, folder / "spiece.model")


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer with AutoTokenizer and check its conventions.

    Raises:
        click.ClickException: The vocabulary is not the one that was learned.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    if len(tokenizer) != VOCABULARY or tokenizer.convert_tokens_to_ids("<extra_id_0>") != 7999:
        raise click.ClickException(f"{folder} holds {len(tokenizer)} tokens, not {VOCABULARY}")
    return tokenizer


# ---------------------------------------------------------------- batches


@dataclass(frozen=True)
class Example:
    """Source and target token ids, both closed by </s>."""

    source: list[int]
    target: list[int]


def sentinel(number: int) -> int:
    """Return the id of `<extra_id_number>`."""
    return VOCABULARY - 1 - number


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
    draw: Callable[[random.Random], Example], *, seed: int, start: int, size: int, pool: int = 32
) -> Iterator[tuple[int, list[Example]]]:
    """Yield (step, batch) from step `start` on; examples of like length share a batch.

    Each pool of `pool` batches is drawn from its own generator, so that a resumed run sees the
    batches it would have seen.
    """
    number = start // pool
    while True:
        rng = random.Random(f"{seed}:{number}")
        examples = sorted(
            (draw(rng) for _ in range(pool * size)), key=lambda e: (len(e.source), len(e.target))
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


# ---------------------------------------------------------------- model and optimizer


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


class Optimizer:
    """Muon for the layers' matrices, Adam for embeddings, norms and position biases.

    `adafactor` (parameter-scaled updates) is kept for comparison.
    """

    def __init__(self, model: T5ForConditionalGeneration, *, kind: str, lr: float) -> None:
        """Sort the parameters of `model`; `lr` is the peak rate of the matrices."""
        import torch
        from transformers import Adafactor

        self.parts: list[torch.optim.Optimizer] = []
        if kind == "adafactor":
            self.parts.append(
                Adafactor(
                    model.parameters(),
                    lr=lr,
                    scale_parameter=True,
                    relative_step=False,
                    warmup_init=False,
                )
            )
        else:
            named = list(model.named_parameters())
            matrices = [p for n, p in named if p.ndim == 2 and ".block." in n and "bias" not in n]
            chosen = {id(p) for p in matrices}
            tables = [p for _, p in named if id(p) not in chosen and p.ndim == 2]
            vectors = [p for _, p in named if id(p) not in chosen and p.ndim != 2]
            self.parts.append(
                torch.optim.Muon(matrices, lr=lr, weight_decay=0.02, adjust_lr_fn="match_rms_adamw")
            )
            self.parts.append(
                torch.optim.Adam(
                    [{"params": tables, "lr": lr * 1.0}, {"params": vectors, "lr": lr * 0.2}],
                    betas=(0.9, 0.98),
                    eps=1e-9,
                )
            )
        self.peaks = [[float(g["lr"]) for g in part.param_groups] for part in self.parts]

    def step(self, *, scale: float) -> None:
        """Take a step at `scale` times the peak rates."""
        for part, peaks in zip(self.parts, self.peaks, strict=True):
            for group, peak in zip(part.param_groups, peaks, strict=True):
                group["lr"] = peak * scale
            part.step()

    def state(self) -> list[dict[str, Any]]:
        """Return what `restore` needs."""
        return [part.state_dict() for part in self.parts]

    def restore(self, state: list[dict[str, Any]]) -> None:
        """Put back a state; the peak rates stay those of this run."""
        for part, saved in zip(self.parts, state, strict=True):
            part.load_state_dict(saved)


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


# ---------------------------------------------------------------- training


@dataclass(frozen=True)
class Plan:
    """What one stage does."""

    stage: str
    steps: int
    batch: int
    lr: float
    warmup: int
    cooldown: float
    optimizer: str
    smoothing: float
    ema: float
    seed: int
    save_minutes: float
    evaluate_every: int
    rank: int
    share_every: int


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
    optimizer = Optimizer(model, kind=plan.optimizer, lr=plan.lr)
    average = {k: v.detach().clone() for k, v in model.state_dict().items()}
    start, best, spent = 0, -1.0, 0.0
    if path.exists():
        saved = torch.load(path, weights_only=True, map_location=model.device)
        model.load_state_dict(saved["model"])
        optimizer.restore(saved["optimizer"])
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
                "optimizer": optimizer.state(),
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
        optimizer.step(
            scale=rate(step, steps=plan.steps, warmup=plan.warmup, cooldown=plan.cooldown)
        )
        model.zero_grad(set_to_none=True)
        gossip.meet(weights, step=step)
        losses.append(loss.item())
        decay = min(plan.ema, (step + 1) / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(
                [average[n] for n in names], [weights[n].detach() for n in names], 1 - decay
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
                    {"model": model.state_dict(), "step": step, "score": score}, best_path
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
        click.option("--optimizer", type=click.Choice(["muon", "adafactor"]), default="muon"),
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
        optimizer=options["optimizer"],
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
        work_dir / "data", work_dir / "vocabulary" / "spiece.model", max_source=64, max_target=34
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
@click.option("--max-source", default=128, show_default=True)
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
@click.option("--length-penalty", default=1.0, show_default=True)
def export(
    work_dir: Path, names: tuple[str, ...], output: Path, num_beams: int, length_penalty: float
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
        early_stopping=True,
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
