"""Every shipped recipe resolves; two of them run, unmodified, against a stand-in of the hub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import hub_standin
import pytest
import yaml
from hub_standin import Hub, hub  # noqa: F401 - the fixture

from sintese import config, datasets, recipes

REPO = Path(__file__).resolve().parents[1]
RECIPES = sorted((REPO / "experiments").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_resolves(path: Path) -> None:
    found = recipes.load(path)
    assert found.name.replace("-", "_") == path.stem
    assert found.description.endswith(".")
    assert found.data.source in datasets.available()


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_says_only_what_differs(path: Path) -> None:
    """A field at its default is noise: whoever reads the recipe looks for a reason for it."""
    raw = yaml.safe_load(path.read_text("utf-8"))
    defaults = config.RunConfig().model_dump(mode="json")
    told = {"data.source", "model.base_model", "tuning.method", "tuning.r", "tuning.lora_alpha"}
    told |= {f"model.max_{side}_length" for side in ("source", "target")}
    told |= {f"training.{name}" for name in ("num_train_epochs", "learning_rate", "warmup_ratio")}
    told |= {"training.per_device_train_batch_size", "training.per_device_eval_batch_size"}
    told |= {"training.lr_scheduler_type", "evaluation.protocol"}
    told |= {f"data.{side}_share" for side in ("validation", "test")}
    same = [
        f"{section}.{name}"
        for section, fields in raw.items()
        if isinstance(fields, dict)
        for name, value in fields.items()
        if defaults[section][name] == value
        and f"{section}.{name}" not in told
        and section not in ("generation", "tracking")
    ]
    assert same == []


def test_xlsum_recipe_runs_unmodified_from_the_hub(hub: Hub, tmp_path: Path) -> None:  # noqa: F811
    hub_standin.write_xlsum(hub.folder)
    hub_standin.write_t5(hub.folder)
    output, run = _train(tmp_path, "ptt5_xlsum_full.yaml")
    assert run.data.params["model/base_model"] == "unicamp-dl/ptt5-base-portuguese-vocab"
    assert run.data.params["tuning/method"] == "full"
    assert run.data.tags["data.licence"] == "CC-BY-NC-SA-4.0"
    assert "12 train, 4 validation, 4 test" in output
    assert "xlsum_pt (decides)" in output


def test_temario_recipe_runs_unmodified_from_a_file(hub: Hub, tmp_path: Path) -> None:  # noqa: F811
    hub_standin.write_t5(hub.folder)
    rows = tmp_path / "temario.jsonl"
    lines = [json.dumps(row, ensure_ascii=False) for row in hub_standin.temario()]
    rows.write_text("\n".join(lines), "utf-8")
    output, run = _train(tmp_path, "ptt5_temario_lora.yaml", "--data.path", str(rows))
    assert run.data.params["tuning/method"] == "lora"
    assert "14 train, 2 validation, 4 test" in output


def test_temario_recipe_runs_from_the_hub(hub: Hub, tmp_path: Path) -> None:  # noqa: F811
    hub_standin.write_t5(hub.folder)
    hub_standin.write_temario(hub.folder)
    arguments = ("--data.hub_id", "standin/temario", "--max_steps", "2", "--num_beams", "1")
    output, run = _train(tmp_path, "ptt5_temario_lora.yaml", *arguments)
    assert run.info.status == "FINISHED"
    assert "14 train, 2 validation, 4 test" in output


@hub_standin.uploading
def test_trained_model_is_pushed_with_its_card(hub: Hub, tmp_path: Path) -> None:  # noqa: F811
    hub_standin.write_t5(hub.folder)
    hub_standin.write_temario(hub.folder)
    arguments = ("--data.hub_id", "standin/temario", "--max_steps", "1", "--num_beams", "1")
    arguments += ("--push_to_huggingface", "pessoa/resumidor")
    output, _ = _train(tmp_path, "ptt5_temario_lora.yaml", *arguments, HF_TOKEN=hub_standin.TOKEN)
    assert "uploaded to" in output
    pushed = hub.uploaded("models", "pessoa/resumidor")
    names = {path.name for path in pushed.rglob("*") if path.is_file()}
    assert {"README.md", "config.json", "model.safetensors", "sintese.json"} <= names
    card = (pushed / "README.md").read_text("utf-8")
    assert "lead-3" in card and "Licence of the corpus" in card
    assert hub_standin.TOKEN not in output


def test_push_without_a_token_is_refused_beforehand(hub: Hub, tmp_path: Path) -> None:  # noqa: F811
    hub_standin.write_temario(hub.folder)
    command = [sys.executable, str(REPO / "train.py"), "--dataset", "temario"]
    command += ["--data.hub_id", "standin/temario", "--push_to_huggingface", "pessoa/resumidor"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "HF_TOKEN" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "mlflow.db").exists()


def _train(folder: Path, recipe: str, *arguments: str, **environment: str) -> tuple[str, Any]:
    from mlflow import MlflowClient

    uri = f"sqlite:///{folder}/mlflow.db"
    env = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    path = REPO / "experiments" / recipe
    done = subprocess.run(
        [sys.executable, str(REPO / "train.py"), "--config", str(path), *arguments],
        cwd=folder,
        env=env | {"MLFLOW_TRACKING_URI": uri, "MLFLOW_DISABLE_TELEMETRY": "true"} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    client = MlflowClient(uri)
    experiment = client.search_experiments()[0]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    return done.stdout, run
