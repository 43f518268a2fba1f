"""Rebuild the CC0 corpus ``descricoes``: software description -> one-line summary.

The rows come from three sources:

* start rows (``--start FILE``, repeatable): JSON Lines with the keys ``id, text, summary, lang,
  metadata_license, package``, already taken from AppStream metainfo files;
* AppStream metainfo files inside a short, fixed list of Debian packages, fetched one command long
  with ``apt-get download`` and unpacked with ``dpkg-deb`` (nothing is installed);
* rows written by hand for this corpus (``package`` is ``sintese``), read from ``--written FILE``.
  The shipped corpus itself is the default, so a rebuild carries them over.

Needs: a Debian system with ``apt-get`` (its index already updated) and ``dpkg-deb``; no root.
Only components whose ``metadata_license`` is exactly ``CC0-1.0`` or ``FSFAP`` are kept, and the
licence is recorded row by row. The split is drawn from a hash of the family name, so that one
application, or a group of near-duplicates, never lies in two splits.

Example::

    python experiments/amostra/build_descricoes.py --start ptbr.jsonl --start pt.jsonl
"""

from __future__ import annotations

import hashlib
import html
import itertools
import json
import logging
import re
import subprocess
import tarfile
import tempfile
import unicodedata
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from defusedxml import ElementTree

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from xml.etree.ElementTree import Element

logger = logging.getLogger(__name__)

OUTPUT = Path(__file__).resolve().parents[2] / "src/sintese/resources/amostra/descricoes.jsonl"
KEYS = ("id", "family", "split", "text", "summary", "lang", "license", "package")
LICENSES = frozenset({"CC0-1.0", "FSFAP"})
MIN_WORDS, MAX_WORDS = 30, 150
MAX_DEB_BYTES = 60_000_000
SHINGLE, NEAR, OPENING = 5, 0.3, 8
TEST_SHARE, VALIDATION_SHARE = 0.185, 0.12
XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
OWN_PACKAGE = "sintese"

PACKAGE_NAMES = (
    "ark baobab cantor dolphin filelight gnome-calculator gnome-calendar gnome-chess gnome-clocks "
    "gnome-maps gnome-sudoku gwenview iagno juk kalzium kcalc kget kleopatra kolf kpat krdc "
    "ksudoku kturtle parley polari quadrapassel simple-scan step yakuake"
)
PACKAGES = tuple(PACKAGE_NAMES.split())

# Components whose summary says nothing about what they do.
EXCLUDED = frozenset({"plank"})

# Applications that ship as several packages; packages opening with one of these are one family.
SUITES = (
    "digikam",
    "gcompris",
    "gnome-package",
    "kalgebra",
    "kate",
    "libgranite",
    "network-manager-",
    "okular",
    "plasma-",
)
SUITE_ALIASES = {"kwrite": "kate"}

PORTUGUESE_WORDS = (
    "a ao aos as até com como da das de do dos e ele ela em entre essa esse esta este foi isso "
    "já lhe mais mas muito na nas no nos não o os ou para pela pelas pelo pelos pode por qual "
    "quando que se sem ser seu seus sua suas são também tem um uma umas uns você é à às"
)
PORTUGUESE = frozenset(PORTUGUESE_WORDS.split())
ENGLISH_WORDS = (
    "an and are by can for from has have if in into is it its of on or that the their them "
    "this to use using was which will with you your"
)
ENGLISH = frozenset(ENGLISH_WORDS.split())
WORD = re.compile(r"\w+", re.UNICODE)
INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")
TAG = re.compile(r"</?[A-Za-z][^<>]*>")

Row = dict[str, Any]


def words(text: str) -> list[str]:
    """Return the words of a text, lower-cased."""
    return WORD.findall(text.casefold())


def size(text: str) -> int:
    """Count the words of a text as a reader would: a compound is one, a list dash is none."""
    return sum(bool(WORD.search(token)) for token in text.split())


def clean_line(text: str) -> str:
    """Normalise one paragraph: entities, tags, invisible characters, white space, NFC."""
    text = html.unescape(html.unescape(text))
    text = INVISIBLE.sub("", TAG.sub(" ", text))
    return unicodedata.normalize("NFC", " ".join(text.split()))


def clean_text(text: str) -> str:
    """Normalise a text paragraph by paragraph."""
    lines = (clean_line(line) for line in text.split("\n"))
    return "\n".join(line for line in lines if line and line != "-")


def is_english(text: str) -> bool:
    """Tell by stop words whether a paragraph was left in English."""
    counted = Counter(words(text))
    english = sum(counted[word] for word in ENGLISH)
    return english >= 2 and english > sum(counted[word] for word in PORTUGUESE)


def is_portuguese(text: str) -> bool:
    """Tell whether a whole text is Portuguese and none of its paragraphs is English."""
    found = sum(word in PORTUGUESE for word in words(text))
    return found >= 3 and not any(is_english(line) for line in text.split("\n"))


def shorten(text: str) -> str:
    """Keep the leading whole paragraphs of a text that fit into the word limit."""
    kept: list[str] = []
    total = 0
    for line in text.split("\n"):
        total += size(line)
        if total > MAX_WORDS:
            break
        kept.append(line)
    else:
        return text
    while kept and kept[-1].endswith(":"):
        kept.pop()
    return "\n".join(kept)


def lang_of(element: Element) -> str:
    """Return an element's language, with an underscore, or the empty string."""
    return (element.get(XML_LANG) or "").replace("-", "_")


def inner_text(element: Element) -> str:
    """Return all text below an element as one clean line."""
    return clean_line("".join(element.itertext()))


def block_lines(blocks: Iterable[Element], lang: str) -> Iterator[tuple[str, str | None]]:
    """Yield the (source, translation) of every paragraph and list item.

    A translation follows its source as a sibling element of the same kind.
    """
    slot: list[str | None] | None = None
    for block in blocks:
        own = lang_of(block)
        if block.tag in {"ul", "ol"}:
            if slot:
                yield slot[0] or "", slot[1]
                slot = None
            if own in {"", lang}:
                for source, translated in block_lines(block, lang):
                    line = source if own == lang else translated
                    yield f"- {source}", f"- {line}" if line else None
        elif own == "":
            if slot:
                yield slot[0] or "", slot[1]
            slot = [inner_text(block), None]
        elif own == lang and slot:
            slot[1] = inner_text(block)
    if slot:
        yield slot[0] or "", slot[1]


def described(component: Element, lang: str) -> str | None:
    """Return the description in one language, or None where any of it is not translated."""
    for description in component.findall("description"):
        if lang_of(description) == lang:
            pairs: list[tuple[str, str | None]] = [
                (source, source) for source, _ in block_lines(description, "")
            ]
            break
    else:
        source_block = component.find("description")
        if source_block is None:
            return None
        pairs = list(block_lines(source_block, lang))
    lines = []
    for source, translated in pairs:
        if translated is None and len(words(source)) > 3:
            return None
        lines.append(translated or source)
    return clean_text("\n".join(lines)) or None


def component_rows(component: Element, package: str) -> Iterator[Row]:
    """Yield the pt_BR and pt rows of one AppStream component."""
    license_name = (component.findtext("metadata_license") or "").strip()
    name = (component.findtext("id") or "").strip()
    if license_name not in LICENSES or not name:
        return
    for lang in ("pt_BR", "pt"):
        summary = next(
            (inner_text(node) for node in component.findall("summary") if lang_of(node) == lang),
            None,
        )
        text = described(component, lang)
        if summary and text:
            yield {
                "id": f"metainfo-{name}-{lang}",
                "text": text,
                "summary": summary,
                "lang": lang,
                "license": license_name,
                "package": package,
            }


def package_rows(deb: Path) -> Iterator[Row]:
    """Yield the rows of every metainfo file in one Debian package."""
    package = deb.name.split("_", 1)[0]
    with (
        subprocess.Popen(
            ["dpkg-deb", "--fsys-tarfile", str(deb)],
            stdout=subprocess.PIPE,
        ) as unpack,
        tarfile.open(fileobj=unpack.stdout, mode="r|") as archive,
    ):
        for member in archive:
            path = member.name.removeprefix("./")
            if not member.isfile() or not path.endswith(".xml"):
                continue
            if not path.startswith(("usr/share/metainfo/", "usr/share/appdata/")):
                continue
            stream = archive.extractfile(member)
            if stream is None:
                continue
            root = ElementTree.fromstring(stream.read())
            if root.tag in {"component", "application"}:
                yield from component_rows(root, package)


def deb_size(package: str) -> int:
    """Return the size of a package in bytes as the local index states it, 0 if unknown."""
    shown = subprocess.run(
        ["apt-cache", "show", "--no-all-versions", package],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"^Size: (\d+)$", shown.stdout, re.MULTILINE)
    return int(found.group(1)) if found else 0


def apt_rows(packages: Iterable[str], folder: Path) -> list[Row]:
    """Download the packages into a folder, read their metainfo and delete them again."""
    wanted = []
    for package in packages:
        size = deb_size(package)
        if 0 < size <= MAX_DEB_BYTES:
            wanted.append(package)
        else:
            logger.warning("skipped %s: %d bytes", package, size)
    folder.mkdir(parents=True, exist_ok=True)
    if wanted:
        subprocess.run(
            ["apt-get", "-q", "download", *wanted],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            check=True,
        )
    rows: list[Row] = []
    for deb in sorted(folder.glob("*.deb")):
        rows.extend(package_rows(deb))
        deb.unlink()
    return rows


def read_rows(path: Path) -> list[Row]:
    """Read JSON Lines, with ``license`` filled from ``metadata_license`` where needed."""
    rows = []
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            row.setdefault("license", row.get("metadata_license"))
            rows.append(row)
    return rows


def normalised(row: Row) -> Row:
    """Return a row with clean text and summary, shortened where it is too long."""
    summary = clean_line(row["summary"])
    if summary.endswith(".") and not summary.endswith(".."):
        summary = summary[:-1].rstrip()
    return {**row, "text": shorten(clean_text(row["text"])), "summary": summary}


def fault(row: Row) -> str | None:
    """Name the first reason for which a row is left out, None if it is good."""
    text, summary = words(row["text"]), words(row["summary"])
    if row["license"] not in LICENSES:
        return "licence"
    if application(row) in EXCLUDED:
        return "excluded by name"
    if not MIN_WORDS <= size(row["text"]) <= MAX_WORDS:
        return "length"
    if not 2 <= size(row["summary"]) <= 20:
        return "summary length"
    if text[: len(summary)] == summary:
        return "summary copies the opening"
    if not is_portuguese(row["text"]) or is_english(row["summary"]):
        return "language"
    return None


def application(row: Row) -> str:
    """Return the name of the application that a row describes."""
    name: str = row["id"].removeprefix("metainfo-").removesuffix(f"-{row['lang']}")
    return name.removesuffix(".xml").removesuffix(".desktop").casefold()


def suite(package: str) -> str:
    """Return the suite that a package belongs to, by default the package itself."""
    package = SUITE_ALIASES.get(package, package)
    return next((name for name in SUITES if package.startswith(name)), package)


def shingles(text: str) -> frozenset[tuple[str, ...]]:
    """Return the set of word n-grams of a text."""
    tokens = words(text)
    return frozenset(
        tuple(tokens[start : start + SHINGLE]) for start in range(len(tokens) - SHINGLE + 1)
    )


def assign_families(rows: list[Row]) -> None:
    """Set ``family``: rows of one application, suite or group of near-duplicates share it."""
    parent = list(range(len(rows)))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    def merge(left: int, right: int) -> None:
        parent[root(left)] = root(right)

    first: dict[tuple[str, str], int] = {}
    for index, row in enumerate(rows):
        marks = [
            ("application", application(row)),
            ("opening", " ".join(words(row["text"])[:OPENING])),
            ("summary", " ".join(words(row["summary"]))),
        ]
        if row["package"] != OWN_PACKAGE:
            marks.append(("suite", suite(row["package"])))
        for mark in marks:
            merge(index, first.setdefault(mark, index))
    sets = [shingles(row["text"]) for row in rows]
    for left, right in itertools.combinations(range(len(rows)), 2):
        common = len(sets[left] & sets[right])
        if common and common >= NEAR * (len(sets[left]) + len(sets[right]) - common):
            merge(left, right)
    names: dict[int, str] = {}
    for index, row in enumerate(rows):
        name = application(row)
        names[root(index)] = min(name, names.get(root(index), name))
    for index, row in enumerate(rows):
        row["family"] = names[root(index)]


def assign_splits(rows: list[Row]) -> None:
    """Set ``split`` from the order of the hashes of the family names, by kind of family.

    Families with rows from real software and families written for this corpus are drawn apart, so
    that both kinds have the same shares in every split.
    """
    real = {row["family"] for row in rows if row["package"] != OWN_PACKAGE}
    split: dict[str, str] = {}
    for families in (real, {row["family"] for row in rows} - real):
        order = sorted(families, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
        test = round(TEST_SHARE * len(order))
        validation = test + round(VALIDATION_SHARE * len(order))
        for index, name in enumerate(order):
            split[name] = (
                "test" if index < test else "validation" if index < validation else "train"
            )
    for row in rows:
        row["split"] = split[row["family"]]


def build(candidates: Iterable[Row]) -> tuple[list[Row], Counter[str]]:
    """Filter, group and split the rows; also count why rows were left out."""
    left_out: Counter[str] = Counter()
    rows: list[Row] = []
    seen: dict[str, set[str]] = defaultdict(set)
    for candidate in candidates:
        row = normalised(candidate)
        reason = fault(row)
        key = " ".join(words(row["text"]))
        if reason is None and (row["id"] in seen["id"] or key in seen["text"]):
            reason = "duplicate"
        if reason:
            left_out[reason] += 1
            logger.info("left out %s: %s", row["id"], reason)
            continue
        seen["id"].add(row["id"])
        seen["text"].add(key)
        rows.append(row)
    rows.sort(key=lambda row: row["id"])
    assign_families(rows)
    assign_splits(rows)
    return [{key: row[key] for key in KEYS} for row in rows], left_out


def report(rows: list[Row], left_out: Counter[str]) -> None:
    """Log the counts of a corpus."""
    logger.warning("rows %d, left out %s", len(rows), dict(left_out))
    for key in ("split", "license", "lang"):
        logger.warning("%s: %s", key, dict(Counter(row[key] for row in rows)))
    own = Counter("written" if row["package"] == OWN_PACKAGE else "appstream" for row in rows)
    logger.warning("origin: %s", dict(own))
    families = {row["family"]: row["split"] for row in rows}
    logger.warning("families %d: %s", len(families), dict(Counter(families.values())))
    for key in ("text", "summary"):
        sizes = sorted(size(row[key]) for row in rows)
        logger.warning(
            "%s words: min %d, median %d, mean %.1f, max %d",
            key,
            sizes[0],
            sizes[len(sizes) // 2],
            sum(sizes) / len(sizes),
            sizes[-1],
        )


@click.command()
@click.option(
    "--start",
    "start_files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON Lines with rows to begin with; may be repeated.",
)
@click.option(
    "--written",
    type=click.Path(dir_okay=False, path_type=Path),
    default=OUTPUT,
    show_default="the shipped corpus",
    help="JSON Lines whose rows with package 'sintese' are taken over.",
)
@click.option(
    "--package",
    "packages",
    multiple=True,
    default=PACKAGES,
    show_default="a fixed list",
    help="Debian package to read metainfo from; may be repeated.",
)
@click.option("--apt/--no-apt", default=True, help="Read metainfo from Debian packages.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=OUTPUT,
    show_default="the shipped corpus",
)
@click.option("--verbose", is_flag=True, help="Name every row that is left out.")
def main(
    start_files: tuple[Path, ...],
    written: Path,
    packages: tuple[str, ...],
    apt: bool,
    output: Path,
    verbose: bool,
) -> None:
    """Rebuild the corpus of Portuguese software descriptions."""
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(message)s")
    candidates = [row for path in start_files for row in read_rows(path)]
    if written.exists():
        candidates += [row for row in read_rows(written) if row["package"] == OWN_PACKAGE]
    if apt:
        with tempfile.TemporaryDirectory() as folder:
            candidates += apt_rows(packages, Path(folder))
    rows, left_out = build(candidates)
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.open("w", encoding="utf-8") as lines:
        for row in rows:
            lines.write(json.dumps(row, ensure_ascii=False) + "\n")
    report(rows, left_out)
    click.echo(f"{len(rows)} rows written to {output.name}")


if __name__ == "__main__":
    main()
