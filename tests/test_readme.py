"""Commands in the READMEs and docs exist, with the options that are shown, and the two agree."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from sintese import cli, recipes

REPO = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "README.pt-BR.md")


def _commands(page: str) -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", (REPO / page).read_text("utf-8"), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


@pytest.mark.parametrize("page", PAGES)
def test_commands_exist(page: str) -> None:
    commands = _commands(page)
    assert len(commands) > 8
    for command in commands:
        _check(command)


def _check(command: str) -> None:
    program, *arguments = shlex.split(command)
    if program == "make":
        targets = re.findall(r"^([\w-]+):", (REPO / "Makefile").read_text("utf-8"), re.MULTILINE)
        assert set(arguments) <= set(targets), command
    elif program == "python":
        script, *options = arguments
        assert (REPO / script).is_file(), command
        if script == "train.py":
            _check_recipe(options)
    elif program == "sintese":
        name, *options = arguments
        subcommand = cli.main.commands[name]
        if name == "train":
            _check_recipe(options)
        else:
            known = {o for p in subcommand.params if isinstance(p, click.Option) for o in p.opts}
            assert {o for o in options if o.startswith("--")} <= known, command
    elif program == "mlflow" and arguments[0] == "run":
        pairs = [
            a.split("=", 1) for a, b in zip(arguments[1:], arguments, strict=False) if b == "-P"
        ]
        given = dict(pairs)
        _check_recipe(["--config", given.pop("config")])
        recipes.draft({}, {recipes.resolve_name(k): v for k, v in given.items()})
    else:
        assert program in ("mlflow", "source", "curl"), command


def _check_recipe(options: list[str]) -> None:
    pairs, faults = cli._pairs(options)
    assert not faults
    for name, value in pairs:
        if name == "config":
            assert (REPO / value).is_file(), value
        else:
            recipes.resolve_name(name)


def test_both_languages_show_the_same_commands() -> None:
    """File names may be translated; programs, options and their order may not differ."""
    bare = [[re.sub(r"\w+\.(jsonl?|txt|csv|zip)", "FILE", c) for c in _commands(p)] for p in PAGES]
    assert bare[0] == bare[1]


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md", "docs/containers.md"])
def test_links_lead_somewhere(page: str) -> None:
    text = (REPO / page).read_text("utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert ((REPO / page).parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES)
def test_tables_name_every_recipe_and_source(page: str) -> None:
    from sintese import datasets

    text = (REPO / page).read_text("utf-8")
    for path in (REPO / "experiments").glob("*.yaml"):
        assert f"| `{path.stem}` |" in text
    for name in datasets.available():
        assert f"| `{name}` |" in text
