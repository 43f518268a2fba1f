"""A stand-in for the Hugging Face hub: serves folders, takes uploads, needs no network.

It speaks the part of the hub's HTTP interface that huggingface_hub 2.4 and transformers 5.23 use
to look up, list, download and upload model and data set repositories. Repositories are folders::

    FOLDER/models/unicamp-dl/ptt5-base-portuguese-vocab/config.json           revision main
    FOLDER/datasets/EdinburghNLP/xsum/data/test-00000-of-00001.parquet        revision main
    FOLDER/datasets/csebuetnlp/xlsum@refs/convert/parquet/portuguese/…        another revision
    FOLDER/uploads/models/someone/my-model/…                                  what was pushed

Run it by hand with `python -m tests.hub_standin FOLDER --port 8123`, then set
`HF_ENDPOINT=http://127.0.0.1:8123 HF_HUB_DISABLE_XET=1 HF_TOKEN=hf_standin`.

In a test, take the fixture by naming it in the module, `hub = hub_standin.hub`. It sets the
environment, which is enough for subprocesses, and because huggingface_hub reads the environment
once, at import, it also puts the same values into `huggingface_hub.constants` and into the
clients that were made from them; all of it is undone afterwards. That way a test runs the real
client in its own process and can say `pytest.raises`, and does not depend on which test imported
what first.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import re
import shutil
import sys
import tarfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

TOKEN = "hf_standin"
SPLITS = ("train", "validation", "test")
Rows = Sequence[Mapping[str, str]]

# For tests that push: without Xet, huggingface_hub 2.4 hands files to its HTTP client in a way
# that the client finds old.
uploading = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


class NotFoundError(Exception):
    """Answered with 404 and the hub's code for what is missing."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Hub(ThreadingHTTPServer):
    """The server; starts serving when entered as a context.

    Attributes:
        folder: the repositories, see the module's docstring.
        url: what HF_ENDPOINT has to be.
        requests: `METHOD path` of every request so far, for tests to look at.
    """

    daemon_threads = True

    def __init__(self, folder: Path, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.folder = folder
        self.requests: list[str] = []
        self.blobs: dict[str, bytes] = {}
        self.oids: dict[tuple[str, int, int], str] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> Hub:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def uploaded(self, kind: str, repo: str) -> Path:
        """Return the folder that holds what was pushed to `repo`; `kind` is models or datasets."""
        return self.folder / "uploads" / kind / repo

    def repository(self, kind: str, repo: str, revision: str) -> tuple[Path, str]:
        """Return the folder and commit of `revision`: a branch, another ref or a commit."""
        revisions: dict[str, Path] = {}
        for base in (self.folder / kind / repo, self.uploaded(kind, repo)):
            if base.is_dir():
                revisions["main"] = base
        parent = (self.folder / kind / repo).parent
        name = repo.rpartition("/")[2]
        for path in [*parent.glob(f"{name}@*"), *parent.glob(f"{name}@refs/*/*")]:
            revisions[path.relative_to(parent).as_posix().removeprefix(f"{name}@")] = path
        if not revisions:
            raise NotFoundError("RepoNotFound", "Repository not found")
        for ref, path in revisions.items():
            if revision in (ref, self.commit(path)):
                return path, self.commit(path)
        raise NotFoundError("RevisionNotFound", f"Invalid rev id: {revision}")

    def commit(self, folder: Path) -> str:
        """Return the SHA-1 that names the present contents of `folder`."""
        listing = [f"{p.relative_to(folder)} {self.oid(p)}" for p in listed(folder)]
        return hashlib.sha1("\n".join([str(folder), *listing]).encode()).hexdigest()

    def oid(self, path: Path) -> str:
        """Return the SHA-256 of a file's contents."""
        status = path.stat()
        key = (str(path), status.st_mtime_ns, status.st_size)
        if key not in self.oids:
            self.oids[key] = hashlib.sha256(path.read_bytes()).hexdigest()
        return self.oids[key]


def listed(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet; `Hub.requests` is the log."""

    def do_GET(self) -> None:
        self.answer(self.read_only)

    def do_HEAD(self) -> None:
        self.answer(self.read_only)

    def do_POST(self) -> None:
        self.answer(self.write)

    def do_PUT(self) -> None:
        self.answer(self.write)

    def answer(self, handle: Any) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        path = urlsplit(self.path).path
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = self.read_chunks()
        try:
            handle([unquote(part) for part in path.strip("/").split("/")], body)
        except NotFoundError as error:
            self.send(404, {"error": str(error)}, {"X-Error-Code": error.code})

    def read_chunks(self) -> bytes:
        data = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def send(
        self, status: int, content: Any = None, headers: Mapping[str, str] | None = None
    ) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        headers = {"Content-Type": "application/json", **(headers or {})}
        if status >= 400 and isinstance(content, dict):
            headers["X-Error-Message"] = content["error"]
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    # Reading

    def read_only(self, parts: list[str], body: bytes) -> None:
        if parts[0] == "api":
            self.api(parts[1:], body)
        elif "resolve" in parts:
            kind, parts = ("datasets", parts[1:]) if parts[0] == "datasets" else ("models", parts)
            at = parts.index("resolve")
            repo, rest = "/".join(parts[:at]), parts[at + 1 :]
            # A ref holds slashes, quoted or not: refs/convert/parquet, refs/pr/1.
            cut = 3 if rest[0] == "refs" else 1
            self.resolve(kind, repo, "/".join(rest[:cut]), "/".join(rest[cut:]))
        else:
            raise NotFoundError("EntryNotFound", "no such page")

    def resolve(self, kind: str, repo: str, revision: str, name: str) -> None:
        folder, commit = self.server.repository(kind, repo, revision)
        path = folder / name
        if ".." in Path(name).parts or not path.is_file():
            headers = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}
            self.send(404, {"error": "Entry not found"}, headers)
            return
        data = path.read_bytes()
        headers = {
            "Content-Type": "application/octet-stream",
            "ETag": f'"{self.server.oid(path)}"',
            "X-Repo-Commit": commit,
            "Accept-Ranges": "bytes",
        }
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if asked is None:
            self.send(200, data, headers)
            return
        start, end = int(asked[1]), min(int(asked[2] or len(data) - 1), len(data) - 1)
        headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
        self.send(206, data[start : end + 1], headers)

    def api(self, parts: list[str], body: bytes) -> None:
        if parts == ["whoami-v2"]:
            if self.authorized():
                self.send(200, {"name": "standin", "type": "user", "orgs": []})
            return
        if len(parts) < 2 or parts[0] not in ("models", "datasets"):
            raise NotFoundError("EntryNotFound", "no such interface")
        kind, rest = parts[0], parts[1:]
        verbs = ("revision", "tree", "refs", "paths-info", "commits")
        at = next((i for i, part in enumerate(rest) if i and part in verbs), len(rest))
        repo, verb, rest = "/".join(rest[:at]), "".join(rest[at : at + 1]), rest[at + 1 :]
        revision = "main"
        if rest:
            # `unquote` has turned the one segment refs%2Fconvert%2Fparquet into this already.
            revision, rest = rest[0], rest[1:]
        folder, commit = self.server.repository(kind, repo, revision)
        if verb in ("", "revision"):
            self.send(200, self.info(repo, folder, commit))
        elif verb == "tree":
            self.tree(folder, "/".join(rest))
        elif verb == "paths-info":
            wanted = json.loads(body) if body[:1] == b"{" else parse_qs(body.decode())
            paths = [folder / name for name in wanted["paths"]]
            self.send(200, [self.entry(folder, path) for path in paths if path.is_file()])
        elif verb == "refs":
            branches = [{"name": "main", "ref": "refs/heads/main", "targetCommit": commit}]
            self.send(200, {"branches": branches, "converts": [], "tags": [], "pullRequests": []})
        else:
            commits = [{"id": commit, "title": "initial commit", "message": "", "authors": []}]
            self.send(200, commits)

    def info(self, repo: str, folder: Path, commit: str) -> dict[str, Any]:
        siblings = []
        for path in listed(folder):
            siblings.append({"rfilename": path.relative_to(folder).as_posix()})
            if "blobs" in parse_qs(urlsplit(self.path).query):
                siblings[-1] |= {"size": path.stat().st_size, "blobId": self.server.oid(path)}
        return {
            "_id": commit[:24],
            "id": repo,
            "modelId": repo,
            "author": repo.partition("/")[0],
            "sha": commit,
            "lastModified": "2024-01-01T00:00:00.000Z",
            "createdAt": "2022-03-02T23:29:05.000Z",
            "private": False,
            "gated": False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": [],
            "siblings": siblings,
        }

    def tree(self, folder: Path, below: str) -> None:
        start = folder / below
        if not start.is_dir():
            raise NotFoundError("EntryNotFound", f"{below} does not exist")
        recursive = parse_qs(urlsplit(self.path).query).get("recursive", ["false"])[0].lower()
        found = sorted(start.rglob("*") if recursive in ("true", "1") else start.iterdir())
        self.send(200, [self.entry(folder, path) for path in found])

    def entry(self, folder: Path, path: Path) -> dict[str, Any]:
        name = path.relative_to(folder).as_posix()
        if path.is_dir():
            return {
                "type": "directory",
                "oid": hashlib.sha1(name.encode()).hexdigest(),
                "path": name,
            }
        oid, size = self.server.oid(path), path.stat().st_size
        entry: dict[str, Any] = {"type": "file", "oid": oid[:40], "size": size, "path": name}
        if is_large(name):
            entry["lfs"] = {"oid": oid, "size": size, "pointerSize": 134}
        return entry

    # Writing

    def authorized(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {TOKEN}":
            return True
        self.send(401, {"error": "Invalid username or password."})
        return False

    def write(self, parts: list[str], body: bytes) -> None:
        if "paths-info" in parts:
            self.read_only(parts, body)
        elif parts[0] == "lfs-storage":
            # A signed address, as the real ones are: no token is sent to it.
            if hashlib.sha256(body).hexdigest() != parts[1]:
                self.send(400, {"error": "not the object that was announced"})
                return
            self.server.blobs[parts[1]] = body
            self.send(200, {})
        elif parts == ["api", "validate-yaml"]:
            self.send(200, {"errors": [], "warnings": []})
        elif not self.authorized():
            return
        elif parts == ["api", "repos", "create"]:
            self.create(json.loads(body))
        elif parts[-4:] == ["info", "lfs", "objects", "batch"]:
            self.send(200, self.batch(json.loads(body)))
        elif "preupload" in parts:
            wanted = json.loads(body)["files"]
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if is_large(file["path"]) else "regular",
                    "shouldIgnore": False,
                }
                for file in wanted
            ]
            self.send(200, {"files": modes})
        elif "commit" in parts:
            at = parts.index("commit")
            self.commit(parts[1], "/".join(parts[2:at]), body)
        else:
            raise NotFoundError("EntryNotFound", "no such interface")

    def create(self, asked: Mapping[str, Any]) -> None:
        repo = "/".join(filter(None, (asked.get("organization") or "standin", asked["name"])))
        kind = f"{asked.get('type', 'model')}s"
        folder = self.server.uploaded(kind, repo)
        prefix = "" if kind == "models" else f"{kind}/"
        answer = {"url": f"{self.server.url}/{prefix}{repo}", "id": repo, "name": repo}
        if folder.exists():
            self.send(409, {**answer, "error": "You already created this repo"})
            return
        folder.mkdir(parents=True)
        (folder / ".gitattributes").write_text(
            "*.safetensors filter=lfs diff=lfs merge=lfs -text\n"
        )
        self.send(200, answer)

    def batch(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        objects = []
        for item in asked["objects"]:
            known = {"oid": item["oid"], "size": item["size"]}
            if item["oid"] not in self.server.blobs:
                href = f"{self.server.url}/lfs-storage/{item['oid']}"
                known["actions"] = {"upload": {"href": href}}
            objects.append(known)
        return {"transfer": "basic", "objects": objects}

    def commit(self, kind: str, repo: str, body: bytes) -> None:
        folder = self.server.uploaded(kind, repo)
        if not folder.is_dir():
            raise NotFoundError("RepoNotFound", "Repository not found")
        for line in body.splitlines():
            operation = json.loads(line)
            value = operation["value"]
            if operation["key"] == "header":
                continue
            path = folder / value["path"]
            assert ".." not in path.parts
            if operation["key"] == "deletedFile":
                path.unlink(missing_ok=True)
            elif operation["key"] == "deletedFolder":
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                large = operation["key"] == "lfsFile"
                data = self.server.blobs[value["oid"]] if large else None
                path.write_bytes(base64.b64decode(value["content"]) if data is None else data)
        oid = self.server.commit(folder)
        url = f"{self.server.url}/{repo}/commit/{oid}"
        self.send(200, {"success": True, "commitOid": oid, "commitUrl": url})


def is_large(path: str) -> bool:
    """Return whether the hub keeps such a file in LFS."""
    return path.endswith((".safetensors", ".bin", ".model", ".parquet", ".bz2", ".zip"))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A running stand-in that this process' and its children's hub client talk to."""
    folder = tmp_path / "hub"
    folder.mkdir()
    with Hub(folder) as server:
        yield from connected(server, tmp_path / "hf_home", monkeypatch)


def connected(server: Hub, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Point the hub's client at `server`, with an empty cache of its own; see the docstring."""
    import huggingface_hub.hf_api
    from huggingface_hub import constants
    from huggingface_hub.utils import close_session

    environment = {
        "HF_ENDPOINT": server.url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "NO_PROXY": "127.0.0.1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for name in ("HF_HUB_CACHE", "HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    cache = home / "hub"
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    values = {
        "ENDPOINT": server.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": template,
        "HF_HOME": str(home),
        "HF_HUB_CACHE": str(cache),
        "HUGGINGFACE_HUB_CACHE": str(cache),
        "HF_ASSETS_CACHE": str(home / "assets"),
        "HF_TOKEN_PATH": str(home / "token"),
        "HF_STORED_TOKENS_PATH": str(home / "stored_tokens"),
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_DISABLE_TELEMETRY": True,
        "HF_HUB_DISABLE_PROGRESS_BARS": True,
    }
    for name, value in values.items():
        if hasattr(constants, name):
            monkeypatch.setattr(constants, name, value)
    monkeypatch.setattr(huggingface_hub.hf_api.api, "endpoint", server.url)
    _forget_transformers_client()
    close_session()
    yield server
    close_session()
    _forget_transformers_client()


def _forget_transformers_client() -> None:
    # transformers keeps one client, with the endpoint that was set when it was first needed.
    if module := sys.modules.get("transformers.utils.hub"):
        module._hf_api = None  # type: ignore[attr-defined]


# Builders: real names and layouts, tiny contents


def news(count: int, *, start: int = 0) -> list[dict[str, str]]:
    """Return `count` short news texts with summaries, all different, keys id, text, summary."""
    cities = ("São Luís", "Ouro Preto", "Belém", "Florianópolis", "Goiânia", "Maceió")
    subjects = ("ônibus", "educação", "água", "eleição", "saúde pública", "pão de açúcar")
    rows = []
    for number in range(start, start + count):
        city, subject = cities[number % 6], subjects[number // 6 % 6]
        text = (
            f"A prefeitura de {city} anunciou na edição nº {number} do diário oficial um plano "
            f"para {subject}. Segundo o secretário, a obra começará em março e custará R$ "
            f"{number + 10} milhões. Moradores disseram que não foram ouvidos — e pedem, d'agora "
            "em diante, uma audiência pública antes de qualquer decisão."
        )
        summary = f"{city} terá plano nº {number} para {subject}."
        rows.append({"id": f"noticia-{number}", "text": text, "summary": summary})
    return rows


def split_news(train: int = 12, validation: int = 4, test: int = 4) -> dict[str, Rows]:
    """Return `news` in three splits that share no text."""
    rows = news(train + validation + test)
    return {
        "train": rows[:train],
        "validation": rows[train : train + validation],
        "test": rows[train + validation :],
    }


def write_xlsum(
    folder: Path, splits: Mapping[str, Rows] | None = None, *, language: str = "portuguese"
) -> Path:
    """Write csebuetnlp/xlsum: its script (which raises when run) and a language's archive."""
    repo = folder / "datasets" / "csebuetnlp" / "xlsum"
    (repo / "data").mkdir(parents=True, exist_ok=True)
    (repo / "xlsum.py").write_text("raise SystemExit('dataset scripts must never run')\n")
    (repo / "README.md").write_text("---\nlicense:\n- cc-by-nc-sa-4.0\n---\n# XL-Sum\n")
    archive = repo / "data" / f"{language}_XLSum_v2.0.tar.bz2"
    with tarfile.open(archive, "w:bz2") as tar:
        for split, rows in (splits or split_news()).items():
            name = {"validation": "val"}.get(split, split)
            lines = [
                {
                    "id": row["id"],
                    "url": f"https://www.bbc.com/portuguese/{row['id']}",
                    "title": row["summary"],
                    "summary": row["summary"],
                    "text": row["text"],
                }
                for row in rows
            ]
            # The real archives' members start with "./".
            _add(tar, f"./{language}_{name}.jsonl", json_lines(lines))
    return repo


def write_xsum(folder: Path, splits: Mapping[str, Rows] | None = None) -> Path:
    """Write EdinburghNLP/xsum: Parquet files with the columns document, summary and id."""
    renamed = {
        split: [
            {"document": row["text"], "summary": row["summary"], "id": row["id"]} for row in rows
        ]
        for split, rows in (splits or split_news()).items()
    }
    return write_parquet(folder, "EdinburghNLP/xsum", renamed, licence="unknown")


def write_temario(folder: Path, hub_id: str = "standin/temario", count: int = 20) -> Path:
    """Write a data set as people publish TeMário: one split, ids in NILC's form."""
    return write_parquet(folder, hub_id, {"train": temario(count)}, licence="other")


def temario(count: int = 20) -> list[dict[str, str]]:
    """Return `news` under ids such as `ce94ab10-a`, sorted by id."""
    rows = news(count)
    days = [f"ce94ab{10 + number // 5}-{'abcde'[number % 5]}" for number in range(count)]
    return [{**row, "id": day} for row, day in zip(rows, days, strict=True)]


def write_parquet(
    folder: Path,
    hub_id: str,
    splits: Mapping[str, Rows] | None = None,
    *,
    licence: str = "cc0-1.0",
    card: str = "",
) -> Path:
    """Write any data set with `data/train-00000-of-00001.parquet` and so on, and a card."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    repo = folder / "datasets" / hub_id
    (repo / "data").mkdir(parents=True, exist_ok=True)
    for split, rows in (splits or split_news()).items():
        table = pa.Table.from_pylist([dict(row) for row in rows])
        pq.write_table(table, repo / "data" / f"{split}-00000-of-00001.parquet")
    front = f"license: {licence}\nlanguage:\n- pt\n{card}"
    (repo / "README.md").write_text(f"---\n{front}---\n# {hub_id}\n", encoding="utf-8")
    return repo


def write_t5(
    folder: Path,
    tokenizer_source: Path | None = None,
    *,
    hub_id: str = "unicamp-dl/ptt5-base-portuguese-vocab",
    d_model: int = 32,
) -> Path:
    """Write a tiny random T5 in the layout of unicamp-dl's PTT5 repositories.

    As there: config.json, spiece.model, model.safetensors, README.md, and neither
    tokenizer_config.json nor generation_config.json. (The real one holds the same weights also
    as pytorch_model.bin and tf_model.h5, which nobody should load.)

    Args:
        folder: the stand-in's folder.
        tokenizer_source: a `spiece.model` to copy; default: one trained here on a few sentences.
        hub_id: name of the repository.
        d_model: width of the model; the rest follows from it.
    """
    import sentencepiece
    import torch
    from safetensors.torch import save_file
    from transformers import T5Config, T5ForConditionalGeneration

    repo = folder / "models" / hub_id
    repo.mkdir(parents=True, exist_ok=True)
    vocabulary = repo / "spiece.model"
    if tokenizer_source:
        shutil.copy(tokenizer_source, vocabulary)
    else:
        sentences = [row[key] for row in news(200) for key in ("text", "summary")]
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences),
            model_writer=(model := io.BytesIO()),
            vocab_size=256,
            model_type="unigram",
            character_coverage=1.0,
            hard_vocab_limit=False,
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            minloglevel=2,
        )
        vocabulary.write_bytes(model.getvalue())
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(vocabulary)).get_piece_size()
    # The real config.json, field for field, with smaller numbers. 128 more than the pieces, as
    # there: 100 sentinels, rounded up.
    config = {
        "architectures": ["T5WithLMHeadModel"],
        "d_ff": 2 * d_model,
        "d_kv": d_model // 2,
        "d_model": d_model,
        "decoder_start_token_id": 0,
        "dropout_rate": 0.1,
        "eos_token_id": 1,
        "initializer_factor": 1.0,
        "is_encoder_decoder": True,
        "layer_norm_epsilon": 1e-06,
        "model_type": "t5",
        "n_positions": 512,
        "num_heads": 2,
        "num_layers": 2,
        "output_past": True,
        "pad_token_id": 0,
        "relative_attention_num_buckets": 32,
        "vocab_size": pieces + 128,
    }
    (repo / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = T5ForConditionalGeneration(T5Config.from_dict(config))
    # One tensor for the tied embeddings, as the hub's converter leaves it.
    state = {
        name: tensor.contiguous()
        for name, tensor in model.state_dict().items()
        if "embed_tokens" not in name and name != "lm_head.weight"
    }
    save_file(state, repo / "model.safetensors", metadata={"format": "pt"})
    (repo / "README.md").write_text("---\nlanguage: pt\nlicense: mit\n---\n# PTT5\n")
    return repo


def json_lines(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Return rows as JSON Lines, in UTF-8."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))


def main() -> None:
    """Serve a folder until interrupted."""
    parser = argparse.ArgumentParser(description="A stand-in for the Hugging Face hub.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    with Hub(arguments.folder, arguments.port) as server:
        sys.stdout.write(f"HF_ENDPOINT={server.url}\n")
        sys.stdout.flush()
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
