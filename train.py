"""Fine-tune a summarization model: `python train.py --config experiments/demo.yaml`.

The same command as `sintese train`, at the place where MLflow Projects and people expect it.
"""

from sintese.cli import train

if __name__ == "__main__":
    train(prog_name="train.py")
