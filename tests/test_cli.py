"""The command line: what it reads, what it refuses and what it loads to say so."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

from sintese import cli, metrics, recipes
from sintese.errors import Fault

HEAVY = (
    *("torch", "transformers", "mlflow", "gradio", "datasets", "peft", "pandas", "numpy"),
    *("accelerate", "evaluate", "nltk", "rouge_score", "matplotlib", "pyarrow", "huggingface_hub"),
)


@pytest.fixture(autouse=True)
def _environment_as_it_was():
    """Commands set environment defaults for their process, which is this one."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


def run(*arguments: str, **options):
    """Run `sintese` with these arguments, as a person would see it."""
    return CliRunner().invoke(cli.main, list(arguments), prog_name="sintese", **options)


def refused(*arguments: str) -> list[str]:
    """Return what `sintese` says when it refuses these arguments as wrong usage."""
    found = run(*arguments)
    assert found.exit_code == 2, found.output
    assert "Traceback" not in found.output and found.stdout == ""
    return found.stderr.splitlines()


# Pairs


@pytest.mark.parametrize(
    ("arguments", "pairs", "faults"),
    [
        ([], [], []),
        (["--a", "b"], [("a", "b")], []),
        (["--a=b"], [("a", "b")], []),
        (["--a=b=c"], [("a", "b=c")], []),
        (["--a="], [("a", "")], []),
        (["--a", ""], [("a", "")], []),
        (["--a.b-c", "d e"], [("a.b-c", "d e")], []),
        (["--a", "-1"], [("a", "-1")], []),
        (["--a=--b"], [("a", "--b")], []),
        (["--a", "1", "--a", "2"], [("a", "1"), ("a", "2")], []),
        (["--a"], [], [("--a", "needs a value")]),
        (["--a", "--b", "1"], [("b", "1")], [("--a", "needs a value")]),
        (["--a", "--b"], [], [("--a", "needs a value"), ("--b", "needs a value")]),
        (
            ["--a", "--b=1", "--c"],
            [("b", "1")],
            [("--a", "needs a value"), ("--c", "needs a value")],
        ),
        (["a=b"], [], [("a=b", "is no option; write --section.field VALUE")]),
        (["-a", "--b", "1"], [("b", "1")], [("-a", "is no option; write --section.field VALUE")]),
    ],
)
def test_arguments_become_pairs_and_faults(arguments, pairs, faults):
    assert cli._pairs(arguments) == (pairs, [Fault(*fault) for fault in faults])


# Help


@pytest.mark.parametrize(
    "start",
    [
        ["train.py", "--help"],
        ["sintese", "--help"],
        ["sintese", "--version"],
        ["sintese", "train", "--help"],
        ["sintese", "evaluate", "-h"],
        ["sintese", "summarize", "--help"],
        ["sintese", "ui", "--help"],
    ],
    ids=" ".join,
)
def test_help_loads_nothing_heavy(start, repo):
    program, *arguments = start
    run_it = (
        f"runpy.run_path({str(repo / 'train.py')!r}, run_name='__main__')"
        if program == "train.py"
        else "from sintese.cli import main; main(prog_name='sintese')"
    )
    code = (
        "import runpy, sys\n"
        f"sys.argv = {[program, *arguments]!r}\n"
        f"try:\n    {run_it}\n"
        "except SystemExit as end:\n"
        "    print(f'code {end.code}', *sorted(sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=repo,
        env={**os.environ, "PYTHONPATH": str(repo / "src")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    code, *modules = done.stderr.removeprefix("code ").split()
    assert (done.returncode, code) == (0, "0"), done.stderr
    assert "sintese.cli" in modules
    assert [name for name in HEAVY if name in modules] == []
    assert program.removesuffix(".py") in done.stdout or "--version" in arguments


def test_the_help_of_train_lists_every_field_and_alias():
    found = run("train", "--help")
    assert found.exit_code == 0
    listed = set(re.findall(r"--([\w.]+)", found.output))
    assert set(recipes.fields()) <= listed
    assert set(recipes.ALIASES) <= listed
    assert {"config", "check", "help"} <= listed
    # Lines are broken at spaces and hyphens to fit the terminal.
    unbroken = "".join(found.output.split())
    for name, (kind, description, default) in recipes.fields().items():
        shown = "" if default in (None, "") else f"[default: {default}]"
        assert "".join(f"--{name} {kind} {description} {shown}".split()) in unbroken, name


def test_the_help_of_sintese_lists_its_commands():
    found = run("--help")
    assert found.exit_code == 0
    for name in cli.main.commands:
        assert re.search(rf"^  {name} ", found.output, flags=re.MULTILINE)


# Refusals


def test_an_unknown_command_is_refused():
    assert refused("trian")[-1].startswith("Error: No such command 'trian'")


def test_one_fault_is_one_line(tmp_path):
    lines = refused("train", "--config", str(tmp_path / "none.yaml"))
    assert lines == [f"error: --config: no file {tmp_path / 'none.yaml'}"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--lernin_rate", "3"], "error: --lernin_rate: unknown option; did you mean "),
        (["--revision", "main"], "error: --revision: is ambiguous: write data.revision or "),
        (["--seed"], "error: --seed: needs a value"),
        (["--learning_rate", "0"], "error: training.learning_rate: '0' should be greater than 0"),
        (["--num_beams", "--check"], "error: --num_beams: needs a value"),
        (["demo.yaml"], "error: demo.yaml: is no option"),
        (["--dataset", "temaryo"], "error: data.source: unknown corpus 'temaryo'; did you mean "),
        (["--subset", "noticia"], "error: unknown subset of amostra 'noticia'; did you mean "),
    ],
)
def test_a_fault_on_the_command_line_is_one_line(arguments, line):
    (found,) = refused("train", *arguments)
    assert found.startswith(line)


def test_several_faults_are_listed_together(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("training: {learning_rate: 0}\ntranig: {}\n", encoding="utf-8")
    head, *faults = refused(
        *("train", "--config", str(path), "--precision", "fp16"),
        *("--seed", "--lernin_rate=1", "oops", "--text_column", "corpo"),
    )
    assert head == f"error: {len(faults)} faults in the configuration"
    assert all(fault.startswith("  ") for fault in faults)
    said = "\n".join(faults)
    for where in (
        *("--seed: needs a value", "--lernin_rate: unknown option", "oops: is no option"),
        *("tranig: unknown section", "training.learning_rate: 0 should be greater than 0"),
        *("training.precision: fp16 overflows", "data.text_column"),
    ):
        assert where in said
    assert len(faults) == 7


def test_an_unknown_subset_does_not_hide_the_other_faults():
    lines = refused("train", "--subset", "noticia", "--learning_rate", "0")
    assert any("did you mean 'noticias'" in line for line in lines)
    assert any("should be greater than 0" in line for line in lines)


def test_a_missing_recipe_does_not_hide_the_other_faults(tmp_path):
    lines = refused("train", "--config", str(tmp_path / "none.yaml"), "--lernin_rate", "1")
    assert any("no file" in line for line in lines)
    assert any("--lernin_rate: unknown option" in line for line in lines)


def test_a_sound_recipe_can_be_checked_without_training(tmp_path):
    found = run(
        *("train", "--check", "--max_steps", "7", "--learning_rate=3e-3"),
        *("--length_penalty", "-1", "--target_modules", "q,v", "--output_dir", str(tmp_path)),
    )
    assert (found.exit_code, found.stderr) == (0, "")
    assert found.stdout.startswith("corpus amostra/descricoes: ")
    assert found.stdout.endswith("the recipe is fine\n")
    assert not list(tmp_path.iterdir())


# evaluate --predictions


@pytest.fixture
def predictions(tmp_path):
    path = tmp_path / "made.jsonl"
    rows = [
        {"id": "1", "prediction": "O avô fez pão.", "reference": "A avó fez pão."},
        {"id": "2", "prediction": "Não é ação. Nem reação.", "reference": "Não é ação."},
    ]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def test_evaluate_writes_the_scores_in_the_agreed_form(predictions, tmp_path):
    out = tmp_path / "scores.json"
    found = run("evaluate", "--predictions", str(predictions), "--json", str(out))
    assert (found.exit_code, found.stderr) == (0, "")
    written = json.loads(out.read_text(encoding="utf-8"))
    assert list(written) == ["n", "rouge"]
    assert written["n"] == 2
    assert list(written["rouge"]) == ["unicode", "default", "xlsum_pt"]
    pairs = (
        ["O avô fez pão.", "Não é ação. Nem reação."],
        ["A avó fez pão.", "Não é ação."],
    )
    for name, kinds in written["rouge"].items():
        assert list(kinds) == ["rouge1", "rouge2", "rougeL", "rougeLsum"]
        assert kinds == pytest.approx(metrics.rouge(*pairs, protocol=name))
        assert all(type(value) is float and 0 <= value <= 100 for value in kinds.values())
    # Two words of four, and three of three among five: F1 of 0.5 and 0.75.
    assert written["rouge"]["unicode"]["rouge1"] == pytest.approx(62.5)
    # Accents part words under the default protocol: "av" is the same in avô and avó.
    assert written["rouge"]["default"]["rouge1"] > 62.5


def test_evaluate_prints_the_same_scores(predictions):
    found = run("evaluate", "--predictions", str(predictions))
    assert found.exit_code == 0
    head, columns, _, *rows = found.stdout.splitlines()
    assert head == "2 summaries, mean F1 x 100"
    assert columns.split() == ["protocol", *metrics.ROUGE_TYPES]
    assert [row.split()[0] for row in rows] == list(metrics.PROTOCOLS)
    assert rows[0].split()[1] == "62.50"


def test_evaluate_overwrites_only_when_told_to(predictions, tmp_path):
    out = tmp_path / "scores.json"
    out.write_text("precious", encoding="utf-8")
    start = ("evaluate", "--predictions", str(predictions), "--json", str(out))
    assert "--force" in refused(*start)[-1]
    assert out.read_text(encoding="utf-8") == "precious"
    assert run(*start, "--force").exit_code == 0
    assert json.loads(out.read_text(encoding="utf-8"))["n"] == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "holds no rows"),
        ("{}\n", "line 1: no 'id'"),
        ('{"id": 1, "prediction": "x", "reference": "y"}\nnope\n', "line 2: not JSON"),
    ],
)
def test_evaluate_refuses_a_faulty_file_in_one_line(tmp_path, content, words):
    path = tmp_path / "made.jsonl"
    path.write_text(content, encoding="utf-8")
    out = tmp_path / "scores.json"
    (line,) = refused("evaluate", "--predictions", str(path), "--json", str(out))
    assert line.startswith("error: ") and words in line
    assert not out.exists()


def test_evaluate_refuses_a_missing_file_and_nothing_at_all(tmp_path):
    (line,) = refused("evaluate", "--predictions", str(tmp_path / "none.jsonl"))
    assert "cannot be read" in line
    assert "give --predictions FILE.jsonl" in refused("evaluate")[-1]


def test_evaluate_refuses_a_place_it_cannot_write_to(predictions, tmp_path):
    out = tmp_path / "nowhere" / "scores.json"
    lines = refused("evaluate", "--predictions", str(predictions), "--json", str(out))
    assert str(out) in lines[-1]


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_summarize_refuses_a_blank_text_before_it_loads_a_model(text):
    found = run("summarize", input=text)
    assert found.exit_code == 2 and "blank" in found.stderr.splitlines()[-1]


def test_ui_refuses_an_endpoint_that_is_no_address():
    (line,) = refused("ui", "--endpoint", "localhost:5001")
    assert line.startswith("error: --endpoint: 'localhost:5001' is no http(s) address")
