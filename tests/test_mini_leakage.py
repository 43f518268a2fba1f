"""The leakage check of experiments/mini: it passes on clean files and names planted copies."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

# By path: the folder also holds an evaluate.py and a train.py, which must not shadow others.
_SPEC = importlib.util.spec_from_file_location(
    "mini_check_leakage",
    Path(__file__).parents[1] / "experiments" / "mini" / "check_leakage.py",
)
assert _SPEC is not None
assert _SPEC.loader is not None
check_leakage = importlib.util.module_from_spec(_SPEC)
sys.modules[_SPEC.name] = check_leakage
_SPEC.loader.exec_module(check_leakage)

HELD_OUT = (
    "O Jardim Botânico abre as portas no domingo com uma exposição de orquídeas trazidas de doze "
    "estados, e os visitantes poderão conversar com os pesquisadores que as cultivam."
)
UNRELATED = (
    "Este pacote reúne ferramentas de linha de comando para converter tabelas entre formatos, "
    "verificar datas e remover linhas repetidas de arquivos muito grandes."
)


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def check(train: Path, held_out: Path) -> tuple[int, str]:
    result = CliRunner().invoke(
        check_leakage.main, ["--train", str(train), "--held-out", str(held_out)]
    )
    return result.exit_code, result.output


@pytest.fixture
def held_out(tmp_path: Path) -> Path:
    rows = [{"id": "h1", "text": HELD_OUT, "package": "orquidea", "split": "test"}]
    return write(tmp_path / "held_out.jsonl", rows)


def test_passes_when_nothing_is_repeated(tmp_path: Path, held_out: Path) -> None:
    train = write(tmp_path / "train.jsonl", [{"id": "t1", "text": UNRELATED, "package": "tabela"}])
    assert check(train, held_out)[0] == 0


@pytest.mark.parametrize(
    ("planted", "reason"),
    [
        ({"text": HELD_OUT, "package": "outro"}, "first 8 words"),
        ({"text": HELD_OUT.upper()}, "first 8 words"),
        ({"text": UNRELATED, "package": "orquidea"}, "same package orquidea"),
        ({"text": "Novidade: " + HELD_OUT.replace("domingo", "sábado")}, "Jaccard"),
    ],
)
def test_names_a_planted_near_duplicate(
    tmp_path: Path, held_out: Path, planted: dict[str, str], reason: str
) -> None:
    rows = [{"id": "t1", "text": UNRELATED, "package": "tabela"}, {"id": "t2", **planted}]
    code, output = check(write(tmp_path / "train.jsonl", rows), held_out)
    assert code == 1
    assert "t2 repeats h1" in output
    assert reason in output
    assert "t1 " not in output


def test_passes_over_rows_of_the_training_split(tmp_path: Path) -> None:
    rows = [{"id": "h1", "text": HELD_OUT, "split": "train"}]
    held_out = write(tmp_path / "held_out.jsonl", rows)
    train = write(tmp_path / "train.jsonl", [{"id": "t1", "text": HELD_OUT}])
    assert check(train, held_out)[0] == 0


def test_similarity_has_its_edge_at_the_threshold() -> None:
    index = check_leakage.NearDuplicateIndex()
    index.add("h1", " ".join(f"a{i}" for i in range(30)))
    below = " ".join(["x", *(f"a{i}" for i in range(12)), *(f"z{i}" for i in range(17))])
    above = " ".join(["x", *(f"a{i}" for i in range(20)), *(f"z{i}" for i in range(9))])
    assert index.near(below) is None
    leak = index.near(above)
    assert leak is not None
    assert leak.held_out == "h1"
