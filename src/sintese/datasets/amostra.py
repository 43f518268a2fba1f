"""The corpus that ships with Síntese: small, free and offline."""

from __future__ import annotations

import json
from collections import defaultdict
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

from sintese.cleaning import WHERE
from sintese.config import DataConfig
from sintese.datasets import Row, Source
from sintese.errors import DataError, UnknownNameError

DESCRIPTION = "embedded: software descriptions, news and long texts in Portuguese (CC0, offline)"
SUBSETS = {
    "descricoes": "software descriptions and their one-line summaries",
    "noticias": "news written for this project",
    "longos": "long reports, for evaluation only",
}


def read(config: DataConfig) -> Source:
    """Read the embedded subset `data.subset`, by default `descricoes`.

    Raises:
        UnknownNameError: no such subset.
    """
    folder = resources.files("sintese") / "resources" / "amostra"
    return read_folder(folder, subset=config.subset)


def read_folder(folder: Traversable, *, subset: str | None = None) -> Source:
    """Read `{subset}.jsonl` from `folder`; each row names its own `split` and `license`.

    Raises:
        UnknownNameError: no such subset.
        DataError: the file is missing, as in a damaged installation.
    """
    subset = subset or next(iter(SUBSETS))
    if subset not in SUBSETS:
        raise UnknownNameError("subset of amostra", subset, SUBSETS)
    file = folder / f"{subset}.jsonl"
    if not file.is_file():
        raise DataError(f"data.subset: amostra has no file {file.name} here: install sintese again")
    splits: dict[str, list[Row]] = defaultdict(list)
    licences: set[str] = set()
    # Not splitlines(): U+2028 is a line end to str, and legal inside a JSON string.
    for number, line in enumerate(file.read_text(encoding="utf-8").split("\n"), start=1):
        if line.strip():
            row: dict[str, Any] = json.loads(line)
            licences.add(row["license"])
            splits[row["split"]].append({**row, WHERE: f"{file.name}:{number}"})
    return Source(
        splits=dict(splits),
        origin=f"amostra/{subset}",
        licence=", ".join(sorted(licences)),
        language="pt",
        name=f"amostra/{subset}",
        evaluation_only="train" not in splits,
    )
