"""The served model: this file is logged as it stands, and what is logged is what serves.

MLflow runs it inside `mlflow models serve`, in `mlflow.pyfunc.load_model` and on Spark. Beside
it in the model's folder lie the weights and a frozen copy of the few modules it imports.
"""

from __future__ import annotations

import logging
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel, PythonModelContext

from sintese import summarizer
from sintese.errors import UsageError

_log = logging.getLogger(__name__)


class Refusal(MlflowException):
    """An error whose text reaches the client as it was written.

    The scoring server prepends the whole request to `message` before it answers: a client
    would get its own ten pages back around the one line that matters.
    """

    @property
    def message(self) -> str:
        """The text given at the start."""
        return self._message

    @message.setter
    def message(self, text: str) -> None:
        if not hasattr(self, "_message"):
            self._message = text


class SummarizerModel(PythonModel):
    """A list or a one-column table of texts in, a list of summaries out."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the weights once, when the server starts."""
        self.engine = summarizer.load(context.artifacts["model"])

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> list[str]:
        """Summarize every text of `model_input`, with decoding settings from `params`.

        Raises:
            Refusal: 400 when an input is not a text or a parameter is out of range, 500 when
                the model fails; the cause of the latter is logged here, not sent.
        """
        try:
            texts = _texts(model_input)
            found = self.engine.using(**(params or {})).summaries(texts)
        except UsageError as error:
            raise Refusal(str(error), error_code=INVALID_PARAMETER_VALUE) from None
        except Refusal:
            raise
        except Exception as error:
            _log.exception("summarizing %d texts failed", len(model_input))
            text = f"the model failed on this request ({type(error).__name__}); see the server log"
            raise Refusal(text, error_code=INTERNAL_ERROR) from None
        cut = sum(summary.truncated for summary in found)
        if cut:
            _log.warning("%d of %d texts were longer than the model reads", cut, len(found))
        return [summary.text for summary in found]


def _texts(model_input: Any) -> list[str]:
    """Take texts out of whatever MLflow made of the request: table, array, list or one value."""
    values = getattr(model_input, "values", model_input)
    values = values.ravel().tolist() if hasattr(values, "ravel") else values
    if isinstance(values, str):
        values = [values]
    if len(values) == 0:
        raise Refusal("no texts: send at least one", error_code=INVALID_PARAMETER_VALUE)
    for number, value in enumerate(values, start=1):
        if not isinstance(value, str):
            # A JSON null arrives as None or, through pandas, as NaN.
            missing = value is None or value != value
            what = "missing (null)" if missing else f"{value!r}, which is not a text"
            raise Refusal(
                f"text {number} is {what}: send texts as JSON strings",
                error_code=INVALID_PARAMETER_VALUE,
            )
        if not value.strip():
            raise Refusal(
                f"text {number} is blank: send something to summarize",
                error_code=INVALID_PARAMETER_VALUE,
            )
    return list(values)


mlflow.models.set_model(SummarizerModel())
