"""MLflow's Model Registry: versions, aliases, and models taken out of it again."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from sintese.config import GenerationConfig
from sintese.errors import SinteseError, TrackingError
from sintese.models import MANIFEST
from sintese.summarizer import Engine, load

_log = logging.getLogger(__name__)

CHAMPION, CHALLENGER = "champion", "challenger"
# All that runs inside a served model. Short, because a version carries its own copy of it and
# every module more is one more thing that can differ between versions.
_SERVING_MODULES = (
    "__init__.py",
    "errors.py",
    "config.py",
    "discovery.py",
    "models.py",
    "summarizer.py",
    "engines",
)
_SERVING_PACKAGES = (
    "mlflow",
    "torch",
    "transformers",
    "safetensors",
    "sentencepiece",
    "pydantic",
    "pyyaml",
)


@dataclass(frozen=True)
class Version:
    """A version of a registered model.

    Attributes:
        name: the registered model's.
        number: counts from 1.
        run_id: the run that made it, "" if unknown.
        tags: as MLflow keeps them.
    """

    name: str
    number: int
    run_id: str
    tags: Mapping[str, str]

    @property
    def uri(self) -> str:
        """What MLflow's own commands take."""
        return f"models:/{self.name}/{self.number}"


def log_model(
    directory: Path, *, generation: GenerationConfig, metrics: Mapping[str, float]
) -> str:
    """Log a model directory as a pyfunc of the current run; return its `models:/…` URI.

    Args:
        directory: written by `models.save`.
        generation: decoding defaults, which become the signature's inference params.
        metrics: shown on the logged model.
    """
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType

    kinds = {int: "long", float: "double"}
    signature = ModelSignature(
        # Not "string": MLflow would turn a null into the text "None", and it would be summarized.
        inputs=Schema([ColSpec(AnyType())]),
        outputs=Schema([ColSpec("string")]),
        params=ParamSchema(
            [
                ParamSpec(name, kinds[type(value)], value)
                for name, value in generation.model_dump().items()
            ]
        ),
    )
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # MLflow would run the model on an example to infer the signature, which is given here.
        warnings.filterwarnings("ignore", ".*input example was not provided", UserWarning)
        code = Path(folder) / "sintese"
        _copy_serving_modules(code)
        info = mlflow.pyfunc.log_model(
            name="summarizer",
            python_model=str(shell("model.py")),
            artifacts={"model": str(directory)},
            code_paths=[str(code)],
            pip_requirements=_pinned(_SERVING_PACKAGES),
            signature=signature,
        )
    if metrics:
        mlflow.log_metrics(dict(metrics), model_id=info.model_id)
    return str(info.model_uri)


def register(model_uri: str, name: str, *, tags: Mapping[str, str], description: str) -> Version:
    """Make a logged model the next version of registered model `name`."""
    import mlflow

    made = mlflow.register_model(model_uri, name, tags=dict(tags))
    client = mlflow.MlflowClient()
    client.update_model_version(name, made.version, description=description)
    return _version(client.get_model_version(name, made.version))


def set_alias(version: Version, alias: str) -> None:
    """Point `alias` at `version`, wherever it pointed before."""
    import mlflow

    mlflow.MlflowClient().set_registered_model_alias(version.name, alias, str(version.number))


def tag(version: Version, tags: Mapping[str, str]) -> Version:
    """Add tags to a version."""
    import mlflow

    client = mlflow.MlflowClient()
    for key, value in tags.items():
        client.set_model_version_tag(version.name, str(version.number), key, value)
    return replace(version, tags={**version.tags, **tags})


def by_alias(name: str, alias: str) -> Version | None:
    """Return the version that `alias` of model `name` points at, or None."""
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        found = mlflow.MlflowClient().get_model_version_by_alias(name, alias)
    except MlflowException as error:
        # "No such model" and "no such alias" differ between stores, in code and in text.
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise TrackingError(f"the registry cannot say what {name}@{alias} is: {error}") from None
    return _version(found)


def fetch(uri: str) -> Path:
    """Download the model directory behind a `models:/…` or `runs:/…` URI and return its path.

    A local directory is returned as it is.

    Raises:
        TrackingError: there is no such model, or it was not made by Síntese.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    if Path(uri).is_dir():
        root = Path(uri)
    else:
        try:
            root = Path(mlflow.artifacts.download_artifacts(uri))
        except (MlflowException, OSError) as error:
            first = str(error).splitlines()[0]
            raise TrackingError(f"cannot fetch {uri}: {first}") from None
    for candidate in (root, root / "artifacts" / "model", *root.glob("artifacts/*")):
        if (candidate / MANIFEST).is_file():
            return candidate
    raise TrackingError(f"{uri} holds no model made by Síntese (no {MANIFEST} in it)")


@dataclass
class Follower:
    """The model behind an alias, loaded once a version and looked up again every few seconds.

    Attributes:
        name: the registered model's.
        alias: the alias followed.
        engine: file of `sintese.engines` that runs it.
        every: seconds between looks at the registry.
    """

    name: str
    alias: str = CHAMPION
    engine: str = "hf"
    every: float = 5.0
    _version: Version | None = field(default=None, init=False)
    _loaded: Engine | None = field(default=None, init=False)
    _looked: float = field(default=0.0, init=False)

    def current(self) -> Engine:
        """Return the engine of the version that the alias points at.

        Once something was loaded it keeps serving, whatever happens in the registry: an alias
        taken away, a version deleted or damaged, a server that does not answer. Each of these is
        logged, and looked at again after `every` seconds.

        Raises:
            SinteseError: nothing could be loaded yet; says why.
        """
        now = time.monotonic()
        if self._loaded is None:
            self._look()
        elif now - self._looked >= self.every:
            try:
                self._look()
            except SinteseError as error:
                _log.warning("still serving %s: %s", self._loaded.name, error)
        self._looked = now
        assert self._loaded is not None
        return self._loaded

    def _look(self) -> None:
        version = by_alias(self.name, self.alias)
        if version is None:
            raise TrackingError(
                f"no model {self.name}@{self.alias} in the registry: train one with "
                "`python train.py --config experiments/demo.yaml`"
            )
        if self._version is None or version.number != self._version.number:
            loaded = load(fetch(version.uri), engine=self.engine)
            self._loaded = _named(loaded, f"{version.name} v{version.number}")
            self._version = version


def shell(file: str) -> Path:
    """Return the path of a file of `serve/`: beside the package once installed, else the repo's."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "serve", package.parents[1] / "serve"):
        if (folder / file).is_file():
            return folder / file
    raise TrackingError(f"serve/{file} is missing from this installation")


def _copy_serving_modules(target: Path) -> None:
    package = Path(__file__).resolve().parents[1]
    target.mkdir()
    for name in _SERVING_MODULES:
        source = package / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, target / name, ignore=ignored)
        else:
            shutil.copy(source, target / name)


def _pinned(packages: Sequence[str]) -> list[str]:
    # Without "+cpu": another machine may well have a GPU.
    return [f"{name}=={metadata.version(name).partition('+')[0]}" for name in packages]


def _named(engine: Any, name: str) -> Engine:
    named: Engine = replace(engine, name=name)
    return named


def _version(found: Any) -> Version:
    return Version(found.name, int(found.version), found.run_id or "", dict(found.tags))
