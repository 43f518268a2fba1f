"""The stand-in must satisfy the real clients, or what is tested against it proves nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import hub_standin
import huggingface_hub
import pytest
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

hub = hub_standin.hub
PTT5 = "unicamp-dl/ptt5-base-portuguese-vocab"


def test_info_tree_and_download(hub):
    hub_standin.write_parquet(hub.folder, "org/noticias")
    api = huggingface_hub.HfApi()
    info = api.dataset_info("org/noticias")
    names = [sibling.rfilename for sibling in info.siblings]
    assert "data/train-00000-of-00001.parquet" in names and len(info.sha) == 40
    assert api.dataset_info("org/noticias", revision=info.sha).sha == info.sha
    assert sorted(api.list_repo_files("org/noticias", repo_type="dataset")) == names
    path = huggingface_hub.hf_hub_download(
        "org/noticias", "data/train-00000-of-00001.parquet", repo_type="dataset"
    )
    served = hub.folder / "datasets/org/noticias/data/train-00000-of-00001.parquet"
    assert Path(path).read_bytes() == served.read_bytes()
    assert info.sha in path
    snapshot = huggingface_hub.snapshot_download("org/noticias", repo_type="dataset")
    assert (Path(snapshot) / "README.md").is_file()


def test_a_changed_repository_has_another_commit(hub):
    repo = hub_standin.write_parquet(hub.folder, "org/data")
    before = huggingface_hub.HfApi().dataset_info("org/data").sha
    (repo / "README.md").write_text("changed")
    assert huggingface_hub.HfApi().dataset_info("org/data").sha != before


def test_revisions_with_slashes(hub):
    hub_standin.write_parquet(hub.folder, "org/data")
    converted = hub_standin.write_parquet(hub.folder, "org/data@refs/convert/parquet")
    (converted / "only_here.txt").write_text("x")
    info = huggingface_hub.HfApi().dataset_info("org/data", revision="refs/convert/parquet")
    assert "only_here.txt" in [sibling.rfilename for sibling in info.siblings]
    for revision in ("refs/convert/parquet", info.sha):
        path = huggingface_hub.hf_hub_download(
            "org/data", "only_here.txt", repo_type="dataset", revision=revision
        )
        assert Path(path).read_text() == "x"


def test_what_is_missing_is_told_apart(hub):
    hub_standin.write_parquet(hub.folder, "org/data")
    api = huggingface_hub.HfApi()
    with pytest.raises(RepositoryNotFoundError):
        api.dataset_info("org/other")
    with pytest.raises(RevisionNotFoundError):
        api.dataset_info("org/data", revision="v9")
    with pytest.raises(EntryNotFoundError):
        huggingface_hub.hf_hub_download("org/data", "no.txt", repo_type="dataset")


@hub_standin.uploading
def test_upload_needs_the_token_and_comes_back_whole(hub, tmp_path, monkeypatch):
    model = tmp_path / "model"
    (model / "sub").mkdir(parents=True)
    (model / "config.json").write_text('{"model_type": "t5"}')
    (model / "model.safetensors").write_bytes(bytes(range(256)) * 400)
    (model / "sub" / "ação.txt").write_text("coração", encoding="utf-8")

    api = huggingface_hub.HfApi()
    with pytest.raises(HfHubHTTPError, match="401"):
        api.create_repo("someone/resumos", token="hf_wrong")
    monkeypatch.setenv("HF_TOKEN", hub_standin.TOKEN)
    api.create_repo("someone/resumos", exist_ok=True)
    api.create_repo("someone/resumos", exist_ok=True)
    commit = api.upload_folder(repo_id="someone/resumos", folder_path=model)
    assert commit.oid == api.model_info("someone/resumos").sha

    stored = hub.uploaded("models", "someone/resumos")
    fetched = Path(huggingface_hub.snapshot_download("someone/resumos"))
    for name in ("config.json", "model.safetensors", "sub/ação.txt"):
        data = (model / name).read_bytes()
        assert (stored / name).read_bytes() == data == (fetched / name).read_bytes()
    assert any(line.startswith("PUT /lfs-storage/") for line in hub.requests)


def test_the_model_loads_by_its_hub_name(hub):
    hub_standin.write_t5(hub.folder)
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(PTT5)
    model = AutoModelForSeq2SeqLM.from_pretrained(PTT5)
    text = "A prefeitura de São Luís anunciou um plano."
    ids = tokenizer(text, return_tensors="pt")
    assert ids["input_ids"][0, -1] == tokenizer.eos_token_id == 1
    assert tokenizer.unk_token_id not in ids["input_ids"]
    assert tokenizer.decode(ids["input_ids"][0], skip_special_tokens=True) == text
    assert model.generate(**ids, max_new_tokens=3, min_new_tokens=3).shape[1] == 4
    again = AutoModelForSeq2SeqLM.from_pretrained(PTT5)
    for (name, one), other in zip(model.named_parameters(), again.parameters(), strict=True):
        assert one.equal(other), name


def test_the_environment_alone_is_enough_for_another_process(hub):
    hub_standin.write_t5(hub.folder)
    code = f"from transformers import AutoTokenizer as A; print(len(A.from_pretrained({PTT5!r})))"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, timeout=120
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) > 200
    assert any("spiece.model" in line for line in hub.requests)


def test_serves_from_the_command_line(tmp_path):
    hub_standin.write_parquet(tmp_path, "org/data")
    command = [sys.executable, "-m", "tests.hub_standin", str(tmp_path)]
    root = Path(hub_standin.__file__).parents[1]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        try:
            assert process.stdout is not None
            endpoint = process.stdout.readline().strip().removeprefix("HF_ENDPOINT=")
            assert huggingface_hub.HfApi(endpoint=endpoint).dataset_info("org/data").id
        finally:
            process.terminate()
