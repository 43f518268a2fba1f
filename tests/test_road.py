"""The whole road in real processes: mlflow run, the registry, mlflow models serve, signals."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

REPO = Path(__file__).resolve().parents[1]
TEXT = "O programa grava a tela do computador e guarda o vídeo em uma pasta escolhida pela pessoa."


@dataclass(frozen=True)
class Road:
    """A folder in which the project was used: its database, its environment, its output."""

    folder: Path
    env: dict[str, str]
    output: str

    @property
    def tracking_uri(self) -> str:
        return f"sqlite:///{self.folder}/mlflow.db"

    def client(self) -> Any:
        from mlflow import MlflowClient

        return MlflowClient(self.tracking_uri)


def _environment(folder: Path) -> dict[str, str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    return env | {
        # mlflow starts python and uvicorn by their bare names.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(REPO / "src"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "HF_HUB_OFFLINE": "1",
    }


def _small(tiny_model: Path, folder: Path) -> dict[str, str]:
    return {
        "model.base_model": str(tiny_model),
        "model.max_source_length": "64",
        "data.max_train_samples": "24",
        "data.max_validation_samples": "8",
        "data.max_test_samples": "8",
        "training.num_train_epochs": "1",
        "training.output_dir": str(folder / "outputs"),
        "generation.max_new_tokens": "8",
        "generation.num_beams": "2",
        # Random weights do not beat LEAD; that the gate then refuses them is tested beside.
        "gate.beat_lead": "false",
    }


@pytest.fixture(scope="module")
def road(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Road:
    folder = tmp_path_factory.mktemp("road")
    env = _environment(folder)
    command = ["mlflow", "run", str(REPO), "--env-manager", "local"]
    command += ["-P", "config=experiments/demo.yaml", "-P", "tuning.r=4"]
    for name, value in _small(tiny_model, folder).items():
        command += ["-P", f"{name}={value}"]
    done = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Road(folder, env, done.stdout + done.stderr)


@pytest.fixture(scope="module")
def run(road: Road) -> Any:
    client = road.client()
    (found,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    return found


def test_run_is_finished_with_the_parameters_given(run: Any) -> None:
    assert run.info.status == "FINISHED"
    assert run.data.params["tuning.r"] == "4"
    assert run.data.params["tuning/r"] == "4"
    assert run.data.params["tuning/method"] == "lora"
    assert run.data.params["generation/num_beams"] == "2"
    assert run.data.params["data/rows_train"] == "24"
    assert "None" not in run.data.params.values()


def test_run_holds_losses_learning_rate_and_rouge(run: Any, road: Road) -> None:
    names = set(run.data.metrics)
    assert {"train/loss", "train/learning_rate", "validation/loss", "validation/rouge1"} <= names
    for protocol in ("unicode", "default", "xlsum_pt"):
        for kind in ("rouge1", "rouge2", "rougeL", "rougeLsum"):
            assert f"test/{protocol}/{kind}" in names
            assert f"test_lead-1/{protocol}/{kind}" in names
    assert "data/train_texts_truncated_share" in names
    assert "data/train_summaries_truncated_share" in names
    assert any(name.startswith("system/") for name in names)
    history = road.client().get_metric_history(run.info.run_id, "train/loss")
    assert [point.step for point in history] == sorted({point.step for point in history})


def test_run_names_its_corpus_commit_and_recipe(run: Any, road: Road) -> None:
    inputs = {entry.dataset.name: entry for entry in run.inputs.dataset_inputs}
    assert set(inputs) == {f"amostra/descricoes/{s}" for s in ("train", "validation", "test")}
    assert all(len(entry.dataset.digest) == 32 for entry in inputs.values())
    assert run.data.tags["mlflow.source.git.commit"]
    assert run.data.tags["data.digest"]
    note = run.data.tags["mlflow.note.content"]
    assert "amostra/descricoes" in note and "lead-1" in note and "champion" in note
    files = _files(road, run.info.run_id)
    expected = {"recipe.yaml", "samples.json", "evaluation.json", "promotion.json"}
    expected |= {"curves/loss.png", "curves/rouge.png", "curves/learning_rate.png"}
    expected |= {"adapter/adapter_model.safetensors", "adapter/adapter_config.json"}
    assert expected <= files
    assert not [name for name in files if name.endswith((".bin", ".pkl", ".pt"))]


def test_samples_show_text_reference_prediction_and_rouge(run: Any, road: Road) -> None:
    table = json.loads(_artifact(road, run.info.run_id, "samples.json").read_text("utf-8"))
    wanted = {"id", "text", "reference", "prediction", "lead-1", "rouge1", "rougeLsum"}
    assert wanted <= set(table["columns"])
    assert len(table["data"]) == 8


def test_recipe_repeats_the_run(run: Any, road: Road) -> None:
    from sintese import recipes

    again = recipes.load(_artifact(road, run.info.run_id, "recipe.yaml"))
    assert again.tuning.r == 4
    assert recipes.flat(again)["tuning/r"] == int(run.data.params["tuning/r"])


def test_version_leads_back_to_run_data_and_metrics(run: Any, road: Road) -> None:
    version = road.client().get_model_version_by_alias("sintese", "champion")
    assert version.version == "1" or version.version == 1
    assert version.run_id == run.info.run_id
    assert version.tags["data.digest"] == run.data.tags["data.digest"]
    assert float(version.tags["test.unicode.rouge1"]) == run.data.metrics["test/unicode/rouge1"]
    assert version.tags["gate.promoted"] == "true"
    assert "lead-1" in version.description
    challenger = road.client().get_model_version_by_alias("sintese", "challenger")
    assert challenger.version == version.version


def test_registered_weights_are_the_trained_ones(
    road: Road, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails when the base model is logged, as it was in the project this one replaces."""
    from safetensors.torch import load_file

    directory = _fetch(road, monkeypatch)
    served = load_file(directory / "model.safetensors")
    base = load_file(tiny_model / "model.safetensors")
    adapted = [name for name in base if name.endswith(("q.weight", "v.weight", "wo.weight"))]
    assert adapted
    changed = [name for name in adapted if not served[name].equal(base[name])]
    assert changed == adapted

    manifest = json.loads((directory / "sintese.json").read_text("utf-8"))
    assert manifest["base_model"] == str(tiny_model)
    assert len(manifest["base_digest"]) == 64


def test_served_weights_are_base_plus_adapter(
    road: Road, run: Any, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The logged adapter on the base model gives the very logits of the registered version."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForSeq2SeqLM

    directory = _fetch(road, monkeypatch)
    adapter = _artifact(road, run.info.run_id, "adapter")
    base = AutoModelForSeq2SeqLM.from_pretrained(tiny_model)
    tuned = PeftModel.from_pretrained(base, adapter).eval()
    served = AutoModelForSeq2SeqLM.from_pretrained(directory).eval()
    ids = torch.tensor([[5, 6, 7, 8, 1]])
    with torch.inference_mode():
        expected = tuned(input_ids=ids, decoder_input_ids=ids).logits
        found = served(input_ids=ids, decoder_input_ids=ids).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_worse_model_stays_challenger(road: Road, tiny_model: Path) -> None:
    """The same recipe again scores the same, which is not better: the champion stays."""
    done = _train(road, tiny_model)
    assert done.returncode == 0, done.stderr
    assert "not promoted" in done.stdout and "does not exceed" in done.stdout
    client = road.client()
    assert str(client.get_model_version_by_alias("sintese", "champion").version) == "1"
    newest = client.get_model_version_by_alias("sintese", "challenger")
    assert str(newest.version) == "2"
    assert newest.tags["gate.promoted"] == "false"


def test_model_below_lead_is_registered_but_never_champion(road: Road, tiny_model: Path) -> None:
    done = _train(road, tiny_model, **{"gate.beat_lead": "true", "registered_model_name": "abaixo"})
    assert done.returncode == 0, done.stderr
    client = road.client()
    assert "champion" not in client.get_registered_model("abaixo").aliases
    version = client.get_model_version_by_alias("abaixo", "challenger")
    assert "does not exceed" in version.tags["gate.reason"]


@pytest.mark.parametrize(
    ("signal_sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"]
)
def test_interrupted_training_is_recorded_as_killed(
    road: Road, tiny_model: Path, signal_sent: int, code: int
) -> None:
    overrides = {"num_train_epochs": "500", "eval_strategy": "no", "run_name": f"cut-{code}"}
    process = subprocess.Popen(
        _command(road, tiny_model, **overrides),
        cwd=road.folder,
        env=road.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if "» training" in line:
            break
    else:
        pytest.fail(seen)
    time.sleep(3)
    process.send_signal(signal_sent)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == code, output
    assert "Traceback" not in output
    (run,) = _runs(road, f"cut-{code}")
    assert run.info.status == "KILLED"


def test_training_starts_again_after_an_interruption(road: Road, tiny_model: Path) -> None:
    done = _train(road, tiny_model, run_name="afterwards", **{"tracking.register_model": "false"})
    assert done.returncode == 0, done.stderr
    (run,) = _runs(road, "afterwards")
    assert run.info.status == "FINISHED"
    assert not [r for r in _runs(road, None) if r.info.status == "RUNNING"]


def test_failed_training_is_recorded_as_failed(road: Road, tiny_model: Path) -> None:
    done = _train(road, tiny_model, run_name="broken", **{"tuning.target_modules": "nothing"})
    assert done.returncode == 2
    assert "tuning.target_modules" in done.stderr and "Traceback" not in done.stderr
    (run,) = _runs(road, "broken")
    assert run.info.status == "FAILED"
    assert "target_modules" in run.data.tags["error"]


def test_every_fault_is_told_before_any_work(road: Road, tmp_path: Path) -> None:
    table = tmp_path / "dados.csv"
    rows = "".join(f"texto número {i} um pouco mais longo,resumo {i}\n" for i in range(40))
    table.write_text("texto,resumo\n" + rows, "utf-8")
    runs_before = len(_runs(road, None))
    done = subprocess.run(
        [
            *(sys.executable, str(REPO / "train.py"), "--dataset", str(table)),
            *("--learning_rate", "0", "--precision", "fp16", "--warmup_steps", "9999"),
            *("--text_colum", "texto", "--training.lerning_rate", "1"),
        ],
        cwd=road.folder,
        env=road.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for expected in (
        "did you mean 'data.text_column'",
        "did you mean 'training.learning_rate'",
        "greater than 0",
        "fp16",
        "9999 steps of warm-up",
        "data.text_column: no column",
        "data.summary_column: no column",
    ):
        assert expected in done.stderr, done.stderr
    assert len(_runs(road, None)) == runs_before


@pytest.fixture(scope="module")
def server(road: Road) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = (road.folder / "serve.log").open("w")
    process = subprocess.Popen(
        [
            *("mlflow", "models", "serve", "-m", "models:/sintese@champion"),
            *("--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)),
        ],
        cwd=road.folder,
        # Without the project on the path: the version must bring all it needs.
        env={k: v for k, v in road.env.items() if k != "PYTHONPATH"},
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{url}/ping", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None, (road.folder / "serve.log").read_text()
                time.sleep(0.5)
        else:
            pytest.fail((road.folder / "serve.log").read_text())
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)
        log.close()


def test_server_answers_inputs_and_dataframe_split_alike(server: str) -> None:
    params = {"num_beams": 1, "max_new_tokens": 6, "length_penalty": 1.0, "no_repeat_ngram_size": 2}
    first = _invoke(server, {"inputs": [TEXT, "Um editor de textos."], "params": params})
    table = {"columns": ["text"], "data": [[TEXT], ["Um editor de textos."]]}
    second = _invoke(server, {"dataframe_split": table, "params": params})
    assert first == second
    assert len(first["predictions"]) == 2
    assert all(isinstance(text, str) and text for text in first["predictions"])


def test_server_gives_what_the_engine_gives(
    server: str, road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sintese.summarizer import load

    engine = load(_fetch(road, monkeypatch))
    answer = _invoke(server, {"inputs": [TEXT]})
    assert answer["predictions"] == engine.summarize([TEXT])
    longer = {"max_new_tokens": 20, "min_new_tokens": 12, "num_beams": 3}
    answer = _invoke(server, {"inputs": [TEXT], "params": longer})
    assert answer["predictions"] == engine.using(**longer).summarize([TEXT])


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"inputs": [null]}', "text 1 is missing (null)"),
        ('{"inputs": ["bom", null]}', "text 2 is missing (null)"),
        ('{"inputs": null}', "NoneType"),
        ('{"inputs": 5}', "text 1 is 5, which is not a text"),
        ('{"inputs": [5]}', "text 1 is 5, which is not a text"),
        ('{"inputs": [""]}', "text 1 is blank"),
        ('{"dataframe_split": {"columns": ["text"], "data": [["  "]]}}', "text 1 is blank"),
        ('{"dataframe_split": {"columns": ["text"], "data": [[null]]}}', "missing (null)"),
        ('{"inputs": ["a"', "valid JSON"),
        ("[]", "JSON dictionary"),
        ('{"inputs": ["a"], "params": {"num_beams": 0}}', "num_beams=0"),
        ('{"inputs": ["a"], "params": {"num_beams": "dois"}}', "num_beams"),
    ],
)
def test_server_refuses_what_is_no_text(server: str, body: str, words: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        _post(server, body.encode())
    with caught.value as error:
        assert 400 <= error.code < 500
        answer = json.load(error)
    assert words in answer["message"]
    assert "stack_trace" not in answer and "Traceback" not in json.dumps(answer)


def _command(road: Road, tiny_model: Path, **overrides: str) -> list[str]:
    command = [sys.executable, str(REPO / "train.py"), "--config"]
    command += [str(REPO / "experiments" / "demo.yaml")]
    for name, value in (_small(tiny_model, road.folder) | {"tuning.r": "4"} | overrides).items():
        command += [f"--{name}", value]
    return command


def _train(road: Road, tiny_model: Path, **overrides: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _command(road, tiny_model, **overrides),
        cwd=road.folder,
        env=road.env,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def _runs(road: Road, name: str | None) -> list[Any]:
    client = road.client()
    found = client.search_runs([e.experiment_id for e in client.search_experiments()])
    return [r for r in found if name is None or r.info.run_name == name]


def _files(road: Road, run_id: str, path: str | None = None) -> set[str]:
    found: set[str] = set()
    for entry in road.client().list_artifacts(run_id, path):
        found |= _files(road, run_id, entry.path) if entry.is_dir else {entry.path}
    return found


def _artifact(road: Road, run_id: str, path: str) -> Path:
    return Path(road.client().download_artifacts(run_id, path))


def _fetch(road: Road, monkeypatch: pytest.MonkeyPatch) -> Path:
    import mlflow

    from sintese.tracking import registry

    monkeypatch.chdir(road.folder)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(road.tracking_uri)
    try:
        return registry.fetch("models:/sintese@champion")
    finally:
        mlflow.set_tracking_uri(before)


def _invoke(server: str, content: dict[str, Any]) -> Any:
    return _post(server, json.dumps(content).encode())


def _post(server: str, body: bytes) -> Any:
    request = urllib.request.Request(
        f"{server}/invocations", data=body, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)
