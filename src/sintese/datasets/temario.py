"""TeMário: 100 Brazilian newspaper texts with summaries written by a professional (NILC, 2003).

The archive that NILC distributes holds Windows-1252 text files below a folder that has had
several names::

    Textos-fonte/Textos-fonte com título/ce94ab10-a.txt
    Textos-fonte/Textos-fonte sem título/St-ce94ab10-a.txt
    Sumários/Sumários manuais/Sum-ce94ab10-a.txt
    Sumários/Extratos ideais automáticos/Ext-ce94ab10-a.txt
"""

from __future__ import annotations

import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from sintese.cleaning import WHERE, BadRow
from sintese.config import DataConfig
from sintese.datasets import Row, Source, files, hub
from sintese.errors import ConfigError, DataError, Fault

DESCRIPTION = "TeMário: 100 Brazilian newspaper texts with manual summaries (NILC, research use)"
CITATION = """\
@techreport{pardo-rino-2003-temario,
  title = {{TeM\\'ario}: Um Corpus para Sumariza{\\c{c}}{\\~a}o Autom{\\'a}tica de Textos},
  author = {Pardo, Thiago Alexandre Salgueiro and Rino, Lucia Helena Machado},
  institution = {NILC, Universidade de S{\\~a}o Paulo},
  number = {NILC-TR-03-09},
  year = {2003},
}"""
_PREFIX = "temario-"
_DOCUMENT = re.compile(r"(?P<kind>sum-|st-|ext-)?(?P<stem>[a-z]{2}\d{2}[a-z]{2}\d{1,2}-[a-z])\.txt")
# No text of TeMário has 10 kB, and there are some 500 files.
_MOST_BYTES, _MOST_ENTRIES = 2**20, 10_000


def read(config: DataConfig) -> Source:
    """Read TeMário from `data.path` or `data.hub_id`; the rows come sorted by id.

    Args:
        config: `path` is NILC's zip, a folder unpacked from it, or a file with the columns `id`,
            `text` and `summary` in any form that source `files` reads.

    Raises:
        ConfigError: neither is given, or `data.path` is not there.
        DataError: the archive is damaged, unsafe or not laid out as NILC's.
    """
    if config.path:
        path = Path(config.path).expanduser()
        if path.suffix.lower() == ".zip":
            source = _source(_from_zip(path), origin=config.path)
        elif path.is_dir() and (texts := _text_files(path)):
            source = _source(_paired(texts, path.name), origin=config.path)
        else:
            source = files.read(config)
    elif config.hub_id:
        source = hub.read(config)
    else:
        raise ConfigError(
            [
                Fault(
                    "data.path",
                    "source 'temario' needs NILC's TeMario.zip (its folder, or a JSONL of it), "
                    "or a copy on the hub in data.hub_id",
                )
            ]
        )
    return replace(
        source,
        splits={split: _in_order(config, rows) for split, rows in source.splits.items()},
        licence="not stated (newspaper texts, NILC): research use only",
        citation=CITATION,
        language="pt-BR",
        name="temario",
    )


def _source(rows: Iterable[Row], *, origin: str) -> Source:
    return Source(splits={"train": rows}, origin=origin, licence="")


def _in_order(config: DataConfig, rows: Iterable[Row]) -> list[Row]:
    """Sort rows by id and spell ids in one way, so that all forms of TeMário are one corpus."""
    column = config.id_column or "id"
    good: list[dict[str, object]] = []
    bad: list[Row] = []
    for row in rows:
        if isinstance(row, BadRow):
            bad.append(row)
        elif row.get(column):
            good.append({**row, column: _PREFIX + str(row[column]).lower().removeprefix(_PREFIX)})
        else:
            good.append(dict(row))
    return [*bad, *sorted(good, key=lambda row: str(row.get(column, "")))]


def _text_files(folder: Path) -> dict[str, Callable[[], bytes]]:
    return {
        path.relative_to(folder.parent).as_posix(): path.read_bytes
        for path in folder.rglob("*.txt")
        if _DOCUMENT.fullmatch(path.name.lower())
    }


def _from_zip(path: Path) -> list[Row]:
    """Read the archive in memory; nothing is unpacked to disk."""
    if not path.is_file():
        raise ConfigError([Fault("data.path", f"no file {path}")])
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) > _MOST_ENTRIES:
                raise DataError(f"data.path: {path.name} is unsafe: {len(entries)} entries")
            for entry in entries:
                _check_entry(entry, path.name)
            return _paired({e.filename: _reader(archive, e) for e in entries}, path.name)
    except (zipfile.BadZipFile, zlib.error, RuntimeError, OSError, EOFError) as error:
        # RuntimeError: an encrypted entry or, as NotImplementedError, an unknown compression.
        raise DataError(f"data.path: cannot read {path.name}: {error}") from None


def _reader(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Callable[[], bytes]:
    return lambda: archive.read(entry)


def _check_entry(entry: zipfile.ZipInfo, name: str) -> None:
    path = PurePosixPath(entry.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in entry.filename:
        raise DataError(f"data.path: {name} is unsafe: entry {entry.filename!r}")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise DataError(f"data.path: {name} is unsafe: {entry.filename!r} is a link")
    if path.suffix.lower() == ".txt" and entry.file_size > _MOST_BYTES:
        raise DataError(
            f"data.path: {name} is unsafe: {entry.filename!r} unpacks to {entry.file_size} bytes"
        )


def _paired(contents: Mapping[str, Callable[[], bytes]], name: str) -> list[Row]:
    """Bring texts and manual summaries together by the name they share.

    Folders are recognized by the letters that no zip tool garbles: those without accents.
    """
    texts: dict[str, tuple[str, bool]] = {}
    summaries: dict[str, str] = {}
    for path in sorted(contents):
        pure = PurePosixPath(path.replace("\\", "/"))
        match = _DOCUMENT.fullmatch(pure.name.lower())
        if not match or "__MACOSX" in pure.parts:
            continue
        folders = [part.lower() for part in pure.parts[:-1]]
        stem, kind = match["stem"], match["kind"]
        if kind == "sum-":
            summaries[stem] = path
        elif kind != "ext-" and not any("extrat" in part for part in folders):
            # The title belongs to the text: the manual summaries were written with it in view.
            titled = kind is None and not any("sem t" in part for part in folders)
            if titled or stem not in texts:
                texts[stem] = (path, titled)
    if not texts or not summaries:
        raise DataError(
            f"data.path: {name} holds {len(texts)} texts and {len(summaries)} manual summaries of "
            "TeMário; expected Textos-fonte/…/ce94ab10-a.txt and Sumários/…/Sum-ce94ab10-a.txt"
        )
    rows: list[Row] = []
    for stem in sorted(texts.keys() | summaries.keys()):
        if stem not in texts or stem not in summaries:
            missing = "source text" if stem not in texts else "manual summary"
            rows.append(BadRow(f"{name}:{stem}", f"has no {missing}"))
            continue
        text, summary = (
            files.decode(contents[path]()) for path in (texts[stem][0], summaries[stem])
        )
        rows.append({"id": stem, "text": text, "summary": summary, WHERE: f"{name}:{stem}"})
    return rows
