"""XL-Sum: BBC articles and their summaries in 45 languages.

On the hub it is a loading script and one archive for each language, the layout that `datasets`
no longer opens; the archives are read here as they are, without unpacking them.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import IO, cast

from sintese.config import DataConfig
from sintese.datasets import Row, Source, files, hub
from sintese.errors import ConfigError, DataError, Fault, UnknownNameError, did_you_mean

DESCRIPTION = "XL-Sum: BBC articles in 45 languages, 57,402 for training in Portuguese"
HUB_ID = "csebuetnlp/xlsum"
LICENCE = "CC-BY-NC-SA-4.0"
CITATION = """\
@inproceedings{hasan-etal-2021-xl,
  title = {{XL}-Sum: Large-Scale Multilingual Abstractive Summarization for 44 Languages},
  author = {Hasan, Tahmid and Bhattacharjee, Abhik and Islam, Md. Saiful and Mubasshir, Kazi and
            Li, Yuan-Fang and Kang, Yong-Bin and Rahman, M. Sohel and Shahriyar, Rifat},
  booktitle = {Findings of the Association for Computational Linguistics: ACL-IJCNLP 2021},
  year = {2021},
  pages = {4693--4703},
}"""
# https://huggingface.co/datasets/csebuetnlp/xlsum/blob/main/xlsum.py names the archives
# data/{language}_XLSum_v2.0.tar.bz2 and in them {language}_train.jsonl, _val and _test.
_ARCHIVE = re.compile(r"(?P<language>\w+?)_XLSum_v[\d.]+\.tar\.bz2")
_MEMBERS = {"train": "train", "validation": "val", "test": "test"}
_MOST_BYTES = 16 * 2**30
"""Of all files in an archive together; the largest language, English, has about 1 GB."""
# Those of XL-Sum that are named most often; others get no tag rather than a wrong one.
_TAGS = {"portuguese": "pt", "english": "en", "spanish": "es", "french": "fr"}


def read(config: DataConfig) -> Source:
    """Read the language `data.subset`, by default Portuguese, from `data.path` or the hub.

    Args:
        config: `path` may be an archive, a folder of archives, or a folder that holds
            `{language}_train.jsonl`, `_val.jsonl` and `_test.jsonl`.

    Raises:
        ConfigError: `data.path` is not there or holds none of these.
        DataError: the hub does not answer, or an archive is damaged or not safe to read.
        UnknownNameError: no such language.
    """
    if config.path:
        path = Path(config.path).expanduser()
        language = config.subset or _language_of(path) or "portuguese"
        return _source(_local(path, language), language, origin=config.path)
    language = config.subset or "portuguese"
    repository = hub.open_repository(config.hub_id or HUB_ID, revision=config.revision)
    archives = {
        match["language"]: path
        for path in repository.files
        if (match := _ARCHIVE.fullmatch(PurePosixPath(path).name))
    }
    if language in archives:
        archive = hub.fetch(repository, archives[language])
        return _source(_from_archive(archive, language), language, origin=repository.origin)
    if archives:
        raise UnknownNameError("language of XL-Sum (data.subset)", language, archives)
    found = hub.source(repository, revision=config.revision, subset=language)
    return _source(found.splits, language, origin=found.origin)


def _source(splits: Mapping[str, Iterable[Row]], language: str, *, origin: str) -> Source:
    return Source(
        splits=splits,
        origin=origin,
        licence=LICENCE,
        citation=CITATION,
        language=_TAGS.get(language, ""),
        name=f"xlsum/{language}",
    )


def _local(path: Path, language: str) -> dict[str, Iterator[Row]]:
    if path.is_file():
        return _from_archive(path, language)
    if not path.is_dir():
        raise ConfigError([Fault("data.path", f"no file or folder {path}")])
    loose = {split: path / f"{language}_{name}.jsonl" for split, name in _MEMBERS.items()}
    if all(file.is_file() for file in loose.values()):
        return {split: files.rows(file) for split, file in loose.items()}
    archives = {_language_of(file): file for file in path.rglob("*.tar.bz2")}
    if language in archives:
        return _from_archive(archives[language], language)
    hint = did_you_mean(language, [name for name in archives if name])
    wanted = f"{language}_XLSum_v2.0.tar.bz2 nor {language}_train.jsonl, _val and _test"
    raise ConfigError([Fault("data.path", f"{path} holds neither {wanted}{hint}")])


def _language_of(path: Path) -> str | None:
    match = _ARCHIVE.fullmatch(path.name)
    return match["language"] if match else None


def _from_archive(path: Path, language: str) -> dict[str, Iterator[Row]]:
    return {split: _members(path, f"{language}_{name}.jsonl") for split, name in _MEMBERS.items()}


def _members(path: Path, wanted: str) -> Iterator[Row]:
    """Yield the rows of the file `wanted` in an archive, reading it as a stream.

    Nothing is written, so an entry cannot land anywhere; entries that no honest archive holds
    are refused all the same, because the rest of such an archive is not to be trusted either.
    """
    total = 0
    with ExitStack() as stack:
        try:
            archive = stack.enter_context(tarfile.open(path, mode="r:*"))
            for member in archive:
                name = PurePosixPath(member.name)
                if name.is_absolute() or ".." in name.parts:
                    raise DataError(f"data.path: {path.name} is unsafe: entry {member.name!r}")
                if not (member.isfile() or member.isdir()):
                    raise DataError(f"data.path: {path.name} is unsafe: {member.name!r} is a link")
                total += member.size
                if total > _MOST_BYTES:
                    raise DataError(f"data.path: {path.name} would unpack to over {_MOST_BYTES} B")
                if name.name == wanted:
                    file = cast(IO[bytes], archive.extractfile(member))
                    yield from files.json_lines(file, f"{path.name}/{wanted}")
                    return
        except (tarfile.TarError, OSError, EOFError) as error:
            raise DataError(f"data.path: cannot read {path.name}: {error}") from None
    raise DataError(f"data.path: {path.name} holds no {wanted}; is data.subset right?")
