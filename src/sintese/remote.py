"""A model behind HTTP: any server that speaks MLflow's `/invocations`, used as a summarizer."""

from __future__ import annotations

import http.client
import json
import re
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self
from urllib.parse import urlsplit

from sintese.errors import ConfigError, Fault, InputError, ModelError


@dataclass(frozen=True)
class ModelServer:
    """A client of `mlflow models serve` or of anything that answers like it.

    Attributes:
        url: the server's address, without `/invocations`.
        params: inference params sent with each request.
        timeout: seconds to wait for an answer.
    """

    url: str
    params: Mapping[str, Any] = field(default_factory=dict)
    timeout: float = 300.0

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            sound = parts.scheme in ("http", "https") and bool(parts.hostname)
            sound = sound and not re.search(r"\s", self.url) and parts.port != 0
        except ValueError:
            sound = False
        if not sound:
            raise ConfigError(
                [Fault("--endpoint", f"{self.url!r} is no http(s) address of a model server")]
            )
        if parts.username or parts.password:
            # It would be shown wherever the address is.
            raise ConfigError([Fault("--endpoint", "takes no user and password in the address")])

    @property
    def name(self) -> str:
        """The server's host and port."""
        return urlsplit(self.url).netloc

    def using(self, **settings: Any) -> Self:
        """Return a client that sends other inference params."""
        return replace(self, params={**self.params, **settings})

    def summarize(self, texts: Sequence[str]) -> list[str]:
        """Return the server's summary of each text.

        Raises:
            InputError: the server refused the request (4xx), with its words.
            ModelError: the server failed or cannot be reached.
        """
        body = json.dumps({"inputs": list(texts), "params": dict(self.params)}).encode()
        request = urllib.request.Request(
            f"{self.url.rstrip('/')}/invocations",
            data=body,
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                content = json.load(answer)
        except urllib.error.HTTPError as error:
            text = _message(error)
            if 400 <= error.code < 500:
                raise InputError(text) from None
            raise ModelError(f"the model server at {self.url} failed: {text}") from None
        except (OSError, ValueError, http.client.HTTPException) as error:
            text = str(getattr(error, "reason", error)).strip()
            reason = text.splitlines()[0] if text else type(error).__name__
            raise ModelError(f"no answer from the model server at {self.url}: {reason}") from None
        predictions = content.get("predictions") if isinstance(content, dict) else None
        if (
            not isinstance(predictions, list)
            or len(predictions) != len(texts)
            or not all(isinstance(prediction, str) for prediction in predictions)
        ):
            raise ModelError(f"{self.url} answered with something else than {len(texts)} summaries")
        return predictions


def _message(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["message"])
    except (ValueError, KeyError, TypeError):
        return f"{error.code} {error.reason}"
