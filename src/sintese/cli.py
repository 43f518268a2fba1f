"""The `sintese` command. Every subcommand imports what it needs, so that `--help` is instant."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import click

from sintese import __version__
from sintese.errors import ConfigError, SinteseError

if TYPE_CHECKING:
    from sintese.summarizer import Summarizer

_INTERRUPTED = 130
_TERMINATED = 143


class _Errors(click.Group):
    """A group whose commands end with one line instead of a traceback for a person's mistake."""

    def invoke(self, ctx: click.Context) -> Any:
        return _guarded(lambda: super(_Errors, self).invoke(ctx))


class _Guarded(click.Command):
    """The same for a command that is started by itself, as `train.py` does."""

    def invoke(self, ctx: click.Context) -> Any:
        return _guarded(lambda: super(_Guarded, self).invoke(ctx))


class _RecipeCommand(_Guarded):
    """A command that takes any field of `RunConfig` as an option and lists them in its help."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from sintese.recipes import ALIASES, fields

        super().format_options(ctx, formatter)
        groups: dict[str, list[tuple[str, str]]] = {}
        for name, (kind, description, default) in fields().items():
            shown = "" if default in (None, "") else f"  [default: {default}]"
            section = name.rpartition(".")[0] or "recipe"
            groups.setdefault(section, []).append((f"--{name} {kind}", f"{description}{shown}"))
        for section, rows in groups.items():
            with formatter.section(f"Fields: {section}"):
                formatter.write_dl(rows, col_max=42)
        with formatter.section("Short names"):
            formatter.write_text(
                "A field whose name is unique needs no section: --learning_rate, --num_beams. "
                "Also: " + ", ".join(f"--{alias} ({name})" for alias, name in ALIASES.items())
            )


@click.group(cls=_Errors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sintese")
def main() -> None:
    """Fine-tune, evaluate, register and serve summarization models, with MLflow throughout."""


@main.command(
    cls=_RecipeCommand,
    context_settings={
        "ignore_unknown_options": True,
        "allow_extra_args": True,
        "help_option_names": ["-h", "--help"],
    },
)
@click.option(
    "--config", "recipe", metavar="FILE", help="Recipe to run, such as experiments/demo.yaml."
)
@click.argument("overrides", nargs=-1, type=click.UNPROCESSED, metavar="[--section.field VALUE]...")
@click.option("--check", "only_check", is_flag=True, help="Check recipe and corpus, then stop.")
def train(recipe: str | None, overrides: Sequence[str], only_check: bool) -> None:
    """Fine-tune, evaluate, register and, if the gate agrees, promote a model.

    Fields of the recipe are overridden by options named after them: --tuning.r 16.
    """
    from sintese import recipes

    pairs, faults = _pairs(overrides)
    named, unknown = recipes.parse_overrides(pairs)
    raw: dict[str, Any] = {}
    try:
        raw = recipes.read(recipe) if recipe else {}
    except ConfigError as error:
        faults.extend(error.faults)
    _quiet_libraries()

    from sintese import pipeline

    config, corpus = pipeline.check(raw, named, faults=[*faults, *unknown])
    sizes = ", ".join(f"{len(rows)} {split}" for split, rows in corpus.splits.items())
    click.echo(f"corpus {corpus.name}: {sizes} documents, digest {corpus.digest[:12]}")
    for reason, count in corpus.counts.items():
        if count and reason not in ("read", "kept"):
            click.echo(f"  {reason}: {count}")
    if only_check:
        click.echo("the recipe is fine")
        return
    with _terminable():
        outcome = pipeline.run(config, corpus, say=_say)
    _print_outcome(config, outcome)


@main.command(cls=_Guarded)
@click.option(
    "--predictions",
    type=click.Path(path_type=Path),
    metavar="FILE.jsonl",
    help="Summaries made by any system: rows of id, prediction, reference.",
)
@click.option(
    "--json", "out", type=click.Path(path_type=Path), metavar="OUT", help="Write the scores here."
)
@click.option("--force", is_flag=True, help="Overwrite OUT.")
def evaluate(predictions: Path | None, out: Path | None, force: bool) -> None:
    """Score summaries under the three ROUGE protocols."""
    if predictions is None:
        raise click.UsageError(
            "give --predictions FILE.jsonl with rows of id, prediction, reference"
        )
    if out is not None and out.exists() and not force:
        raise click.UsageError(f"--json {out} exists: name another file or add --force")
    if out is not None and not out.absolute().parent.is_dir():
        raise click.UsageError(f"--json {out}: there is no folder {out.absolute().parent}")

    from sintese import metrics
    from sintese.evaluation import read_predictions

    _, made, references = read_predictions(predictions)
    rouge = metrics.rouge_all(made, references)
    header = ("protocol", *metrics.ROUGE_TYPES)
    rows = [
        (name, *(f"{kinds[k]:.2f}" for k in metrics.ROUGE_TYPES)) for name, kinds in rouge.items()
    ]
    click.echo(f"{len(made)} summaries, mean F1 x 100")
    _print_table([header, *rows])
    if out is not None:
        out.write_text(
            json.dumps({"n": len(made), "rouge": rouge}, indent=2) + "\n", encoding="utf-8"
        )
        click.echo(f"wrote {out}")


@main.command(cls=_Guarded)
@click.argument("file", type=click.File(encoding="utf-8"), default="-")
@click.option(
    "--model", default="sintese", show_default=True, metavar="NAME", help="Registered model."
)
@click.option("--alias", default="champion", show_default=True, help="Alias of the version to use.")
def summarize(file: Any, model: str, alias: str) -> None:
    """Summarize FILE, or standard input, with a registered model."""
    text = file.read()
    if not text.strip():
        raise click.UsageError("nothing to summarize: the input is blank")
    _quiet_libraries()

    from sintese.tracking import registry, runs

    runs.connect(None)
    (found,) = registry.Follower(model, alias=alias).current().summaries([text])
    click.echo(found.text)
    if found.truncated:
        click.echo("(only the beginning was read: the text is longer than the model)", err=True)


@main.command(cls=_Guarded)
@click.option(
    "--model", default="sintese", show_default=True, metavar="NAME", help="Registered model."
)
@click.option("--alias", default="champion", show_default=True, help="Alias of the version to use.")
@click.option("--endpoint", metavar="URL", help="Summarize through a model server instead.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=7860, show_default=True, type=click.IntRange(0, 65535))
def ui(model: str, alias: str, endpoint: str | None, host: str, port: int) -> None:
    """Open the page that summarizes with the champion."""
    _quiet_libraries()

    from sintese.tracking import registry, runs

    page = _load_shell("ui")
    if endpoint:
        from sintese.remote import ModelServer

        remote = ModelServer(endpoint)

        def load() -> Summarizer:
            return remote
    else:
        runs.connect(None)
        follower = registry.Follower(model, alias=alias)
        click.echo(f"loading {follower.current().name} …")

        def load() -> Summarizer:
            return follower.current()

    page.launch(
        load,
        model_label=lambda: load().name,
        examples=_examples(),
        host=host,
        port=port,
        on_ready=lambda url: click.echo(f"the page is open at {url} (Ctrl-C ends it)"),
    )


def _examples() -> list[str]:
    """Return a few short news texts of the embedded corpus, in other words not trained on."""
    from sintese import datasets
    from sintese.config import DataConfig

    corpus = datasets.load(DataConfig(source="amostra", subset="noticias"))
    return sorted(corpus.texts("test"), key=len)[:3]


def _guarded(action: Any) -> Any:
    try:
        return action()
    except ConfigError as error:
        faults = error.faults
        if len(faults) > 1:
            click.echo(f"error: {len(faults)} faults in the configuration", err=True)
            for fault in faults:
                click.echo(f"  {fault}", err=True)
        else:
            click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except SinteseError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt as error:
        click.echo("interrupted", err=True)
        sys.exit(_TERMINATED if error.args == ("SIGTERM",) else _INTERRUPTED)


def _pairs(arguments: Sequence[str]) -> tuple[list[tuple[str, str]], list[Any]]:
    """Split `--name value` and `--name=value`; what fits neither is a fault."""
    from sintese.errors import Fault

    pairs: list[tuple[str, str]] = []
    faults: list[Any] = []
    waiting = list(reversed(arguments))
    while waiting:
        argument = waiting.pop()
        if not argument.startswith("--"):
            faults.append(Fault(argument, "is no option; write --section.field VALUE"))
            continue
        name, equals, value = argument[2:].partition("=")
        if not equals:
            if not waiting or waiting[-1].startswith("--"):
                faults.append(Fault(argument, "needs a value"))
                continue
            value = waiting.pop()
        pairs.append((name, value))
    return pairs, faults


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM unwind like Ctrl-C does, so that the run is recorded as KILLED."""

    def unwind(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt("SIGTERM")

    before = signal.signal(signal.SIGTERM, unwind)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _quiet_libraries() -> None:
    """Say nothing to anybody's servers, and keep other libraries' chatter out of the output."""
    import warnings

    # Deprecations inside and between other people's libraries are nothing a person can act on.
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=UserWarning, module="peft")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")


def _load_shell(name: str) -> Any:
    """Import a file of `serve/`, which stands beside the package and not inside it."""
    import importlib.util

    from sintese.tracking import registry

    path = registry.shell(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"sintese_serve_{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _say(line: str) -> None:
    click.echo(f"» {line}")


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for number, row in enumerate(rows):
        click.echo(
            "  " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        )
        if number == 0:
            click.echo("  " + "  ".join("─" * width for width in widths))


def _print_outcome(config: Any, outcome: Any) -> None:
    from sintese import reports

    click.echo(
        f"\nTest split, {len(outcome.evaluation.rows)} documents, ROUGE F1 x 100 [95 % interval]"
    )
    everyone = [outcome.evaluation, *outcome.baselines]
    for protocol in outcome.evaluation.rouge:
        decides = " (decides)" if protocol == config.evaluation.protocol else ""
        click.echo(f"\n{protocol}{decides}")
        _print_table(reports.score_table(everyone, protocol=protocol))
    row = outcome.evaluation.rows[0]
    click.echo(f"\nA summary ({row.id})\n  text:       {_one_line(row.text, 150)}")
    click.echo(
        f"  reference:  {_one_line(row.reference, 150)}\n"
        f"  prediction: {_one_line(row.prediction, 150)}"
    )
    click.echo(f"\nrun      {outcome.run_id} in {outcome.tracking_uri}")
    click.echo(f"files    {outcome.directory}")
    if outcome.version is not None:
        click.echo(f"version  {outcome.version.uri}")
    if outcome.decision is not None:
        verdict = "champion" if outcome.decision.promoted else "not promoted"
        click.echo(f"gate     {verdict}: {outcome.decision.reason}")
    if outcome.version is not None:
        _print_next(outcome)


def _print_next(outcome: Any) -> None:
    """Print the commands that a person will want now, ready to copy."""
    name = outcome.version.name
    serve = f"mlflow models serve -m models:/{name}@champion --env-manager local --port 5001"
    click.echo("\nNext, from this folder:")
    for command, purpose in (
        ("python mlflow_up.py", "look at the run in MLflow, http://127.0.0.1:5000"),
        (f"sintese ui --model {name}", "summarize on a page, http://127.0.0.1:7860"),
        (f"sintese summarize text.txt --model {name}", "summarize a file"),
        (serve, "serve it over HTTP"),
    ):
        click.echo(f"  {command}\n      {purpose}")


def _one_line(text: str, width: int) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= width else flat[: width - 1] + "…"
