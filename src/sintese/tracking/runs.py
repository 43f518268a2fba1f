"""MLflow runs: one `fine-tuning` from start to a truthful end, whatever ends it."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sintese.config import RunConfig
from sintese.errors import TrackingError
from sintese.recipes import flat, to_yaml

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sintese.datasets import Corpus

NOTE = "mlflow.note.content"
_EXPERIMENT_NOTE = (
    "Síntese: fine-tuning of summarization models. Each run holds its resolved recipe, the "
    "corpus with its digest, loss and ROUGE curves, a table of samples and the model it made."
)
# MLflow's own client retries for minutes before it gives up; a person waits for a few seconds.
_REACH_SECONDS = 5.0
# What the tracking store takes as one param value.
_PARAM_LIMIT = 6000


@dataclass(frozen=True)
class Run:
    """An MLflow run that is under way.

    Attributes:
        id: MLflow's run id.
        name: MLflow's run name.
        experiment: name of its experiment.
    """

    id: str
    name: str
    experiment: str

    def params(self, values: Mapping[str, Any]) -> None:
        """Log readable params; `None` is left out, sequences are joined by commas."""
        import mlflow

        mlflow.log_params({key: _param(v) for key, v in values.items() if v is not None})

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics of one step."""
        import mlflow

        mlflow.log_metrics(dict(values), step=step)

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags."""
        import mlflow

        mlflow.set_tags(dict(values))

    def describe(self, markdown: str) -> None:
        """Set the description that MLflow's UI shows on the run."""
        self.tags({NOTE: markdown})

    def recipe(self, config: RunConfig) -> None:
        """Log the resolved recipe, which repeats the run when it is given as `--config`."""
        import mlflow

        self.params(flat(config))
        mlflow.log_text(to_yaml(config), "recipe.yaml")

    def corpus(self, corpus: Corpus) -> None:
        """Log the corpus as dataset inputs, a split each, with digest, and its quarantine."""
        import mlflow

        for split, rows in corpus.splits.items():
            if not len(rows):
                continue
            dataset = mlflow.data.from_pandas(
                rows.to_pandas(),
                source=_source(corpus.origin),
                targets="summary",
                name=f"{corpus.name}/{split}",
                digest=corpus.split_digest(split)[:32],
            )
            mlflow.log_input(dataset, context=split)
        self.tags({"data.digest": corpus.digest, "data.licence": corpus.licence})
        if corpus.quarantined:
            bad = [{"where": row.where, "reason": row.reason} for row in corpus.quarantined]
            mlflow.log_dict({"rows": bad}, "data/quarantine.json")

    def figure(self, figure: Figure, path: str) -> None:
        """Log a matplotlib figure."""
        import mlflow

        mlflow.log_figure(figure, path)

    def table(self, rows: Sequence[Mapping[str, Any]], path: str) -> None:
        """Log rows as a table that MLflow's UI can filter and compare between runs."""
        import mlflow
        import pandas as pd

        mlflow.log_table(pd.DataFrame(list(rows)), path)

    def dictionary(self, content: Mapping[str, Any], path: str) -> None:
        """Log a dictionary as JSON."""
        import mlflow

        mlflow.log_dict(dict(content), path)

    def files(self, directory: Path, path: str) -> None:
        """Log a directory of files."""
        import mlflow

        mlflow.log_artifacts(str(directory), path)


def connect(tracking_uri: str | None) -> str:
    """Point MLflow at `tracking_uri` or its own default and return the URI in force.

    Raises:
        TrackingError: a server was named and does not answer.
    """
    import mlflow

    if tracking_uri:
        mlflow.set_tracking_uri(tracking_uri)
    uri: str = mlflow.get_tracking_uri()
    if uri.startswith(("http://", "https://")):
        _reach(uri)
    return uri


@contextmanager
def start(config: RunConfig) -> Iterator[Run]:
    """Open a run, and end it as what it was: FINISHED, FAILED or KILLED.

    Inside `mlflow run` it is the run that MLflow opened already, in the experiment that was
    named there.
    """
    import mlflow

    inherited = "MLFLOW_RUN_ID" in os.environ
    name = config.tracking.run_name or config.name
    if not inherited:
        experiment = mlflow.set_experiment(config.tracking.experiment_name)
        if NOTE not in experiment.tags:
            mlflow.set_experiment_tag(NOTE, _EXPERIMENT_NOTE)
    # The default of ten seconds would leave short runs without a single sample.
    mlflow.set_system_metrics_sampling_interval(2)
    active = mlflow.start_run(
        run_name=None if inherited else name,
        log_system_metrics=config.tracking.system_metrics,
    )
    if inherited:
        mlflow.set_tag("mlflow.runName", name)
    status = "FAILED"
    try:
        yield Run(
            id=active.info.run_id,
            name=name,
            experiment=mlflow.get_experiment(active.info.experiment_id).name,
        )
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    except Exception as error:
        mlflow.set_tag("error", f"{type(error).__name__}: {error}"[:5000])
        raise
    finally:
        mlflow.end_run(status)


def _reach(uri: str) -> None:
    request = urllib.request.Request(f"{uri.rstrip('/')}/health")
    try:
        urllib.request.urlopen(request, timeout=_REACH_SECONDS).close()
    except urllib.error.HTTPError:
        return  # it answers; whether it lets us in is for MLflow's client to find out
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise TrackingError(
            f"no tracking server at {uri} ({reason}): start one with `python mlflow_up.py`, or "
            "name another by --tracking.tracking_uri or MLFLOW_TRACKING_URI"
        ) from None


def _source(origin: str) -> Any:
    """Return what MLflow can show as the place the rows came from."""
    from mlflow.data.code_dataset_source import CodeDatasetSource

    return CodeDatasetSource(tags={"origin": origin})


def _param(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text[:_PARAM_LIMIT]
