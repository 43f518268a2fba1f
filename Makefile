# make demo   the whole road on embedded data, offline once installed
# make test   all tests that need neither a GPU nor the internet
# make check  lint, format, types, import layers
# make bench  benchmarks against peers (NAME=help for one)
#
# PYTHON chooses the interpreter (3.11 to 3.13):  make demo PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# MLflow starts programs of the environment (uvicorn) by their bare names.
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Nothing is sent to anybody.
export MLFLOW_DISABLE_TELEMETRY := true
export HF_HUB_DISABLE_TELEMETRY := 1
export GRADIO_ANALYTICS_ENABLED := False

.PHONY: help setup setup-dev demo test test-slow check format bench clean

help:
	@sed -n 's/^# //p' Makefile | head -4

setup: $(VENV)/.installed

setup-dev: $(VENV)/.installed-dev

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "error: $(PYTHON) is not Python 3.11 to 3.13: make PYTHON=python3.12 ..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

# torch first and alone: asked for as a dependency, pip would look for the newest one, and a CPU
# build that PIP_FIND_LINKS or PIP_EXTRA_INDEX_URL offers would go unseen.
$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet "torch==$$(sed -n 's/^torch==//p' constraints.txt)"
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,server]'
	@touch $@

demo: $(VENV)/.installed
	HF_HUB_OFFLINE=1 $(BIN)/python train.py --config experiments/demo.yaml
	@echo "(in a new shell, first: source $(VENV)/bin/activate)"

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest

test-slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m "slow and not gpu and not network"

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks $(NAME)

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
