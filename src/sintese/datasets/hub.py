"""Any data set on the Hugging Face hub, from its data files; dataset scripts are never run."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

from sintese.config import DataConfig
from sintese.datasets import Row, Source, files
from sintese.errors import ConfigError, DataError, Fault, UnknownNameError

DESCRIPTION = "any data set on the Hugging Face hub: Parquet, JSON Lines, JSON or CSV files"
CONVERSION = "refs/convert/parquet"
"""Where the hub keeps its own Parquet conversion of a data set, scripts' results included."""
TIMEOUT = 15.0
"""Seconds to wait for the hub's answer about a repository."""

# JSON files beside the data, which are not data.
_METADATA = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}
# A shard's number, as in train-00000-of-00004 or test/0000.
_SHARD = re.compile(r"[-_.]?\d{3,}(-of-\d+)?(-[0-9a-f]{16})?$")


@dataclass(frozen=True)
class Repository:
    """A data set repository at one commit.

    Attributes:
        id: `org/name`.
        commit: the commit's SHA-1, which the branch or tag stood for.
        files: paths of all files, sorted.
        ref: the branch, tag or commit that was asked for.
    """

    id: str
    commit: str
    files: tuple[str, ...]
    ref: str = "main"

    @property
    def origin(self) -> str:
        """What to record as the corpus' origin."""
        return f"hub:{self.id}@{self.commit}"


def read(config: DataConfig) -> Source:
    """Read the data set `data.hub_id`, its configuration `data.subset`, at `data.revision`.

    Raises:
        ConfigError: no id is given, or no subset where there are several.
        DataError: the hub does not answer, has no such data set or holds no files that can be read.
        UnknownNameError: no such subset.
    """
    if not config.hub_id:
        raise ConfigError([Fault("data.hub_id", "source 'hub' needs the data set's id, org/name")])
    repository = open_repository(config.hub_id, revision=config.revision)
    return source(repository, revision=config.revision, subset=config.subset)


def source(repository: Repository, *, revision: str | None, subset: str | None) -> Source:
    """Return the rows of a repository's data files, or else of the hub's Parquet conversion.

    Raises:
        ConfigError: no subset is chosen where there are several.
        DataError: there are neither.
        UnknownNameError: no such subset.
    """
    found, held = data_files(repository, subset=subset), repository
    if not found and revision is None:
        with contextlib.suppress(_NoSuchRevisionError):
            held = open_repository(repository.id, revision=CONVERSION)
            found = data_files(held, subset=subset)
    if not found:
        scripts = [path for path in repository.files if path.endswith(".py")]
        why = f"only the script {scripts[0]}, which is never run" if scripts else "no data files"
        raise DataError(
            f"data.hub_id: {repository.id} holds {why}, and no {CONVERSION}; download its data "
            "and use data.source files with data.path"
        )
    name = PurePosixPath(repository.id).name
    return Source(
        splits={split: _rows(held, paths) for split, paths in found.items()},
        origin=held.origin,
        licence=_card(repository).get("license") or "unknown",
        language=_card(repository).get("language") or "",
        name=f"{name}/{subset}" if subset else name,
        evaluation_only=found.keys() == {"test"},
    )


def data_files(repository: Repository, *, subset: str | None) -> dict[str, list[str]]:
    """Return the data files of each split; empty where there are none that can be read.

    The card's `configs` decide, where it has them; else the names of files and folders do.

    Raises:
        ConfigError: no subset is chosen where there are several.
        UnknownNameError: no such subset.
    """
    configs = _declared(repository) or _guessed(repository)
    if subset:
        if configs and subset not in configs:
            raise UnknownNameError(f"data.subset of {repository.id}", subset, configs)
        return configs.get(subset, {})
    if len(configs) <= 1:
        return next(iter(configs.values()), {})
    if "default" in configs:
        return configs["default"]
    some = ", ".join(sorted(configs)[:24]) + (", …" if len(configs) > 24 else "")
    raise ConfigError([Fault("data.subset", f"{repository.id} has several, choose one: {some}")])


def open_repository(hub_id: str, *, revision: str | None = None) -> Repository:
    """Look a data set up on the hub, or in the cache where HF_HUB_OFFLINE is set.

    Raises:
        DataError: the hub does not answer, or has no such data set or revision.
    """
    import huggingface_hub
    from huggingface_hub import constants

    ref = revision or "main"
    with _one_line(hub_id, revision):
        if constants.HF_HUB_OFFLINE:
            folder = huggingface_hub.snapshot_download(
                hub_id, repo_type="dataset", revision=revision, local_files_only=True
            )
            snapshot = Path(folder)
            paths = [p.relative_to(snapshot).as_posix() for p in snapshot.rglob("*") if p.is_file()]
            return Repository(hub_id, snapshot.name, tuple(sorted(paths)), ref)
        info = huggingface_hub.HfApi().dataset_info(hub_id, revision=revision, timeout=TIMEOUT)
        paths = [sibling.rfilename for sibling in info.siblings or []]
        return Repository(hub_id, str(info.sha), tuple(sorted(paths)), ref)


def fetch(repository: Repository, path: str) -> Path:
    """Download one file of `repository`, or find it in the cache.

    Raises:
        DataError: the hub does not answer or does not have it.
    """
    import huggingface_hub

    # By the branch's name first: that way the cache learns what the branch stands for, and the
    # next run can do without the hub. Should the branch have moved meanwhile, by the commit.
    for revision in (repository.ref, repository.commit):
        with _one_line(repository.id, revision):
            found = huggingface_hub.hf_hub_download(
                repository.id, path, repo_type="dataset", revision=revision
            )
        if repository.commit in Path(found).parts:
            break
    return Path(found)


class _NoSuchRevisionError(DataError):
    """Apart from other errors, because a missing conversion is no error."""


@contextlib.contextmanager
def _one_line(hub_id: str, revision: str | None) -> Iterator[None]:
    """Turn whatever the hub's client raises into a `DataError` of one line."""
    from huggingface_hub import constants, errors

    at = f" at revision {revision!r}" if revision else ""
    try:
        yield
    except errors.GatedRepoError:
        remedy = f"ask for access at {constants.ENDPOINT}/datasets/{hub_id}, then set HF_TOKEN"
        raise DataError(f"data.hub_id: {hub_id} is gated: {remedy}") from None
    except errors.RepositoryNotFoundError:
        raise DataError(
            f"data.hub_id: no data set {hub_id!r} at {constants.ENDPOINT}; check the spelling, "
            "and set HF_TOKEN if it is private"
        ) from None
    except errors.RevisionNotFoundError:
        raise _NoSuchRevisionError(f"data.revision: {hub_id} has none {revision!r}") from None
    except errors.HFValidationError:
        raise DataError(f"data.hub_id: {hub_id!r} is not of the form org/name") from None
    except errors.LocalEntryNotFoundError:
        # Raised both when offline and when the hub broke off: the client does not tell apart.
        raise DataError(
            f"data.hub_id: {hub_id}{at} is neither in the cache nor to be had from "
            f"{constants.ENDPOINT}; {_offline_remedy()}"
        ) from None
    except (errors.HTTPError, OSError, ValueError) as error:
        # ValueError: whatever answers at HF_ENDPOINT does not speak JSON.
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"data.hub_id: cannot get {hub_id}{at} from {constants.ENDPOINT}: {reason}; "
            f"{_offline_remedy()}"
        ) from None


def _offline_remedy() -> str:
    if os.environ.get("HF_HUB_OFFLINE"):
        return "unset HF_HUB_OFFLINE, or give local files with data.path"
    return "check the network and HF_ENDPOINT, or give local files with data.path"


def _rows(repository: Repository, paths: list[str]) -> Iterator[Row]:
    for path in paths:
        yield from files.rows(fetch(repository, path), name=path)


def _guessed(repository: Repository) -> dict[str, dict[str, list[str]]]:
    """Group data files by subset and split, going by their names; one kind of file only."""
    for suffix in files.SUFFIXES:
        configs: dict[str, dict[str, list[str]]] = {}
        unnamed: list[str] = []
        for path in repository.files:
            if files.kind_of(path) != suffix or PurePosixPath(path).name in _METADATA:
                continue
            # The hub converts only the beginning of large data sets, and then says so.
            if "partial-" not in path and (split := files.split_of(path)):
                configs.setdefault(_subset_of(path), {}).setdefault(split, []).append(path)
            else:
                unnamed.append(path)
        if configs:
            return configs
        if unnamed and not any("partial-" in path for path in unnamed):
            return {"default": {"train": unnamed}}
    return {}


def _subset_of(path: str) -> str:
    """Return the part of a data file's path that is neither split, shard nor the folder `data`.

    `portuguese/test/0000.parquet` and `data/portuguese_test.jsonl` both give `portuguese`.
    """
    folder, name = PurePosixPath(path).parent, PurePosixPath(path).name
    stem = _SHARD.sub("", name.partition(".")[0])
    words = re.split(r"[-_.]", stem)
    prefix = [word for word in words if files.split_of(word) is None and not word.isdigit()]
    folders = [part for part in folder.parts if part != "data" and files.split_of(part) is None]
    return "/".join(folders) or "_".join(prefix) or "default"


def _declared(repository: Repository) -> dict[str, dict[str, list[str]]]:
    """Return the data files of each configuration that the card declares."""
    configs: dict[str, dict[str, list[str]]] = {}
    for config in _card(repository).get("configs") or []:
        declared = config.get("data_files") or []
        if isinstance(declared, str) or all(isinstance(entry, str) for entry in declared):
            declared = {"split": "train", "path": declared}
        for entry in declared if isinstance(declared, list) else [declared]:
            if not isinstance(entry, dict) or "path" not in entry:
                continue
            patterns = entry["path"] if isinstance(entry["path"], list) else [entry["path"]]
            matches = [
                path
                for path in repository.files
                if files.kind_of(path) and any(fnmatch(path, str(p)) for p in patterns)
            ]
            split = files.split_of(str(entry.get("split", "train")))
            if split and matches:
                configs.setdefault(str(config.get("config_name", "default")), {})[split] = matches
    return configs


def _card(repository: Repository) -> Mapping[str, Any]:
    """Return the front matter of the repository's README.md; empty where there is none."""
    import yaml

    if "README.md" not in repository.files:
        return {}
    text = fetch(repository, "README.md").read_text(encoding="utf-8", errors="replace")
    front = re.match(r"---\s*\n(.*?)\n---\s*(\n|$)", text, re.DOTALL)
    try:
        card = yaml.safe_load(front.group(1)) if front else None
    except yaml.YAMLError:
        return {}
    if not isinstance(card, dict):
        return {}
    for key in ("license", "language"):
        if isinstance(card.get(key), list):
            card[key] = ", ".join(map(str, card[key]))
    return card
