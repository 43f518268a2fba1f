"""Every source keeps one contract; splits, digests and faults behave as the documents say."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import random
import subprocess
import sys
import tarfile
import time
import zipfile
from collections import Counter
from pathlib import Path

import hub_standin
import pytest

from sintese import datasets, discovery
from sintese.cleaning import BadRow, fingerprint
from sintese.config import DataConfig
from sintese.datasets import amostra, files
from sintese.datasets import hub as hub_source
from sintese.errors import ConfigError, DataError, UnknownNameError

hub = hub_standin.hub
FIELDS = ["id", "text", "summary"]


def write(path: Path, rows, **columns) -> Path:
    """Write rows in the format that the file's suffix names; `columns` renames them."""
    rows = [{columns.get(key, key): value for key, value in row.items()} for row in rows]
    if path.suffix in (".csv", ".tsv"):
        with path.open("w", encoding="utf-8", newline="") as file:
            delimiter = "\t" if path.suffix == ".tsv" else ","
            writer = csv.DictWriter(file, rows[0].keys(), delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_bytes(hub_standin.json_lines(rows))
    return path


def load(path: Path | None = None, **fields) -> datasets.Corpus:
    return datasets.load(DataConfig(**{"source": "files", "path": path and str(path), **fields}))


# The contract


def a_config_for(name: str, hub: hub_standin.Hub, tmp_path: Path) -> DataConfig:
    """Return a configuration under which the source `name` has something to read."""
    if name == "files":
        path = write(tmp_path / "noticias.jsonl", hub_standin.news(20))
        return DataConfig(source=name, path=str(path))
    if name == "hub":
        hub_standin.write_parquet(hub.folder, "org/noticias")
        return DataConfig(source=name, hub_id="org/noticias")
    if name == "temario":
        hub_standin.write_temario(hub.folder)
        return DataConfig(source=name, hub_id="standin/temario")
    if builder := getattr(hub_standin, f"write_{name}", None):
        builder(hub.folder)
    return DataConfig(source=name)


@pytest.mark.parametrize("name", discovery.available("sintese.datasets"))
def test_contract(name, hub, tmp_path):
    config = a_config_for(name, hub, tmp_path)
    module = discovery.get("sintese.datasets", name, kind="dataset")
    assert module.DESCRIPTION and "\n" not in module.DESCRIPTION
    corpus = datasets.load(config)
    assert corpus.name and corpus.origin and corpus.licence
    assert tuple(corpus.splits) == datasets.SPLITS
    for split in datasets.SPLITS:
        rows = corpus.splits[split]
        assert rows.column_names == FIELDS and len(rows) > 0
        assert {feature.dtype for feature in rows.features.values()} == {"string"}
        assert len(set(corpus.ids(split))) == len(rows)
        assert all(map(str.strip, corpus.texts(split) + corpus.summaries(split)))
    keys = Counter(fingerprint(t) for split in datasets.SPLITS for t in corpus.texts(split))
    assert max(keys.values()) == 1
    dropped = sum(n for kind, n in corpus.counts.items() if kind not in ("read", "kept"))
    assert corpus.counts["read"] == corpus.counts["kept"] + dropped
    assert corpus.counts["kept"] == sum(map(len, corpus.splits.values()))
    again = datasets.load(config)
    assert again.digest == corpus.digest and len(corpus.digest) == 64
    assert again.split_digest("test") == corpus.split_digest("test") != corpus.digest
    assert corpus.describe()["train"]["rows"] == len(corpus.splits["train"])
    if corpus.origin.startswith("hub:"):
        assert len(corpus.origin.partition("@")[2]) == 40


def test_an_unknown_source_says_what_was_meant():
    with pytest.raises(UnknownNameError, match="did you mean 'temario'"):
        datasets.load(DataConfig(source="temárío"))
    known = {"amostra", "files", "hub", "temario", "xlsum", "xsum"}
    assert known <= set(datasets.available())


# Splits and digests


def test_the_split_depends_on_seed_and_texts_only(tmp_path):
    rows = hub_standin.news(50)
    path = write(tmp_path / "a.jsonl", rows)
    corpus = load(path)
    assert [len(corpus.splits[s]) for s in datasets.SPLITS] == [40, 5, 5]
    random.Random(1).shuffle(rows)
    shuffled = load(write(tmp_path / "b.jsonl", rows))
    for split in datasets.SPLITS:
        assert set(shuffled.ids(split)) == set(corpus.ids(split))
    assert shuffled.digest != corpus.digest, "the order of rows is part of a corpus"
    assert load(path, split_seed=7).ids("test") != corpus.ids("test")
    wider = load(path, test_share=0.2, validation_share=0.3)
    assert [len(wider.splits[s]) for s in datasets.SPLITS] == [25, 15, 10]


def test_the_digest_does_not_depend_on_the_process(tmp_path):
    path = write(tmp_path / "a.jsonl", hub_standin.news(30))
    code = (
        "import sys; from sintese import datasets; from sintese.config import DataConfig;"
        "print(datasets.load(DataConfig(source='files', path=sys.argv[1])).digest)"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code, str(path)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert found == {load(path).digest}


@pytest.mark.parametrize("suffix", ["csv", "tsv", "json", "parquet", "jsonl.gz", "csv.gz"])
def test_the_digest_does_not_depend_on_the_format(tmp_path, suffix):
    rows = [{**row, "text": f'"{row["text"]}";\n\tfim'} for row in hub_standin.news(30)]
    plain = load(write(tmp_path / "a.jsonl", rows))
    path = write(tmp_path / f"b.{suffix.removesuffix('.gz')}", rows)
    if suffix.endswith(".gz"):
        packed = path.with_name(path.name + ".gz")
        packed.write_bytes(gzip.compress(path.read_bytes()))
        path = packed
    assert load(path).digest == plain.digest


def test_the_digest_sees_every_value_and_its_split(tmp_path):
    rows = hub_standin.news(30)
    seen = {load(write(tmp_path / "a.jsonl", rows)).digest}
    for key in FIELDS:
        changed = [{**rows[0], key: rows[0][key][:-1]}, *rows[1:]]
        seen.add(load(write(tmp_path / "a.jsonl", changed)).digest)
    assert len(seen) == 4


def test_given_splits_are_kept_and_a_missing_one_is_cut_from_train(tmp_path):
    for split, rows in hub_standin.split_news(20, 5, 5).items():
        write(tmp_path / f"{split}.jsonl", rows)
    whole = load(tmp_path)
    assert [len(whole.splits[s]) for s in datasets.SPLITS] == [20, 5, 5]
    (tmp_path / "validation.jsonl").unlink()
    cut = load(tmp_path)
    assert [len(cut.splits[s]) for s in datasets.SPLITS] == [18, 2, 5]
    assert cut.split_digest("test") == whole.split_digest("test")
    assert set(cut.ids("validation")) <= set(whole.ids("train"))


def test_a_text_in_two_splits_stays_where_it_is_tested(tmp_path):
    splits = {split: list(rows) for split, rows in hub_standin.split_news().items()}
    spaced = {**splits["test"][0], "text": splits["test"][0]["text"].replace(" ", "\u00a0 ")}
    splits["train"] += [spaced, splits["validation"][0]]
    splits["validation"].append(splits["test"][1])
    for split, rows in splits.items():
        write(tmp_path / f"{split}.jsonl", rows)
    corpus = load(tmp_path)
    assert [len(corpus.splits[s]) for s in datasets.SPLITS] == [12, 4, 4]
    assert corpus.counts["leaked_train"] == 2 and corpus.counts["leaked_validation"] == 1


def test_samples_are_drawn_by_seed_and_keep_their_order(tmp_path):
    path = write(tmp_path / "a.jsonl", hub_standin.news(60))
    whole = load(path)
    few = load(path, max_train_samples=10, max_validation_samples=2, max_test_samples=1000)
    ids = whole.ids("train")
    assert few.ids("train") == [i for i in ids if i in set(few.ids("train"))] != ids[:10]
    assert [len(few.splits[s]) for s in datasets.SPLITS] == [10, 2, 6]
    assert few.counts["not_sampled"] == 38 + 4
    assert load(path, max_train_samples=10, split_seed=1).ids("train") != few.ids("train")


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_rows(tmp_path, count):
    with pytest.raises(DataError, match=rf"too few rows for .*: {count} usable"):
        load(write(tmp_path / "a.jsonl", hub_standin.news(count)))
    assert len(load(write(tmp_path / "a.jsonl", hub_standin.news(3))).splits["train"]) == 1


# Columns


def test_columns_are_mapped_and_others_left_out(tmp_path):
    path = write(
        tmp_path / "a.csv",
        [{**row, "autor": "x"} for row in hub_standin.news(20)],
        text="texto",
        summary="resumo",
        id="código",
    )
    named = {"text_column": "texto", "summary_column": "resumo", "id_column": "código"}
    assert (
        load(path, **named).digest == load(write(tmp_path / "a.jsonl", hub_standin.news(20))).digest
    )
    with pytest.raises(ConfigError) as error:
        load(path, id_column="codigo")
    assert [fault.where for fault in error.value.faults] == [
        "data.text_column",
        "data.summary_column",
        "data.id_column",
    ]
    assert "did you mean 'texto'" in str(error.value) and "a.csv" in str(error.value)
    with pytest.raises(ConfigError, match=r"data\.summary_column: is the text column"):
        load(path, text_column="texto", summary_column="texto")


# Faults of the data


def test_broken_rows_are_quarantined_with_their_lines(tmp_path):
    good = hub_standin.json_lines(hub_standin.news(400)).splitlines()
    good[9:9] = [b'{"id": "x", "text": ', b"\xff\xfe", b"[1, 2]"]
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join(good))
    corpus = load(path)
    assert corpus.counts["broken"] == 3 and corpus.counts["kept"] == 400
    assert [bad.where for bad in corpus.quarantined] == [f"a.jsonl:{n}" for n in (10, 11, 12)]
    with pytest.raises(DataError) as error:
        load(path, max_bad_share=0.001)
    message = str(error.value)
    assert "3 of 403 rows" in message and "a.jsonl:10 (not JSON" in message
    assert "data.max_bad_share" in message and "\n" not in message


def test_blank_rows_count_as_bad_and_long_summaries_do_not(tmp_path):
    rows = hub_standin.news(20)
    rows[3] = {**rows[3], "summary": " "}
    path = write(tmp_path / "a.jsonl", rows)
    with pytest.raises(DataError, match=r"a\.jsonl:4 \(the summary is blank\)"):
        load(path)
    assert load(path, max_bad_share=0.1).counts["blank_summary"] == 1
    rows[3] = {**rows[3], "summary": rows[3]["text"]}
    assert load(write(path, rows)).counts["summary_not_shorter"] == 1


def test_broken_csv_records_have_the_line_they_begin_on(tmp_path):
    path = tmp_path / "a.csv"
    lines = ["text;summary"]
    lines += [f'"{row["text"]}\nsegunda linha";{row["summary"]}' for row in hub_standin.news(5)]
    lines += ["campo a mais;dois;três", '"aspas "no meio" do campo";resumo']
    lines += [f"{row['text']};{row['summary']}" for row in hub_standin.news(5, start=10)]
    path.write_text("\n".join(lines), encoding="utf-8")
    corpus = load(path, max_bad_share=0.5)
    assert corpus.counts["kept"] == 10
    assert [str(bad)[:8] for bad in corpus.quarantined] == ["a.csv:12", "a.csv:13"]
    assert "3 fields where the header has 2" in str(corpus.quarantined[0])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_encodings_and_separators(tmp_path, encoding, delimiter):
    rows = hub_standin.news(12)
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter).writerows([FIELDS, *(r.values() for r in rows)])
    path = tmp_path / "a.csv"
    path.write_bytes(out.getvalue().encode(encoding))
    assert load(path).digest == load(write(tmp_path / "a.jsonl", rows)).digest


def test_a_broken_byte_in_utf8_costs_one_row_not_all_accents(tmp_path):
    data = write(tmp_path / "a.csv", hub_standin.news(40)).read_bytes()
    (tmp_path / "a.csv").write_bytes(data.replace("São".encode(), b"S\xe3o", 1))
    corpus = load(tmp_path / "a.csv", max_bad_share=0.1)
    assert corpus.counts["broken"] == 1 and corpus.counts["kept"] == 39
    assert "bytes that are not UTF-8" in str(corpus.quarantined[0])
    assert not any("Ã" in text for text in corpus.texts("train"))


def test_json_lines_under_the_name_json(tmp_path):
    path = write(tmp_path / "a.jsonl", hub_standin.news(12))
    (tmp_path / "trn.json").write_bytes(path.read_bytes())
    wrapped = tmp_path / "wrapped.json"
    wrapped.write_text(json.dumps({"version": 1, "data": hub_standin.news(12)}))
    assert load(tmp_path / "trn.json").digest == load(path).digest == load(wrapped).digest


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b"", "holds no rows"),
        ("a.csv", b"", "holds no rows"),
        ("a.json", b"[", "a.json:1 is not JSON"),
        ("a.parquet", b"PAR1", "not a readable Parquet file"),
        ("a.jsonl.gz", b"no gzip", "cannot read a.jsonl.gz"),
        ("a.csv.gz", gzip.compress(b"text,summary\n" * 99)[:-9], "cannot read a.csv.gz"),
        ("a.csv.gz", gzip.compress(b"a")[:10] + b"\xff" * 20, "cannot read a.csv.gz"),
        ("a.docx", b"", "cannot read files of this kind"),
        ("a.jsonl", b"[" * 100_000, "nested too deeply"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as error:
        load(tmp_path / name)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_paths_that_make_no_sense(tmp_path):
    path = write(tmp_path / "dados.jsonl", hub_standin.news(5))
    with pytest.raises(ConfigError, match=r"data\.path: source 'files' needs it"):
        load()
    with pytest.raises(ConfigError, match=r"did you mean 'dados\.jsonl'"):
        load(tmp_path / "dado.jsonl")
    with pytest.raises(ConfigError, match=r"data\.train_file: data\.path already gives"):
        load(path, train_file=str(path))
    write(tmp_path / "outros.jsonl", hub_standin.news(5))
    with pytest.raises(ConfigError, match=r"dados\.jsonl, outros\.jsonl; name them train"):
        load(tmp_path)


def test_split_files_and_a_test_file_alone(tmp_path):
    paths = {
        f"{split}_file": str(write(tmp_path / f"{n}.csv", rows))
        for n, (split, rows) in enumerate(hub_standin.split_news().items())
    }
    assert len(load(**paths).splits["train"]) == 12
    alone = load(test_file=paths["test_file"])
    assert [len(alone.splits[s]) for s in datasets.SPLITS] == [0, 0, 4]


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("data/train-00000-of-00002.parquet", "train"),
        ("portuguese_val.jsonl", "validation"),
        ("default/test/0000.parquet", "test"),
        ("portuguese/xlsum-validation.parquet", "validation"),
        ("train/test.csv", "test"),
        ("latest.csv", None),
        ("restrain.csv", None),
    ],
)
def test_split_of(path, split):
    assert files.split_of(path) == split


# amostra


def test_amostra_reads_a_folder(tmp_path):
    rows = [
        {**row, "split": split, "license": licence}
        for split, part in hub_standin.split_news().items()
        for row, licence in zip(part, ["CC0-1.0", "FSFAP"] * 6, strict=False)
    ]
    write(tmp_path / "descricoes.jsonl", rows)
    source = amostra.read_folder(tmp_path)
    assert (source.licence, source.name) == ("CC0-1.0, FSFAP", "amostra/descricoes")
    assert not source.evaluation_only
    with pytest.raises(UnknownNameError, match="did you mean 'noticias'"):
        amostra.read_folder(tmp_path, subset="noticia")
    with pytest.raises(DataError, match=r"longos\.jsonl"):
        amostra.read_folder(tmp_path, subset="longos")


@pytest.mark.parametrize("subset", amostra.SUBSETS)
def test_amostra_as_it_ships(subset):
    corpus = datasets.load(DataConfig(subset=subset, max_bad_share=0))
    assert corpus.counts["read"] == corpus.counts["kept"]
    assert corpus.origin == corpus.name == f"amostra/{subset}"
    assert set(corpus.licence.split(", ")) <= {"CC0-1.0", "FSFAP"}
    if subset == "longos":
        assert [len(corpus.splits[s]) > 0 for s in datasets.SPLITS] == [False, False, True]


# TeMário


def nilc_zip(path: Path, rows, *, root="TeMario-ULTIMA VERSAO out2004", extra=()) -> Path:
    """Write rows as NILC's archive: its folders, names and encoding."""
    with zipfile.ZipFile(path, "w") as archive:
        for row in rows:
            stem = row["id"].removeprefix("temario-")
            text, summary = (row[key].replace("\n", "\r\n") for key in ("text", "summary"))
            untitled = text.partition("\r\n")[2]
            for name, content in {
                f"Textos-fonte/Textos-fonte com título/{stem}.txt": text,
                f"Textos-fonte/Textos-fonte sem título/St-{stem}.txt": untitled,
                f"Sumários/Sumários manuais/Sum-{stem}.txt": summary,
                f"Sumários/Extratos ideais automáticos/Ext-{stem}.txt": text[:99],
            }.items():
                archive.writestr(f"{root}/{name}", content.encode("cp1252"))
        for entry, content in extra:
            archive.writestr(entry, content)
    return path


def temario(path: Path, **fields) -> datasets.Corpus:
    return load(path, source="temario", **fields)


def test_temario_is_one_corpus_in_every_form(tmp_path, hub):
    rows = [
        {**row, "text": f"Título — {row['id']}\n\n“{row['text']}”"}
        for row in hub_standin.temario(20)
    ]
    archive = nilc_zip(tmp_path / "TeMario.zip", rows)
    corpus = temario(archive)
    assert corpus.counts == {"read": 20, "kept": 20}
    assert corpus.texts("train")[0].startswith("Título — ce94") and "research" in corpus.licence
    assert all(i.startswith("temario-ce94ab1") for i in corpus.ids("train"))

    backwards = [{**row, "id": f"temario-{row['id']}"} for row in reversed(rows)]
    assert temario(write(tmp_path / "temario.jsonl", backwards)).digest == corpus.digest
    assert temario(write(tmp_path / "temario.csv", rows)).digest == corpus.digest
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(tmp_path / "solto")
    assert temario(tmp_path / "solto").digest == corpus.digest
    hub_standin.write_parquet(hub.folder, "org/temario", {"train": rows})
    on_hub = datasets.load(DataConfig(source="temario", hub_id="org/temario"))
    assert on_hub.digest == corpus.digest and on_hub.origin.startswith("hub:org/temario@")


def test_temario_folder_names_may_be_garbled(tmp_path):
    path = nilc_zip(tmp_path / "a.zip", hub_standin.temario(5))
    garbled = tmp_path / "b.zip"
    with zipfile.ZipFile(path) as good, zipfile.ZipFile(garbled, "w") as bad:
        for entry in good.infolist():
            bad.writestr(entry.filename.replace("í", "φ").replace("á", "ß"), good.read(entry))
    assert temario(garbled).digest == temario(path).digest


def test_temario_documents_without_a_partner_are_named(tmp_path):
    rows = hub_standin.temario(10)
    lonely = "T/Textos-fonte/Textos-fonte com título/in96ab09-b.txt"
    path = nilc_zip(tmp_path / "a.zip", rows, extra=[(lonely, b"sozinho")])
    with pytest.raises(DataError, match=r"in96ab09-b \(has no manual summary\)"):
        temario(path)
    assert temario(path, max_bad_share=0.1).counts["broken"] == 1


@pytest.mark.parametrize(
    "entry",
    ["../fora.txt", "/etc/fora.txt", "C:\\fora.txt", "a\\..\\..\\fora.txt", "link", "bomb"],
)
def test_temario_refuses_unsafe_archives(tmp_path, entry):
    info, content = zipfile.ZipInfo(entry), b"x"
    if entry == "link":
        info.external_attr, content = 0o120777 << 16, b"/etc/passwd"
    if entry == "bomb":
        info = zipfile.ZipInfo("Sumários/Sumários manuais/Sum-ce94ab10-a.txt")
        info.compress_type, content = zipfile.ZIP_DEFLATED, b"0" * 50_000_000
    path = nilc_zip(tmp_path / "a.zip", hub_standin.temario(5), extra=[(info, content)])
    with pytest.raises(DataError, match=r"a\.zip is unsafe"):
        temario(path)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["a.zip"]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive"])
def test_temario_damaged_or_foreign_archives(tmp_path, content):
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"cannot read a\.zip"):
        temario(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("leia-me.txt", "outra coisa")
    with pytest.raises(DataError, match="0 texts and 0 manual summaries"):
        temario(path)


def test_temario_says_where_to_get_it():
    with pytest.raises(ConfigError, match=r"data\.path: .*TeMario\.zip.*data\.hub_id"):
        datasets.load(DataConfig(source="temario"))


# XL-Sum and XSum


def test_xlsum_from_the_hub_a_folder_and_an_archive(hub, tmp_path):
    repo = hub_standin.write_xlsum(hub.folder)
    corpus = datasets.load(DataConfig(source="xlsum"))
    assert [len(corpus.splits[s]) for s in datasets.SPLITS] == [12, 4, 4]
    assert (corpus.language, corpus.licence) == ("pt", "CC-BY-NC-SA-4.0")
    assert "hasan-etal-2021" in corpus.citation
    assert not any("xlsum.py" in line for line in hub.requests), "the script was fetched"
    archive = repo / "data" / "portuguese_XLSum_v2.0.tar.bz2"
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "solto", filter="data")
    for path in (archive, repo, tmp_path / "solto"):
        assert load(path, source="xlsum").digest == corpus.digest
    with pytest.raises(UnknownNameError, match="did you mean 'portuguese'"):
        datasets.load(DataConfig(source="xlsum", subset="portugues"))
    with pytest.raises(ConfigError, match="english_XLSum"):
        load(repo, source="xlsum", subset="english")


def test_xlsum_from_the_converted_files_where_there_are_no_archives(hub):
    repo = hub.folder / "datasets" / "csebuetnlp"
    (repo / "xlsum").mkdir(parents=True)
    (repo / "xlsum" / "xlsum.py").write_text("raise SystemExit")
    for language in ("portuguese", "english"):
        for split, rows in hub_standin.split_news().items():
            folder = repo / "xlsum@refs/convert/parquet" / language / split
            folder.mkdir(parents=True)
            write(folder / "0000.parquet", rows)
    corpus = datasets.load(DataConfig(source="xlsum"))
    assert [len(corpus.splits[s]) for s in datasets.SPLITS] == [12, 4, 4]
    with pytest.raises(UnknownNameError, match="available: english, portuguese"):
        datasets.load(DataConfig(source="xlsum", subset="klingon"))


@pytest.mark.parametrize("kind", ["parent", "link", "short"])
def test_xlsum_refuses_unsafe_and_damaged_archives(tmp_path, kind):
    path = tmp_path / "portuguese_XLSum_v2.0.tar.bz2"
    with tarfile.open(path, "w:bz2") as tar:
        entry = tarfile.TarInfo("../fora.jsonl" if kind == "parent" else "portuguese_test.jsonl")
        if kind == "link":
            entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(entry)
    if kind == "short":
        path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match="cannot read" if kind == "short" else "is unsafe"):
        load(path, source="xlsum")


def test_xsum_from_the_hub(hub):
    hub_standin.write_xsum(hub.folder)
    corpus = datasets.load(DataConfig(source="xsum"))
    assert (corpus.language, corpus.name) == ("en", "xsum")
    assert corpus.texts("test") == [row["text"] for row in hub_standin.split_news()["test"]]


# Any data set on the hub


def on_hub(hub, files_: dict[str, bytes], hub_id="org/dados") -> None:
    for name, data in files_.items():
        path = hub.folder / "datasets" / hub_id / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def parts() -> dict[str, bytes]:
    return {split: hub_standin.json_lines(r) for split, r in hub_standin.split_news().items()}


@pytest.mark.parametrize(
    "layout",
    [
        "{split}.jsonl",
        "data/{split}.jsonl",
        "{split}/0001.jsonl",
        "noticias_{split}.json",
    ],
)
def test_hub_layouts(hub, layout):
    on_hub(hub, {layout.format(split=split): data for split, data in parts().items()})
    on_hub(hub, {"dataset_infos.json": b"{}", "README.md": b"# no front matter"})
    corpus = datasets.load(DataConfig(source="hub", hub_id="org/dados"))
    assert [len(corpus.splits[s]) for s in datasets.SPLITS] == [12, 4, 4]
    assert corpus.licence == "unknown"


def test_hub_one_file_without_a_split_in_its_name(hub):
    on_hub(hub, {"dados.csv": write(hub.folder / "x.csv", hub_standin.news(20)).read_bytes()})
    corpus = datasets.load(DataConfig(source="hub", hub_id="org/dados"))
    assert [len(corpus.splits[s]) for s in datasets.SPLITS] == [16, 2, 2]


def test_hub_subsets_by_folder_and_by_the_card(hub):
    on_hub(hub, {f"{c}/{s}.jsonl": d for c in ("pt", "en") for s, d in parts().items()})
    with pytest.raises(ConfigError, match=r"data\.subset: org/dados has several.*: en, pt"):
        datasets.load(DataConfig(source="hub", hub_id="org/dados"))
    with pytest.raises(UnknownNameError, match="did you mean 'pt'"):
        datasets.load(DataConfig(source="hub", hub_id="org/dados", subset="ptt"))
    assert (
        datasets.load(DataConfig(source="hub", hub_id="org/dados", subset="pt")).name == "dados/pt"
    )
    card = """---
license: cc-by-4.0
language: [pt, gl]
configs:
- config_name: resumos
  data_files:
  - {split: train, path: pt/tr*.jsonl}
  - {split: test, path: [pt/test.jsonl]}
---
"""
    on_hub(hub, {"README.md": card.encode()})
    corpus = datasets.load(DataConfig(source="hub", hub_id="org/dados"))
    assert (corpus.licence, corpus.language) == ("cc-by-4.0", "pt, gl")
    assert [len(corpus.splits[s]) for s in datasets.SPLITS] == [11, 1, 4]


def test_hub_a_script_is_never_run_and_the_conversion_is_used(hub):
    on_hub(hub, {"dados.py": b"raise SystemExit"})
    with pytest.raises(DataError, match=r"only the script dados\.py, which is never run"):
        datasets.load(DataConfig(source="hub", hub_id="org/dados"))
    hub_standin.write_parquet(hub.folder, "org/dados@refs/convert/parquet")
    corpus = datasets.load(DataConfig(source="hub", hub_id="org/dados"))
    assert len(corpus.splits["train"]) == 12


def test_hub_revisions(hub):
    hub_standin.write_parquet(hub.folder, "org/dados")
    hub_standin.write_parquet(hub.folder, "org/dados@v1", hub_standin.split_news(20, 5, 5))
    config = DataConfig(source="hub", hub_id="org/dados", revision="v1")
    old = datasets.load(config)
    assert len(old.splits["train"]) == 20
    pinned = config.model_copy(update={"revision": old.origin.partition("@")[2]})
    assert datasets.load(pinned).digest == old.digest
    with pytest.raises(DataError, match=r"data\.revision: org/dados has none 'v9'"):
        datasets.load(config.model_copy(update={"revision": "v9"}))


def test_hub_offline_reads_the_cache(hub, monkeypatch):
    from huggingface_hub import constants

    hub_standin.write_parquet(hub.folder, "org/dados")
    config = DataConfig(source="hub", hub_id="org/dados")
    online = datasets.load(config)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    before = len(hub.requests)
    offline = datasets.load(config)
    assert (offline.digest, offline.origin) == (online.digest, online.origin)
    assert len(hub.requests) == before
    with pytest.raises(DataError, match="unset HF_HUB_OFFLINE") as error:
        datasets.load(config.model_copy(update={"hub_id": "org/outro"}))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("hub_id", "message"),
    [
        ("org/dadoss", "no data set 'org/dadoss' at http://127.0.0.1"),
        ("isto não é um id", "not of the form org/name"),
        (None, "data.hub_id: source 'hub' needs"),
    ],
)
def test_hub_ids_that_lead_nowhere(hub, hub_id, message):
    with pytest.raises((DataError, ConfigError)) as error:
        datasets.load(DataConfig(source="hub", hub_id=hub_id))
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("source", ["hub", "xlsum", "xsum"])
def test_a_hub_that_does_not_answer_is_one_line_and_soon(hub, source):
    hub.shutdown()
    hub.server_close()
    started = time.monotonic()
    with pytest.raises(DataError, match="check the network and HF_ENDPOINT") as error:
        datasets.load(DataConfig(source=source, hub_id="org/dados"))
    assert time.monotonic() - started < 10
    assert "\n" not in str(error.value)


def test_a_hub_file_that_vanished(hub):
    repository = hub_source.Repository("org/dados", "0" * 40, ("train.jsonl",))
    with pytest.raises(DataError, match="org/dados"):
        hub_source.fetch(repository, "train.jsonl")


def test_quarantined_rows_are_plain_values(tmp_path):
    rows = hub_standin.news(20)
    rows[0]["text"] = ""
    corpus = load(write(tmp_path / "a.jsonl", rows), max_bad_share=1)
    assert corpus.quarantined == (BadRow("a.jsonl:1", "the text is blank"),)
