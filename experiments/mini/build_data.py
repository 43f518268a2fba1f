"""Rebuild the Portuguese text that `sintese-mini` is trained on, with apt alone.

Sources, all taken from the Debian archive that this machine's apt already knows:

* the pt_BR and pt package-description translations (DDTP): description → one line;
* AppStream (DEP-11) component metadata: description → summary;
* Portuguese documentation packages: section text → section title.

Held-out documents are drawn by *family* (same source-package stem or same first eight words) and
every training row that is a near-duplicate of a held-out row, or of any row of the `amostra`
corpus, is dropped. `check_leakage.py` verifies the result on its own.

Usage:
    python experiments/mini/build_data.py --work-dir BUILD [--amostra descricoes.jsonl]
"""

from __future__ import annotations

import gzip
import hashlib
import html
import html.parser
import io
import json
import re
import subprocess
import tarfile
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click
from check_leakage import NearDuplicateIndex, first_words, package_stem, words

SUITES = ("bullseye", "bookworm", "trixie", "forky", "sid")
LANGUAGES = ("pt_BR", "pt")
DOC_PACKAGES = (
    "debian-edu-doc-pt-br",
    "debian-edu-doc-legacy-pt-br",
    "debian-faq-pt",
    "debian-handbook",
    "debian-reference-pt-br",
    "focalinux-text",
    "gimp-help-pt-br",
    "gnome-user-docs",
    "installation-guide-amd64",
    "libreoffice-help-pt-br",
    "manpages-pt-br",
    "manpages-pt-br-dev",
    "ubuntu-packaging-guide-html-pt-br",
)
DEP11_OPTIONS = {
    "MetaKey": "$(COMPONENT)/dep11/Components-$(NATIVE_ARCHITECTURE).yml",
    "ShortDescription": "Components-$(NATIVE_ARCHITECTURE)",
    "Description": "$(RELEASE)/$(COMPONENT) DEP-11 Metadata",
    "KeepCompressed": "true",
    "Optional": "true",
}
PORTUGUESE = re.compile(
    r"\b(?:de|do|da|dos|das|para|que|com|uma|um|não|é|são|em|no|na|os|as|ou|por|ao|se|você)\b", re.I
)
PATH_IS_PORTUGUESE = re.compile(r"(?:[/._-])pt(?:[_-]?br)?(?:[/._-]|$)", re.I)


@dataclass(frozen=True)
class Pair:
    """One text with the line that stands for it."""

    id: str
    text: str
    summary: str
    origin: str
    package: str
    family: str
    lang: str


@dataclass(frozen=True)
class Section:
    """A titled passage of a documentation package."""

    title: str
    text: str
    package: str


def squeeze(text: str) -> str:
    """Return `text` in NFC with runs of blanks made one and lines kept."""
    lines = (re.sub(r"[ \t\u00a0]+", " ", line).strip() for line in text.split("\n"))
    return unicodedata.normalize("NFC", re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip())


def looks_portuguese(text: str) -> bool:
    """Return whether at least one word in nine is a common Portuguese function word."""
    found = words(text)
    return bool(found) and len(PORTUGUESE.findall(text)) * 9 >= len(found)


def digest(text: str) -> str:
    """Return 12 hex digits that name `text` (stable between machines)."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def run(command: list[str]) -> str:
    """Run `command` without a shell and return its standard output.

    Raises:
        click.ClickException: The command failed; the message ends with its last error line.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        tail = (done.stderr.strip() or "no message").splitlines()[-1]
        raise click.ClickException(f"{' '.join(command[:2])} failed: {tail}")
    return done.stdout


@dataclass(frozen=True)
class Apt:
    """A private apt state in `root`: the machine's own lists are never touched."""

    root: Path

    def options(self) -> list[str]:
        """Return the `-o` arguments that keep apt inside `root`."""
        settings = {
            "Dir::State::Lists": self.root / "lists",
            "Dir::State::status": self.root / "status",
            "Dir::Cache": self.root / "cache",
            "Dir::Etc::sourcelist": self.root / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "APT::Get::List-Cleanup": "0",
            "APT::Sandbox::User": "root",
        }
        return [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]

    def update(self, suites: Iterable[str]) -> None:
        """Fetch package indexes, translations and DEP-11 metadata of `suites`."""
        for name in ("lists/partial", "cache/archives/partial", "debs"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        (self.root / "status").touch()
        uris = run(["apt-get", "indextargets", "--format", "$(REPO_URI)"]).split()
        archives = [uri.rstrip("/") for uri in uris if uri.rstrip("/").endswith("/debian")]
        if not archives:
            raise click.ClickException(
                "this machine's apt knows no Debian archive; add one to its sources and run "
                "`apt-get update` first"
            )
        (self.root / "sources.list").write_text(
            "".join(f"deb {archives[0]} {suite} main\n" for suite in suites), encoding="utf-8"
        )
        dep11 = [
            part
            for key, value in DEP11_OPTIONS.items()
            for part in ("-o", f"Acquire::IndexTargets::deb::DEP-11::{key}={value}")
        ]
        for language in LANGUAGES:
            click.echo(f"apt: {language} indexes of {', '.join(suites)}")
            only = ["-o", f"Acquire::Languages={language}"]
            run(["apt-get", *self.options(), *dep11, *only, "update"])

    def download(self, packages: Iterable[str]) -> list[Path]:
        """Download `packages` into `root/debs`, skipping what is there; return the files."""
        folder = self.root / "debs"
        for package in packages:
            if any(folder.glob(f"{package}_*.deb")):
                continue
            command = ["apt-get", *self.options(), "download", package]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode:
                click.echo(f"apt: {package} is not to be had, skipped")
        return sorted(folder.glob("*.deb"))

    def lists(self, pattern: str) -> list[tuple[str, str]]:
        """Return (file name, decompressed text) of the fetched indexes matching `pattern`."""
        found = []
        for path in sorted((self.root / "lists").glob(pattern)):
            command = ["/usr/lib/apt/apt-helper", "cat-file", str(path)]
            found.append((path.name, run(command)))
        return found


def source_names(apt: Apt) -> dict[str, str]:
    """Return binary package → source package over all fetched suites."""
    sources: dict[str, str] = {}
    for _, text in apt.lists("*_Packages*"):
        for stanza in text.split("\n\n"):
            name = re.search(r"^Package: (\S+)", stanza, re.M)
            source = re.search(r"^Source: (\S+)", stanza, re.M)
            if name:
                sources[name[1]] = source[1] if source else name[1]
    return sources


def description_text(lines: list[str]) -> str:
    """Join the continuation lines of a Description field into paragraphs and list items."""
    out: list[str] = []
    fresh = True
    for raw in lines:
        line = raw[1:]
        if line.strip() in {".", ""}:
            out.append("\n\n")
            fresh = True
        elif fresh or re.match(r"\s*[*+•-]\s", line):
            out.append(("" if fresh else "\n") + line.strip())
            fresh = False
        else:
            out.append(" " + line.strip())
    return squeeze("".join(out))


def ddtp_pairs(apt: Apt, sources: dict[str, str]) -> Iterator[Pair]:
    """Yield the translated package descriptions of every fetched suite."""
    for name, text in apt.lists("*_i18n_Translation-*"):
        lang = "pt_BR" if "BR" in name.rsplit("Translation-", 1)[1] else "pt"
        for stanza in text.split("\n\n"):
            lines = stanza.strip("\n").split("\n")
            package = next((x[9:] for x in lines if x.startswith("Package: ")), "")
            start = next((i for i, x in enumerate(lines) if x.startswith("Description-pt")), -1)
            if start < 0 or not package:
                continue
            summary = squeeze(lines[start].split(":", 1)[1])
            body = description_text(lines[start + 1 :])
            if len(words(body)) < 8 or len(words(summary)) < 2 or not looks_portuguese(body):
                continue
            stem = package_stem(sources.get(package, package))
            yield Pair(f"ddtp-{digest(body + summary)}", body, summary, "ddtp", package, stem, lang)


def strip_markup(text: str) -> str:
    """Turn the small HTML of AppStream descriptions into lines of text."""
    text = re.sub(r"</?(?:p|ul|ol)>", "\n", text)
    text = re.sub(r"<li>", "\n- ", text)
    return squeeze(html.unescape(re.sub(r"<[^>]+>", "", text)).replace("\n\n", "\n"))


def dep11_pairs(apt: Apt, sources: dict[str, str]) -> Iterator[Pair]:
    """Yield description → summary of every AppStream component translated to Portuguese."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for _, text in apt.lists("*dep11_Components*"):
        for chunk in text.split("\n---\n"):
            if not re.search(r"\n  pt(?:[_-]BR)?:", chunk):
                continue
            row = yaml.load(chunk, Loader=loader)
            if not isinstance(row, dict):
                continue
            package = str(row.get("Package", row.get("ID", "")))
            for lang in LANGUAGES:
                fields = [row.get(key) or {} for key in ("Summary", "Description")]
                summary, body = (
                    str(f.get(lang) or f.get(lang.replace("_", "-"), "")) for f in fields
                )
                summary, body = squeeze(summary), strip_markup(body)
                if len(words(body)) < 8 or len(words(summary)) < 2 or not looks_portuguese(body):
                    continue
                stem = package_stem(sources.get(package, package))
                key = f"dep11-{digest(body + summary)}"
                yield Pair(key, body, summary, "dep11", package, stem, lang)


class SectionParser(html.parser.HTMLParser):
    """Split HTML (or the XML of Mallard pages) into titled sections of paragraphs."""

    headings = frozenset({"h1", "h2", "h3", "h4", "h5", "title"})
    blocks = frozenset({"p", "li", "dd", "dt", "td", "desc", "item"})
    skipped = frozenset(
        {"script", "style", "pre", "nav", "head", "code-block", "screen", "credit"}
        | {"mal:credit", "license", "revision"}
    )

    def __init__(self, *, mallard: bool) -> None:
        """Start empty; `mallard` keeps `title`, which HTML has in its dropped head."""
        super().__init__(convert_charrefs=True)
        self.sections: list[tuple[str, list[str]]] = [("", [])]
        self.buffer: list[str] = []
        self.skip = 0
        self.mallard = mallard

    def flush(self, *, heading: bool = False) -> None:
        """End the running block: a new section for a heading, a paragraph otherwise."""
        text = squeeze(" ".join("".join(self.buffer).split()))
        self.buffer.clear()
        if not text:
            return
        if heading:
            self.sections.append((text, []))
        else:
            self.sections[-1][1].append(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a block or a skipped element."""
        if tag in self.skipped or (tag == "desc" and not self.mallard):
            self.skip += 1
        elif tag in self.headings or tag in self.blocks:
            self.flush()

    def handle_endtag(self, tag: str) -> None:
        """Close a block or a skipped element."""
        if tag in self.skipped or (tag == "desc" and not self.mallard):
            self.skip = max(0, self.skip - 1)
        elif tag in self.headings:
            self.flush(heading=True)
        elif tag in self.blocks:
            self.flush()

    def handle_data(self, data: str) -> None:
        """Collect text outside skipped elements."""
        if not self.skip:
            self.buffer.append(data)


def roff_sections(text: str) -> Iterator[tuple[str, str]]:
    """Yield (title, text) of a manual page: its NAME line, then each section."""
    title, lines = "", list[str]()
    text = re.sub(r"\\f(?:\[[^]]*\]|.)|\\&|\\/|\\,", "", text)
    text = text.replace("\\-", "-").replace("\\(aq", "'").replace("\\(bu", "-")
    text = re.sub(r"\\\((?:lq|rq|dq)", '"', text)
    for line in [*text.split("\n"), ".SH END"]:
        head = re.match(r"\.S[HS]\s+\"?(.*?)\"?\s*$", line)
        if head:
            if lines:
                yield title, squeeze(" ".join(lines).replace(" \n ", "\n"))
            title, lines = head[1], []
        elif re.match(r"\.(?:PP|P|LP|IP|TP)\b", line):
            lines.append("\n")
        elif re.match(r"\.(?:B|I|BR|IR|BI|RB|RI)\s", line):
            lines.append("".join(line.split(None, 1)[1].replace('"', "").split(" ")))
        elif line and line[0] not in ".'":
            lines.append(line)


def doc_sections(path: Path) -> Iterator[Section]:
    """Yield the Portuguese sections of one documentation package file."""
    package = path.name.split("_", 1)[0]
    tar = subprocess.run(
        ["dpkg-deb", "--fsys-tarfile", str(path)], capture_output=True, check=True
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        for member in archive:
            name = member.name
            wanted = re.search(r"\.(?:html|page|txt|[1-8])(?:\.gz)?$", name)
            if not member.isfile() or not wanted:
                continue
            if not PATH_IS_PORTUGUESE.search(name) and "focalinux" not in package:
                continue
            handle = archive.extractfile(member)
            raw = handle.read() if handle else b""
            if name.endswith(".gz"):
                raw = gzip.decompress(raw)
            text = raw.decode("utf-8", "replace")
            if "charset=iso-8859-1" in text[:800].lower() or "\ufffd" in text[:2000]:
                text = raw.decode("latin-1")
            yield from sections_of(name.removesuffix(".gz"), text, package)


def sections_of(name: str, text: str, package: str) -> Iterator[Section]:
    """Split one documentation file by its kind."""
    if name.endswith((".html", ".page")):
        parser = SectionParser(mallard=name.endswith(".page"))
        parser.feed(text)
        parser.flush()
        for title, paragraphs in parser.sections:
            yield Section(title, "\n".join(paragraphs), package)
    elif name.endswith(".txt"):
        for block in re.split(r"\n\s*\n", text):
            yield Section("", squeeze(" ".join(block.split())), package)
    else:
        for title, body in roff_sections(text):
            named = re.match(r"(?s)(\S.*?) [-–—] (.+)$", body)
            if title.upper() in {"NOME", "NAME"} and named:
                continue
            yield Section("" if title.isupper() else title, body, package)


def clean_title(title: str) -> str:
    """Drop numbering ("3.2.", "Capítulo 4.") from the front of a heading."""
    return squeeze(re.sub(r"^(?:(?:Cap[íi]tulo|Anexo)\s+)?[\dA-Z]{1,2}(?:\.\d+)*\.\s+", "", title))


def chunks(text: str, *, limit: int = 90) -> Iterator[str]:
    """Cut `text` at sentence ends into passages of at most about `limit` words."""
    part: list[str] = []
    size = 0
    for sentence in re.split(r"(?<=[.!?:])\s+|\n+", text):
        count = len(words(sentence))
        if size and size + count > limit:
            yield " ".join(part)
            part, size = [], 0
        part.append(sentence)
        size += count
    if part:
        yield " ".join(part)


def families(pairs: list[Pair]) -> dict[str, int]:
    """Return pair id → family number: joined by package stem or by their first eight words."""
    parent = list(range(len(pairs)))

    def find(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    seen: dict[tuple[str, str], int] = {}
    for i, pair in enumerate(pairs):
        for key in (("stem", pair.family), ("first", first_words(pair.text))):
            j = seen.setdefault(key, i)
            parent[find(i)] = find(j)
    return {pair.id: find(i) for i, pair in enumerate(pairs)}


def write_jsonl(path: Path, rows: Iterable[Pair | dict[str, str]]) -> int:
    """Write `rows` to `path`, whole or not at all; return how many."""
    lines = [
        json.dumps(asdict(row) if isinstance(row, Pair) else row, ensure_ascii=False)
        for row in rows
    ]
    temporary = path.with_suffix(".tmp")
    temporary.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    temporary.replace(path)
    return len(lines)


def hold_out(pairs: list[Pair], *, test: int, validation: int) -> dict[str, list[Pair]]:
    """Draw held-out documents, one per family, by the hash of the family's smallest stem.

    Returns:
        Lists under `test`, `validation` and `train`; rows of held-out families other than the
        drawn document are in none of them.
    """
    family = families(pairs)
    groups: dict[int, list[Pair]] = defaultdict(list)
    for pair in pairs:
        groups[family[pair.id]].append(pair)
    order = sorted(groups, key=lambda g: digest("familia:" + min(p.family for p in groups[g])))
    out: dict[str, list[Pair]] = {"test": [], "validation": [], "train": []}
    for group in order:
        usable = [
            p
            for p in groups[group]
            if p.origin == "ddtp" and p.lang == "pt_BR" and len(words(p.text)) >= 20
        ]
        split = "train"
        if usable and len(groups[group]) <= 40:
            if len(out["test"]) < test:
                split = "test"
            elif len(out["validation"]) < validation:
                split = "validation"
        if split == "train":
            out["train"].extend(groups[group])
        else:
            out[split].append(min(usable, key=lambda p: digest("documento:" + p.id)))
    return out


@click.command()
@click.option("--work-dir", type=click.Path(path_type=Path), required=True, help="Build folder.")
@click.option(
    "--amostra",
    type=click.Path(path_type=Path, exists=True),
    multiple=True,
    help="JSONL of the amostra corpus: every row's near-duplicates are kept out of training.",
)
@click.option("--suites", default=",".join(SUITES), show_default=True, help="Debian suites.")
@click.option("--test-families", default=360, show_default=True, help="Held-out test families.")
@click.option("--validation-families", default=180, show_default=True, help="Validation families.")
@click.option("--offline", is_flag=True, help="Use what an earlier run has fetched.")
def main(
    work_dir: Path,
    amostra: tuple[Path, ...],
    suites: str,
    test_families: int,
    validation_families: int,
    offline: bool,
) -> None:
    """Build train pairs, training text and held-out documents under WORK_DIR/data."""
    apt = Apt(work_dir / "apt")
    if not offline:
        apt.update(suites.split(","))
        apt.download(DOC_PACKAGES)
    data = work_dir / "data"
    data.mkdir(parents=True, exist_ok=True)
    sources = source_names(apt)
    unique: dict[tuple[str, str], Pair] = {}
    for pair in [*ddtp_pairs(apt, sources), *dep11_pairs(apt, sources)]:
        unique.setdefault((pair.text, pair.summary), pair)
    split = hold_out(list(unique.values()), test=test_families, validation=validation_families)
    held = [*split["test"], *split["validation"]]
    blocked = NearDuplicateIndex()
    for pair in held:
        blocked.add(pair.id, pair.text, package=pair.package)
    for path in amostra:
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            blocked.add(row["id"], row["text"], package=row.get("package", ""))
    train = [p for p in split["train"] if not blocked.near(p.text, package=p.package)]
    counts = Counter(f"{p.origin} {p.lang}" for p in train)
    counts["dropped as near-duplicates"] = len(split["train"]) - len(train)
    passages: dict[str, dict[str, str]] = {}
    for path in sorted((apt.root / "debs").glob("*.deb")):
        if path.name.split("_", 1)[0] not in DOC_PACKAGES:
            continue
        for section in doc_sections(path):
            for number, part in enumerate(chunks(section.text)):
                if len(words(part)) < 12 or not looks_portuguese(part) or blocked.near(part):
                    continue
                title = clean_title(section.title) if number == 0 else ""
                row = {"id": f"doc-{digest(part)}", "text": part, "title": title}
                passages.setdefault(part, {**row, "package": section.package})
    counts["passages"] = len(passages)
    write_jsonl(data / "train_pairs.jsonl", train)
    write_jsonl(data / "train_text.jsonl", passages.values())
    write_jsonl(data / "validation.jsonl", split["validation"])
    write_jsonl(data / "test.jsonl", split["test"])
    counts["validation"], counts["test"] = len(split["validation"]), len(split["test"])
    (data / "counts.json").write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")
    for name, count in counts.items():
        click.echo(f"{name}: {count}")


if __name__ == "__main__":
    main()
