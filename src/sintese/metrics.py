"""ROUGE under named protocols, with intervals.

A ROUGE score means nothing without its tokenizer. On accented text the reference
implementation splits at every accent ("não é ação" becomes n, o, a, o), and the numbers
published for XL-Sum use stems; the same summaries differ by more than two points from one
protocol to the next. So every score here belongs to one of `PROTOCOLS`, and scores of
different protocols, or of different versions of one, are not to be compared.

All three rest on rouge_score's counting (Lin 2004, https://aclanthology.org/W04-1013).
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from statistics import fmean
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from sintese.errors import DataError, UnknownNameError
from sintese.sentences import split_sentences

if TYPE_CHECKING:
    import evaluate

ROUGE_TYPES = ("rouge1", "rouge2", "rougeL", "rougeLsum")


@dataclass(frozen=True)
class RougeProtocol:
    """What has to be said next to a ROUGE score for it to be comparable.

    Attributes:
        name: the key in `PROTOCOLS`.
        description: one sentence for a report.
        version: changes whenever a score could change.
        tokenizer: the rule from text to tokens and, for rougeLsum, to sentences.
        direction: which way is better.
    """

    name: str
    description: str
    version: str
    tokenizer: str
    direction: Literal["higher"] = "higher"


PROTOCOLS: Mapping[str, RougeProtocol] = MappingProxyType(
    {
        protocol.name: protocol
        for protocol in (
            RougeProtocol(
                name="unicode",
                description="Portuguese as written: accents kept, no stemming.",
                version="1",
                tokenizer=r"lower case, NFC, \w+; sentences by sintese.sentences",
            ),
            RougeProtocol(
                name="default",
                description="rouge_score as it comes, which most papers and cards report.",
                version="rouge_score 0.1.2",
                tokenizer="lower case, [a-z0-9]+, no stemming; sentences by line break",
            ),
            RougeProtocol(
                name="xlsum_pt",
                description="The multilingual scorer of XL-Sum, language portuguese, stemmed.",
                version="csebuetnlp/xl-sum 145b7b7, NLTK stopwords 2022",
                tokenizer=(
                    "lower case, punctuation dropped, digits parted from letters (not for "
                    "rougeLsum), Snowball stems above 3 characters except stopwords; "
                    "sentences by line break"
                ),
            ),
        )
    }
)


@dataclass(frozen=True)
class Interval:
    """A confidence interval, in the unit of the values it was drawn from."""

    low: float
    high: float
    level: float


def rouge_rows(
    predictions: Sequence[str], references: Sequence[str], *, protocol: str = "unicode"
) -> list[dict[str, float]]:
    """Score each prediction against its reference.

    Returns:
        A row for each pair, in order: `ROUGE_TYPES` to F1 in 0..1. A side without a token
        scores 0.

    Raises:
        DataError: the two differ in length, or one is a lone string.
        UnknownNameError: no such protocol.
    """
    _check_pairs(predictions, references)
    recipe = _recipe(protocol)
    rows = []
    for prediction, reference in zip(predictions, references, strict=True):
        scores = recipe.flat.score(reference, prediction) | recipe.by_sentence.score(
            recipe.one_sentence_a_line(reference), recipe.one_sentence_a_line(prediction)
        )
        rows.append({kind: float(scores[kind].fmeasure) for kind in ROUGE_TYPES})
    return rows


def rouge(
    predictions: Sequence[str], references: Sequence[str], *, protocol: str = "unicode"
) -> dict[str, float]:
    """Score a corpus: 100 times the mean F1 of its rows, for each of `ROUGE_TYPES`.

    Raises:
        DataError: the two differ in length, are empty, or one is a lone string.
        UnknownNameError: no such protocol.
    """
    rows = rouge_rows(predictions, references, protocol=protocol)
    if not rows:
        raise DataError("ROUGE of nothing: predictions and references are empty")
    return {kind: 100 * fmean(row[kind] for row in rows) for kind in ROUGE_TYPES}


def rouge_all(predictions: Sequence[str], references: Sequence[str]) -> dict[str, dict[str, float]]:
    """Score a corpus under every protocol: its name to what `rouge` returns."""
    return {name: rouge(predictions, references, protocol=name) for name in PROTOCOLS}


def tokens(text: str, *, protocol: str = "unicode") -> list[str]:
    """Return the tokens that rouge1, rouge2 and rougeL compare under a protocol."""
    found: list[str] = list(_recipe(protocol).tokenize(text))
    return found


def generated_lengths(predictions: Sequence[str]) -> list[int]:
    """Return the length of each prediction in words, as white space separates them."""
    return [len(prediction.split()) for prediction in predictions]


def bootstrap_interval(
    values: Sequence[float], *, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> Interval:
    """Return the percentile bootstrap interval of the mean of values.

    The rows are the unit of resampling (Efron and Tibshirani 1993, chapter 13). The same
    values, arguments and numpy give the same interval. One value gives an interval of no
    width, which says nothing.

    Args:
        values: a score for each row, in any unit.
        level: the share of resampled means inside the interval, above 0 and below 1.
        resamples: at least 1.
        seed: of numpy's default generator.

    Raises:
        DataError: there are no values, or one is not finite.
        ValueError: level or resamples out of range.
    """
    import numpy as np

    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, not {resamples}")
    scores = np.asarray(values, dtype=np.float64)
    if scores.size == 0:
        raise DataError("an interval needs at least one value")
    if not np.isfinite(scores).all():
        raise DataError("an interval needs finite values: a score is NaN or infinite")
    generator = np.random.default_rng(seed)
    # One resample at a time: all at once is 57 MB of indices for the XL-Sum test set.
    means = [
        scores[generator.integers(scores.size, size=scores.size)].mean() for _ in range(resamples)
    ]
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(low=float(low), high=float(high), level=level)


def evaluate_metric(*, cache_dir: str | None = None) -> evaluate.Metric:
    """Return ROUGE as an `evaluate.Metric`, for code that knows that library.

    `compute(predictions=..., references=..., protocol="unicode")` returns what `rouge`
    returns, thus 0..100 where `evaluate.load("rouge")` has 0..1. Nothing is fetched and
    nothing kept on disk, though the library makes an empty folder under cache_dir (None: its
    own place in the home directory).
    """
    import datasets
    import evaluate

    class SinteseRouge(evaluate.Metric):  # type: ignore[misc]
        def _info(self) -> evaluate.MetricInfo:
            return evaluate.MetricInfo(
                description=__doc__ or "",
                citation="Lin 2004, ROUGE: A Package for Automatic Evaluation of Summaries",
                inputs_description=(
                    f"predictions, references: one string a row; protocol: {', '.join(PROTOCOLS)}"
                ),
                features=datasets.Features(
                    {
                        "predictions": datasets.Value("string"),
                        "references": datasets.Value("string"),
                    }
                ),
                reference_urls=["https://aclanthology.org/W04-1013"],
            )

        def _compute(
            self, predictions: Sequence[str], references: Sequence[str], protocol: str = "unicode"
        ) -> dict[str, float]:
            return rouge(predictions, references, protocol=protocol)

    return SinteseRouge(keep_in_memory=True, cache_dir=cache_dir)


def _check_pairs(predictions: Sequence[str], references: Sequence[str]) -> None:
    for side, texts in (("predictions", predictions), ("references", references)):
        if isinstance(texts, str):
            raise DataError(f"{side} must be a list of strings, not one string: wrap it in [...]")
    if len(predictions) != len(references):
        raise DataError(
            f"{len(predictions)} predictions for {len(references)} references: "
            "there must be one prediction for each reference"
        )


@dataclass(frozen=True)
class _Tokenizer:
    """What `rouge_score.RougeScorer(tokenizer=...)` asks for."""

    tokenize: Callable[[str], list[str]]


@dataclass(frozen=True)
class _Recipe:
    """A protocol at work; both scorers are `rouge_score.RougeScorer`s.

    Attributes:
        flat: rouge1, rouge2 and rougeL.
        by_sentence: rougeLsum, which takes one sentence a line.
        one_sentence_a_line: prepares a text for `by_sentence`.
        tokenize: text to the tokens of `flat`.
    """

    flat: Any
    by_sentence: Any
    one_sentence_a_line: Callable[[str], str]
    tokenize: Callable[[str], list[str]]


@functools.cache
def _recipe(protocol: str) -> _Recipe:
    if protocol not in PROTOCOLS:
        raise UnknownNameError("ROUGE protocol", protocol, PROTOCOLS)
    from rouge_score import rouge_scorer, tokenizers

    def as_it_is(text: str) -> str:
        return text

    def lines(text: str) -> str:
        return "\n".join(split_sentences(text))

    def recipe(
        tokenize: Callable[[str], list[str]],
        tokenize_sentence: Callable[[str], list[str]],
        one_sentence_a_line: Callable[[str], str],
    ) -> _Recipe:
        return _Recipe(
            flat=rouge_scorer.RougeScorer(
                ["rouge1", "rouge2", "rougeL"], tokenizer=_Tokenizer(tokenize)
            ),
            by_sentence=rouge_scorer.RougeScorer(
                ["rougeLsum"], tokenizer=_Tokenizer(tokenize_sentence)
            ),
            one_sentence_a_line=one_sentence_a_line,
            tokenize=tokenize,
        )

    if protocol == "unicode":
        return recipe(_unicode_tokens, _unicode_tokens, lines)
    if protocol == "xlsum_pt":
        # The published scorer leaves its tokenizer out for rougeLsum, and with it the
        # parting of digits from letters:
        # https://github.com/csebuetnlp/xl-sum/blob/145b7b709eabb3ca17c1fddbd158fed442e73169/multilingual_rouge_scoring/rouge_scorer.py
        return recipe(_xlsum_tokens, _xlsum_sentence_tokens, as_it_is)
    plain = tokenizers.DefaultTokenizer(False).tokenize
    return recipe(plain, plain, as_it_is)


_WORD = re.compile(r"\w+")


def _unicode_tokens(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFC", text.lower()))


# XL-Sum's rules, written anew from
# https://github.com/csebuetnlp/xl-sum/blob/d32bd4e57e3631434d9d69f515058a697fa302f2/multilingual_rouge_scoring/tokenizers.py
# (sanitizing) and https://github.com/OpenNMT/Tokenizer/blob/00389bc78a79b77c7f62266ef76cdff6a6a4b31f/src/Tokenizer.cc
# (its mode `aggressive`, in as far as text without punctuation can tell).


def _xlsum_tokens(text: str) -> list[str]:
    return [stem for word in _xlsum_words(text) for stem in _xlsum_parted_stems(word)]


def _xlsum_sentence_tokens(text: str) -> list[str]:
    return [_xlsum_stem(word) for word in _xlsum_words(text)]


def _xlsum_words(text: str) -> list[str]:
    return text.lower().translate(_xlsum_character_map()).split()


class _XlsumCharacterMap(dict[int, str | None]):
    """For `str.translate`; holds a rule for each code point met so far.

    Control, format, private and unassigned characters vanish (what they parted is then one
    word); white space and punctuation become a space. Symbols stay, except those of ASCII.
    """

    def __missing__(self, code: int) -> str | None:
        char = chr(code)
        category = unicodedata.category(char)
        rule: str | None = char
        if char in "\t\n\r" or category == "Zs" or category[0] == "P":
            rule = " "
        elif category[0] == "C" or char == "\ufffd":
            rule = None
        elif code < 128 and not char.isalnum():
            rule = " "
        self[code] = rule
        return rule


@functools.cache
def _xlsum_character_map() -> _XlsumCharacterMap:
    return _XlsumCharacterMap()


# Word to stems is a pure function, and a corpus repeats its words.
@functools.lru_cache(maxsize=1 << 16)
def _xlsum_parted_stems(word: str) -> tuple[str, ...]:
    return tuple(_xlsum_stem(part) for part in _xlsum_parts(word))


# Ideographs, each a token of its own: the ranges of BasicTokenizer in tokenizers.py, above.
_IDEOGRAPH = re.compile(
    "([\u4e00-\u9fff\u3400-\u4dbf\U00020000-\U0002a6df\U0002a700-\U0002ceaf"
    "\uf900-\ufaff\U0002f800-\U0002fa1f])"
)
# Characters that the OpenNMT tokenizer keeps for itself and replaces in the text.
_RESERVED = str.maketrans({"▁": "_", "￭": "■", "\uffe8": "│"})


def _xlsum_parts(word: str) -> list[str]:
    """Part a word into runs of letters, runs of numbers and single symbols.

    A combining mark belongs to what stands before it. (Where nothing does, some releases of
    the OpenNMT tokenizer write an escaped space before it; left out here.)
    """
    parts: list[str] = []
    run = ""
    for char in word:
        kind = unicodedata.category(char)[0]
        if parts and (kind == "M" or (kind == run and kind in ("L", "N"))):
            parts[-1] += char
            continue
        parts.append(char)
        run = kind
    return _IDEOGRAPH.sub(r" \1 ", " ".join(parts).translate(_RESERVED)).split()


@functools.lru_cache(maxsize=1 << 16)
def _xlsum_stem(token: str) -> str:
    # 3 is `min_char_length` of rouge_scorer.py: longer tokens only are stemmed.
    return _portuguese_stemmer()(token) if len(token) > 3 else token


@functools.cache
def _portuguese_stemmer() -> Callable[[str], str]:
    from nltk.stem.snowball import PortugueseStemmer

    # `ignore_stopwords=True` would read NLTK's corpus, which has to be downloaded first.
    stemmer = PortugueseStemmer(ignore_stopwords=False)
    stemmer.stopwords = set(_stopwords())
    stem: Callable[[str], str] = stemmer.stem
    return stem


@functools.cache
def _stopwords() -> frozenset[str]:
    file = resources.files("sintese") / "resources" / "stopwords_pt.txt"
    lines = file.read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))
