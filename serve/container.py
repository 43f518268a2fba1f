"""What runs inside the containers: wait for the champion, serve it, say whether it is well.

    python serve/container.py serve         wait for SINTESE_MODEL's champion, then serve it
    python serve/container.py wait          only wait
    python serve/container.py health URL    exit 0 when URL answers 200: the HEALTHCHECK

`serve` is the first process of its container, where Linux drops every signal that the process
does not handle; so it stays small, hands signals on and reaps what is left over.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence

PAUSE_SECONDS = 2.0
HEALTH_SECONDS = 4.0
_PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the subcommands and return its exit code."""
    parser = argparse.ArgumentParser(description="Serve the champion from a container.")
    commands = parser.add_subparsers(dest="command", required=True)
    server = commands.add_parser("serve", help="wait for the champion, then serve it")
    server.add_argument("--host", default="0.0.0.0", help="address to listen on")
    server.add_argument("--port", default="8080", help="port to listen on")
    commands.add_parser("wait", help="wait until the champion exists")
    check = commands.add_parser("health", help="exit 0 when a URL answers 200")
    check.add_argument("url")
    given = parser.parse_args(arguments)
    if given.command == "health":
        return 0 if _is_healthy(given.url) else 1
    if fault := _fault():
        return _fail(fault, 2)
    model, seconds = _settings()
    if given.command == "wait":
        return _wait(model, seconds)
    serve = ["mlflow", "models", "serve", "--model-uri", f"models:/{model}@champion"]
    serve += ["--env-manager", "local", "--host", given.host, "--port", given.port]
    return _Children().run([sys.executable, __file__, "wait"], serve)


def _settings() -> tuple[str, float]:
    # `or`, because compose passes on a variable that is set to nothing.
    model = os.environ.get("SINTESE_MODEL") or "sintese"
    return model, float(os.environ.get("SINTESE_WAIT_SECONDS") or 600)


def _fault() -> str:
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        return "MLFLOW_TRACKING_URI is not set: name the tracking server, http://tracking:5000"
    try:
        _settings()
    except ValueError:
        found = os.environ["SINTESE_WAIT_SECONDS"]
        return f"SINTESE_WAIT_SECONDS={found!r} is no number of seconds"
    return ""


def _wait(model: str, seconds: float) -> int:
    """Return 0 once `model` has a champion, 1 when it has none after `seconds`."""
    # MLflow's own client would retry for minutes without a word; here every try is reported.
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "1"
    from sintese.errors import TrackingError
    from sintese.tracking import registry, runs

    deadline = time.monotonic() + seconds
    said = ""
    while True:
        try:
            uri = runs.connect(None)
            if version := registry.by_alias(model, registry.CHAMPION):
                _say(f"{version.uri} is the champion at {uri}")
                return 0
            reason = (
                f"{uri} has no {model}@{registry.CHAMPION} yet: train one there, with compose by "
                "`docker compose run --rm train`"
            )
        except TrackingError as error:
            reason = " ".join(str(error).split())
        if time.monotonic() >= deadline:
            return _fail(f"gave up after {seconds:g} s: {reason}", 1)
        if reason != said:
            _say(f"waiting, up to {seconds:g} s: {reason}")
            said = reason
        time.sleep(PAUSE_SECONDS)


def _is_healthy(url: str) -> bool:
    # Without the proxies of the environment: this is the same container.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=HEALTH_SECONDS) as answer:
            return bool(answer.status == 200)
    except OSError as error:
        _say(f"{url}: {error}")
        return False


class _Children:
    """Commands run one after the other; SIGTERM and SIGINT end the one that is running."""

    def __init__(self) -> None:
        self._group = 0
        self._asked = 0
        if sys.platform == "linux":
            # What a child leaves behind becomes ours, as if this were the first process.
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._hand_on)

    def run(self, *commands: Sequence[str]) -> int:
        """Run until one fails or all are done; return the last exit code, 128 + n for signal n."""
        code = 0
        for command in commands:
            if self._asked or code:
                break
            code = self._run(command)
        return 128 + self._asked if self._asked else code

    def _run(self, command: Sequence[str]) -> int:
        child = subprocess.Popen(command, start_new_session=True)
        self._group = child.pid
        if self._asked:  # it arrived before there was anyone to hand it to
            self._hand_on(self._asked, None)
        # All of them and not only `child`: MLflow ends before the server that it started, and
        # when this process ends the container is over, with the requests still in flight.
        while True:
            try:
                ended, status = os.wait()
            except ChildProcessError:
                break
            if ended == child.pid:
                child.returncode = os.waitstatus_to_exitcode(status)
        self._group = 0
        return child.returncode if child.returncode >= 0 else 128 - child.returncode

    def _hand_on(self, number: int, _frame: object) -> None:
        self._asked = number
        if self._group:
            try:
                os.killpg(self._group, number)
            except ProcessLookupError:
                return


def _say(line: str) -> None:
    print(f"sintese: {line}", file=sys.stderr, flush=True)  # noqa: T201 — the container's log


def _fail(line: str, code: int) -> int:
    _say(f"error: {line}")
    return code


if __name__ == "__main__":
    sys.exit(main())
