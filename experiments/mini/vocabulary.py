"""The vocabulary of sintese-mini: learned with SentencePiece, saved for AutoTokenizer."""

from __future__ import annotations

import json
import shutil
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

VOCABULARY = 8000
SENTINELS = 100
PAD, EOS, UNK = 0, 1, 2
KEPT_CHARACTERS = "".join(map(chr, range(0x21, 0x7F))) + (
    "“”‘’«»—–…€ºª°•§²³½áàâãéêíóôõúüçÁÀÂÃÉÊÍÓÔÕÚÇ"
)


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
    forget_paths(folder / "spiece.model")
    save_tokenizer(folder / "spiece.model", folder / "tokenizer")
    for leftover in (text, rules):
        leftover.unlink()


def forget_paths(model_file: Path) -> None:
    """Take out the paths of this machine, which SentencePiece writes into the model it trains."""
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(model_file.read_bytes())
    model.trainer_spec.ClearField("input")
    model.trainer_spec.ClearField("model_prefix")
    model.normalizer_spec.ClearField("normalization_rule_tsv")
    model_file.write_bytes(model.SerializeToString())


def save_tokenizer(model_file: Path, folder: Path) -> None:
    """Save `model_file` as the T5 tokenizer that AutoTokenizer loads from `folder`.

    The pieces are carried over one by one and the class is the plain PreTrainedTokenizerFast:
    T5Tokenizer of transformers 5 rebuilds its own pipeline without byte fallback (`&` or an emoji
    would be `<unk>`), and T5Tokenizer(vocab_file=...) builds a vocabulary of sentinels only.
    """
    import sentencepiece
    from tokenizers import (
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
    )
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


def sentinel(number: int) -> int:
    """Return the id of `<extra_id_number>`."""
    return VOCABULARY - 1 - number
