"""The user's own files: CSV, TSV, JSON Lines, JSON and Parquet, plain or gzipped."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from sintese.cleaning import WHERE, BadRow
from sintese.config import DataConfig
from sintese.datasets import SPLITS, Row, Source
from sintese.errors import ConfigError, DataError, Fault, did_you_mean

DESCRIPTION = "own files: CSV, TSV, JSON Lines, JSON or Parquet, one file or one for each split"
SUFFIXES = (".parquet", ".jsonl", ".ndjson", ".json", ".csv", ".tsv")
LONGEST_LINE = 64 * 2**20
"""Bytes; a longer line is a fault, so that a damaged file cannot fill the memory."""

_SPLIT_NAMES = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
_SPLIT_WORD = re.compile(rf"(?<![^\W_])({'|'.join(_SPLIT_NAMES)})(?![^\W_])")


def read(config: DataConfig) -> Source:
    """Read `data.path` (a file, or a folder of `train.*`, `validation.*`, `test.*`) or split files.

    Raises:
        ConfigError: no file is named, or one that is not there.
        DataError: a file of a kind or encoding that cannot be read.
    """
    return read_paths(_paths(config), evaluation_only=not (config.path or config.train_file))


def read_paths(paths: dict[str, list[Path]], *, evaluation_only: bool = False) -> Source:
    """Return the rows of the files of each split; all kinds that `rows` reads."""
    named = [str(path) for files in paths.values() for path in files]
    return Source(
        splits={split: _chained(files) for split, files in paths.items()},
        origin=", ".join(named),
        licence="unknown",
        language="",
        name=Path(named[0]).stem if len(named) == 1 else Path(named[0]).parent.name or "files",
        evaluation_only=evaluation_only,
    )


def split_of(path: str) -> str | None:
    """Return the split that a file's name (or else its nearest folder's) tells, or None.

    `train-00000-of-00002.parquet`, `portuguese_val.jsonl` and `default/test/0000.parquet` do.
    """
    for part in reversed(PurePosixPath(path.lower()).parts):
        if words := _SPLIT_WORD.findall(part):
            return _SPLIT_NAMES[words[-1]]
    return None


def kind_of(path: str) -> str | None:
    """Return the suffix, out of `SUFFIXES`, of a file that `rows` reads; None of any other."""
    name = path.lower().removesuffix(".gz")
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), None)


def rows(path: Path, *, name: str | None = None) -> Iterator[Row]:
    """Yield the rows of a file, read as they are asked for; a broken one becomes a `BadRow`.

    Args:
        path: the file; its suffix says how it is read.
        name: what to call it in messages; default its own name.

    Raises:
        DataError: the file as a whole cannot be read.
    """
    name = name or path.name
    kind = kind_of(name)
    if kind is None:
        raise DataError(f"{name}: cannot read files of this kind, only {', '.join(SUFFIXES)}")
    try:
        if kind == ".parquet":
            yield from _parquet(path, name)
            return
        with _opened(path) as file:
            if kind in (".csv", ".tsv"):
                yield from _csv(file, name, delimiter="\t" if kind == ".tsv" else None)
            elif kind == ".json":
                yield from _json(file, name)
            else:
                yield from json_lines(file, name)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read {name}: {error}") from None


def json_lines(file: IO[bytes], name: str) -> Iterator[Row]:
    """Yield the objects of a file in JSON Lines; a line that holds none becomes a `BadRow`."""
    number = 0
    while line := file.readline(LONGEST_LINE):
        number += 1
        where = f"{name}:{number}"
        if len(line) == LONGEST_LINE:
            yield BadRow(where, f"longer than {LONGEST_LINE} bytes")
            return
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except UnicodeDecodeError:
            yield BadRow(where, "not UTF-8")
        except json.JSONDecodeError as error:
            yield BadRow(where, f"not JSON: {error.msg}")
        except RecursionError:
            yield BadRow(where, "not JSON: nested too deeply")
        else:
            yield _row(row, where)


def decode(data: bytes) -> str:
    """Decode text in the encodings that Portuguese files come in; never fails.

    UTF-16 and UTF-8 by their marks, UTF-8 where it is valid or nearly so (its invalid bytes
    become lone surrogates, as `surrogateescape` makes them), else Windows-1252, else Latin-1.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    text = data.decode("utf-8-sig", errors="surrogateescape")
    invalid = sum(map(is_escaped, text))
    # A few broken bytes among many valid sequences: still UTF-8. Latin-1 has hardly a valid one.
    if not invalid or invalid * 10 < sum(c > "\x7f" for c in text) - invalid:
        return text
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def is_escaped(character: str) -> bool:
    """Return whether `decode` put this character for a byte that is not UTF-8."""
    return "\udc80" <= character <= "\udcff"


def _paths(config: DataConfig) -> dict[str, list[Path]]:
    flags = {
        "train": ("data.train_file", config.train_file),
        "validation": ("data.validation_file", config.validation_file),
        "test": ("data.test_file", config.test_file),
    }
    named = {split: [_existing(flag, value)] for split, (flag, value) in flags.items() if value}
    if config.path is None:
        if not named:
            raise ConfigError([Fault("data.path", "source 'files' needs it, or data.train_file")])
        return named
    path = _existing("data.path", config.path)
    found = _in_folder(path) if path.is_dir() else {"train": [path]}
    if both := sorted(found.keys() & named.keys()):
        raise ConfigError(
            [Fault(f"data.{both[0]}_file", f"data.path already gives the {both[0]} rows; drop one")]
        )
    return found | named


def _in_folder(folder: Path) -> dict[str, list[Path]]:
    files = sorted(path for path in folder.iterdir() if path.is_file() and kind_of(path.name))
    found: dict[str, list[Path]] = {}
    for path in files:
        if split := split_of(path.name):
            found.setdefault(split, []).append(path)
    if not found and len(files) == 1:
        return {"train": files}
    if "train" not in found and "test" not in found:
        names = ", ".join(path.name for path in files[:5]) or "no data files"
        raise ConfigError(
            [Fault("data.path", f"{folder} holds {names}; name them {', '.join(SPLITS)}.*")]
        )
    return found


def _existing(flag: str, value: str) -> Path:
    path = Path(value).expanduser()
    if not path.exists():
        nearby = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = did_you_mean(path.name, nearby).partition(" (")[0]
        raise ConfigError([Fault(flag, f"no file or folder {value}{hint}")])
    return path


def _chained(paths: Iterable[Path]) -> Iterator[Row]:
    for path in paths:
        yield from rows(path)


def _opened(path: Path) -> IO[bytes]:
    if path.name.lower().endswith(".gz"):
        return cast(IO[bytes], gzip.open(path))
    return path.open("rb")


def _row(value: Any, where: str) -> Row:
    if isinstance(value, dict):
        return {**value, WHERE: where}
    return BadRow(where, f"{type(value).__name__} instead of an object with columns")


def _json(file: IO[bytes], name: str) -> Iterator[Row]:
    # One object a line under the suffix .json is common: AmazonTitles' trn.json is one.
    first = file.readline(LONGEST_LINE)
    several = bool(file.readline(LONGEST_LINE).strip())
    file.seek(0)
    if several and _is_object(first):
        yield from json_lines(file, name)
        return
    try:
        content = json.loads(decode(file.read()))
    except (json.JSONDecodeError, RecursionError) as error:
        line = f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise DataError(f"{name}{line} is not JSON: {error}") from None
    if isinstance(content, dict):
        lists = [value for value in content.values() if isinstance(value, list)]
        content = lists[0] if len(lists) == 1 else [content]
    if not isinstance(content, list):
        raise DataError(f"{name} holds {type(content).__name__}, not a list of objects")
    for number, value in enumerate(content, start=1):
        yield _row(value, f"{name}[{number}]")


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(decode(line)), dict)
    except (ValueError, RecursionError):
        return False


def _csv(file: IO[bytes], name: str, *, delimiter: str | None) -> Iterator[Row]:
    text = decode(file.read())
    header_line = text.partition("\n")[0]
    # The header alone decides: texts are full of commas and semicolons, column names are not.
    delimiter = delimiter or max(",;\t", key=header_line.count)
    # The module's own limit, 128 KB a field, is one long article.
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_LINE))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        where = f"{name}:{reader.line_num + 1}"
        try:
            values = next(reader, None)
        except csv.Error as error:
            yield BadRow(where, f"not CSV: {error}")
            continue
        if values is None:
            return
        if not values:
            continue
        if header is None:
            header = [column.strip() for column in values]
        elif len(values) != len(header):
            yield BadRow(where, f"{len(values)} fields where the header has {len(header)}")
        elif any(is_escaped(character) for value in values for character in value):
            yield BadRow(where, "bytes that are not UTF-8")
        else:
            yield {**dict(zip(header, values, strict=True)), WHERE: where}


def _parquet(path: Path, name: str) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024):
                for row in batch.to_pylist():
                    number += 1
                    yield {**row, WHERE: f"{name}:{number}"}
    except pa.ArrowException as error:
        raise DataError(f"{name} is not a readable Parquet file: {error}") from None
