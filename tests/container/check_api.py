"""Call a running model server as a client would, and say what it does wrong.

    python tests/container/check_api.py http://127.0.0.1:8080

Needs nothing but Python. Exit code 0: every check passed; 1: one did not; 2: wrong usage.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

TEXTS = [
    "A prefeitura anunciou ontem que a ponte sobre o rio será fechada por três meses. O tráfego "
    "será desviado para a avenida central, e os ônibus terão novos pontos. Moradores pediram que "
    "as obras não avancem durante a noite.",
    "O aplicativo grava a área da tela que a pessoa escolhe e salva o resultado como animação. "
    "Não é preciso cadastro, e os arquivos ficam no computador.",
    "Chove.",
]


class Wrong(Exception):
    """What a check found."""


@dataclass(frozen=True)
class Answer:
    """Status and body of one answer, the body parsed where it is JSON."""

    status: int
    text: str
    content: Any


@dataclass(frozen=True)
class Server:
    """The server that is checked."""

    url: str
    timeout: float

    def request(self, path: str, body: bytes | None = None) -> Answer:
        """GET `path`, or POST `body` to it as JSON."""
        request = urllib.request.Request(
            self.url.rstrip("/") + path, data=body, headers={"Content-Type": "application/json"}
        )
        # Proxies of the environment are for addresses elsewhere.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=self.timeout) as answer:
                return _answer(answer.status, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return _answer(error.code, error.read())
        except OSError as error:
            raise Wrong(f"no answer from {self.url}: {getattr(error, 'reason', error)}") from None

    def invoke(self, request: object) -> Answer:
        """POST a request to /invocations."""
        return self.request("/invocations", json.dumps(request).encode())

    def summaries(self, request: object, count: int) -> list[str]:
        """Return the summaries for a good request, of which there must be `count`."""
        answer = self.invoke(request)
        if answer.status != 200:
            raise Wrong(f"status {answer.status} for a good request: {answer.text[:300]}")
        found = answer.content.get("predictions") if isinstance(answer.content, dict) else None
        if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
            raise Wrong(f"no list of texts in `predictions`: {answer.text[:300]}")
        if len(found) != count:
            raise Wrong(f"{len(found)} summaries for {count} texts")
        return found


def _answer(status: int, body: bytes) -> Answer:
    text = body.decode("utf-8", "replace")
    try:
        return Answer(status, text, json.loads(text))
    except ValueError:
        return Answer(status, text, None)


def check_health(server: Server) -> None:
    for path in ("/ping", "/health", "/version"):
        if (status := server.request(path).status) != 200:
            raise Wrong(f"{path} answers {status}")


def check_inputs(server: Server) -> None:
    found = server.summaries({"inputs": TEXTS}, len(TEXTS))
    if not any(summary.strip() for summary in found):
        raise Wrong("every summary is empty")
    # A server that answers everybody alike has not read what it was sent.
    if len(set(found)) == 1:
        raise Wrong(f"all texts have the same summary: {found[0][:100]!r}")


def check_order(server: Server) -> None:
    forwards = server.summaries({"inputs": TEXTS}, len(TEXTS))
    backwards = server.summaries({"inputs": TEXTS[::-1]}, len(TEXTS))
    if backwards[::-1] != forwards:
        raise Wrong("summaries depend on the order of the texts, or come back in another one")


def check_table(server: Server) -> None:
    table = {"columns": ["text"], "data": [[text] for text in TEXTS]}
    if server.summaries({"dataframe_split": table}, len(TEXTS)) != server.summaries(
        {"inputs": TEXTS}, len(TEXTS)
    ):
        raise Wrong("`dataframe_split` and `inputs` give different summaries of the same texts")


def check_params(server: Server) -> None:
    short = {"max_new_tokens": 1, "num_beams": 1}
    found = server.summaries({"inputs": TEXTS, "params": short}, len(TEXTS))
    if long := [summary for summary in found if len(summary.split()) > 1]:
        raise Wrong(f"max_new_tokens=1 gave {long[0][:100]!r}")


def _refused(request: object) -> Callable[[Server], None]:
    """Return a check that `request` gets 4xx with one clear line."""

    def check(server: Server) -> None:
        answer = server.invoke(request)
        _expect_refusal(answer)
        message = answer.content.get("message") if isinstance(answer.content, dict) else None
        if not isinstance(message, str) or not message.strip():
            raise Wrong(f"no `message` in the refusal: {answer.text[:300]}")
        if "\n" in message.strip() or len(message) > 300:
            raise Wrong(f"the message is not one clear line: {message[:300]!r}")

    return check


def check_broken_json(server: Server) -> None:
    # MLflow answers this one before the model is asked, in words of its own.
    _expect_refusal(server.request("/invocations", b'{"inputs": ["um texto"'))


def check_still_well(server: Server) -> None:
    check_health(server)
    server.summaries({"inputs": TEXTS[:1]}, 1)


def _expect_refusal(answer: Answer) -> None:
    if not 400 <= answer.status < 500:
        raise Wrong(f"status {answer.status} instead of 4xx: {answer.text[:300]}")
    if "Traceback" in answer.text or "stack_trace" in answer.text:
        raise Wrong(f"a stack trace in the answer: {answer.text[:300]}")


CHECKS: dict[str, Callable[[Server], None]] = {
    "health": check_health,
    "a list of texts": check_inputs,
    "the order of texts": check_order,
    "a table of texts": check_table,
    "inference params": check_params,
    "refuses null": _refused({"inputs": [None]}),
    "refuses a number": _refused({"inputs": [5]}),
    "refuses an empty text": _refused({"inputs": [""]}),
    "refuses one bad text among good ones": _refused({"inputs": [TEXTS[0], " \n"]}),
    "refuses a param out of range": _refused({"inputs": TEXTS[:1], "params": {"num_beams": 0}}),
    "refuses broken JSON": check_broken_json,
    "well afterwards": check_still_well,
}


def main() -> int:
    """Run every check and print a line each."""
    parser = argparse.ArgumentParser(description="Check a running model server.")
    parser.add_argument("url", help="its address, such as http://127.0.0.1:8080")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds for one answer")
    given = parser.parse_args()
    if not given.url.startswith(("http://", "https://")):
        parser.error(f"{given.url!r} is no http(s) address")
    server = Server(given.url, given.timeout)
    failed = 0
    for name, check in CHECKS.items():
        try:
            check(server)
        except Wrong as error:
            failed += 1
            print(f"FAIL  {name}: {error}", flush=True)  # noqa: T201
        else:
            print(f"ok    {name}", flush=True)  # noqa: T201
    print(f"{len(CHECKS) - failed} of {len(CHECKS)} checks passed")  # noqa: T201
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
