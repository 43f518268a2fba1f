"""How long a person waits for `--help`, cold, against MLflow's own command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks import interleaved, table

_REPO = Path(__file__).resolve().parents[1]


def run() -> str:
    """Return the table."""

    def ask(*command: str) -> None:
        subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL, cwd=_REPO)

    cli = "from sintese.cli import main; main(prog_name='sintese')"
    timings = interleaved(
        {
            "python train.py --help": lambda: ask("train.py", "--help"),
            "sintese --help": lambda: ask("-c", cli, "--help"),
            "python mlflow_up.py --help": lambda: ask("mlflow_up.py", "--help"),
            "mlflow --help": lambda: ask("-m", "mlflow", "--help"),
        }
    )
    return table(
        timings, peers=("mlflow --help",), reach="0.25 s or less, 8 × faster than mlflow --help"
    )
