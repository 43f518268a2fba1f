"""Runs end truthfully, and models come back out of the registry as they went in."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sintese import config, models
from sintese.config import GenerationConfig
from sintese.errors import TrackingError
from sintese.tracking import registry, runs

pytestmark = [
    # pyfunc asks for type hints of a kind that would let it turn null into "None".
    pytest.mark.filterwarnings("ignore:.*type hint.*:UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tracking database without runs; MLflow takes seconds to create its tables."""
    from mlflow import MlflowClient

    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{file}").create_experiment("made to create the tables")
    return file


@pytest.fixture
def store(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An empty tracking database in a folder of its own."""
    import mlflow

    shutil.copy(empty_store, tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    yield mlflow
    mlflow.end_run()
    mlflow.set_tracking_uri(before)


@pytest.fixture(scope="module")
def exported(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory as a run exports it."""
    loaded = config.ModelConfig(base_model=str(tiny_model), max_source_length=64)
    tokenizer = models.load_tokenizer(loaded)
    directory = tmp_path_factory.mktemp("exported") / "model"
    models.save(
        models.load_base(loaded, tokenizer, seed=0),
        tokenizer,
        directory,
        manifest=models.Manifest(
            base_model="tiny",
            base_digest="0" * 64,
            source_prefix="",
            max_source_length=64,
            generation=GenerationConfig(max_new_tokens=6, num_beams=1),
        ),
    )
    return directory


def _quiet(**tracking: Any) -> config.RunConfig:
    plain = config.RunConfig()
    changed = {"system_metrics": False, "experiment_name": "provas", **tracking}
    return replace_section(plain, "tracking", changed)


def replace_section(
    found: config.RunConfig, section: str, changed: dict[str, Any]
) -> config.RunConfig:
    part = getattr(found, section).model_copy(update=changed)
    return found.model_copy(update={section: part})


def test_run_ends_finished_failed_or_killed(store: Any) -> None:
    statuses = {}
    for name, raised in (("fine", None), ("broken", ValueError("oh")), ("cut", KeyboardInterrupt)):
        try:
            with runs.start(_quiet(run_name=name)) as run:
                if raised is not None:
                    raise raised
        except (ValueError, KeyboardInterrupt):
            pass
        statuses[name] = store.get_run(run.id)
    assert {k: r.info.status for k, r in statuses.items()} == {
        "fine": "FINISHED",
        "broken": "FAILED",
        "cut": "KILLED",
    }
    assert statuses["broken"].data.tags["error"] == "ValueError: oh"


def test_experiment_says_what_it_is(store: Any) -> None:
    with runs.start(_quiet()):
        pass
    experiment = store.get_experiment_by_name("provas")
    assert "digest" in experiment.tags["mlflow.note.content"]


def test_params_leave_out_what_is_not_set_and_join_lists(store: Any) -> None:
    with runs.start(_quiet()) as run:
        run.params({"a": None, "b": ("q", "v"), "c": 0.5, "long": "x" * 7000})
    params = store.get_run(run.id).data.params
    assert params["b"] == "q, v"
    assert params["c"] == "0.5"
    assert "a" not in params
    assert len(params["long"]) == 6000


def test_server_that_does_not_answer_is_said_at_once() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(TrackingError, match=rf"no tracking server at http://127.0.0.1:{port}"):
        runs._reach(f"http://127.0.0.1:{port}")


def test_model_comes_back_and_answers_the_same(store: Any, exported: Path) -> None:
    from sintese.summarizer import load

    version = _registered(store, exported)
    assert version.number == 1
    fetched = registry.fetch("models:/modelo/1")
    texts = ["Um programa para desenhar.", "Jogo de cartas."]
    assert load(fetched).summarize(texts) == load(exported).summarize(texts)


def test_logged_model_is_self_contained_and_free_of_pickles(store: Any, exported: Path) -> None:
    version = _registered(store, exported)
    root = Path(store.artifacts.download_artifacts(version.uri))
    names = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    assert "model.py" in names
    assert "code/sintese/engines/hf.py" in names
    assert not [n for n in names if n.startswith("code/sintese/tracking")]
    assert not [n for n in names if n.endswith((".pkl", ".bin", ".pt"))]
    requirements = (root / "requirements.txt").read_text("utf-8")
    assert "torch==" in requirements and "+cpu" not in requirements
    signature = store.models.get_model_info(str(root)).signature
    params = {spec.name: spec.default for spec in signature.params}
    assert params == GenerationConfig(max_new_tokens=6, num_beams=1).model_dump()


def test_alias_that_nobody_set_is_none(store: Any) -> None:
    assert registry.by_alias("modelo", "champion") is None


def test_alias_of_a_known_model_that_nobody_set_is_none(store: Any, exported: Path) -> None:
    _registered(store, exported)
    assert registry.by_alias("modelo", "champion") is None


def test_follower_says_what_to_do_when_there_is_no_champion(store: Any) -> None:
    with pytest.raises(TrackingError, match=r"no model modelo@champion .* train one"):
        registry.Follower("modelo").current()


def test_follower_follows_the_alias(store: Any, exported: Path) -> None:
    first = _registered(store, exported)
    registry.set_alias(first, "champion")
    follower = registry.Follower("modelo", every=0.0)
    assert follower.current().name == "modelo v1"
    assert follower.current() is follower.current()
    registry.set_alias(_registered(store, exported), "champion")
    assert follower.current().name == "modelo v2"


def test_follower_keeps_serving_when_the_new_version_is_damaged(
    store: Any, exported: Path, tmp_path: Path
) -> None:
    registry.set_alias(_registered(store, exported), "champion")
    follower = registry.Follower("modelo", every=0.0)
    assert follower.current().name == "modelo v1"
    damaged = tmp_path / "damaged"
    shutil.copytree(exported, damaged)
    (damaged / "model.safetensors").write_bytes(b"not tensors")
    registry.set_alias(_registered(store, damaged), "champion")
    assert follower.current().name == "modelo v1"
    assert follower.current().summarize(["Um jogo."])


def test_follower_keeps_serving_when_the_alias_is_taken_away(store: Any, exported: Path) -> None:
    registry.set_alias(_registered(store, exported), "champion")
    follower = registry.Follower("modelo", every=0.0)
    follower.current()
    store.MlflowClient().delete_registered_model_alias("modelo", "champion")
    assert follower.current().name == "modelo v1"


def test_fetching_what_was_not_made_here_is_said_in_one_line(store: Any, tmp_path: Path) -> None:
    empty = tmp_path / "vazio"
    empty.mkdir()
    with pytest.raises(TrackingError, match="holds no model made by Síntese"):
        registry.fetch(str(empty))
    with pytest.raises(TrackingError, match="cannot fetch models:/nada/1") as caught:
        registry.fetch("models:/nada/1")
    assert "\n" not in str(caught.value)


def test_served_code_is_the_smallest_set_that_imports(tmp_path: Path) -> None:
    """What is frozen into a version imports on its own, without the rest of the project."""
    import subprocess
    import sys

    registry._copy_serving_modules(tmp_path / "sintese")
    done = subprocess.run(
        [sys.executable, "-c", "import sintese.summarizer, sintese.engines.hf, sys, json;"
         "print(json.dumps([n for n in sys.modules if n.startswith('sintese')]))"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )  # fmt: skip
    copied = {p.stem for p in (tmp_path / "sintese").rglob("*.py") if p.stem != "__init__"}
    imported = {name.rpartition(".")[2] for name in json.loads(done.stdout)}
    assert copied <= imported


def _registered(store: Any, directory: Path) -> registry.Version:
    with runs.start(_quiet()):
        uri = registry.log_model(
            directory,
            generation=GenerationConfig(max_new_tokens=6, num_beams=1),
            metrics={"test/unicode/rouge1": 1.0},
        )
        return registry.register(uri, "modelo", tags={"a": "b"}, description="um modelo")


def test_tags_are_added_to_a_version(store: Any, exported: Path) -> None:
    version = registry.tag(_registered(store, exported), {"gate.promoted": "true"})
    again = registry.by_alias("modelo", "champion")
    assert again is None
    registry.set_alias(version, "champion")
    again = registry.by_alias("modelo", "champion")
    assert again == replace(version)
