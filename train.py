"""Fine-tune a summarization model: `python train.py --config experiments/demo.yaml`.

The same command as `sintese train`, at the place where MLflow Projects and people expect it.
"""

import sys
from pathlib import Path

# An environment made by MLflow from conda.yaml holds the dependencies, not this project.
sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))

from sintese.cli import train

if __name__ == "__main__":
    train(prog_name="train.py")
