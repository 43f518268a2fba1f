"""The door of an exposed tracking server: MLflow's basic-auth app behind a stricter check.

`mlflow_up.py` starts the server with this file as its application; nothing else imports it.
"""

from __future__ import annotations

import base64
import json
import os
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def gate() -> App:
    """Make the application of an exposed server: MLflow's basic-auth app behind a stricter door.

    MLflow leaves some routes open (health, static files, server-info) and checks Host and
    Origin only on some; here every request must address this server by a name it goes by, must
    not come from another site and must bring a valid user and password. Runs in the server
    process, called by uvicorn.
    """
    from mlflow.server import auth

    application: App = auth.create_app()
    user = os.environ["MLFLOW_AUTH_ADMIN_USERNAME"]
    password = os.environ["MLFLOW_AUTH_ADMIN_PASSWORD"]
    if not auth.store.authenticate_user(user, password):
        # MLflow reads the variable only when it creates the user; here the password that is
        # set is the one that holds, or a leaked one could not be changed.
        auth.store.update_user(user, password=password, is_admin=True)
    return Gate(
        application,
        names=json.loads(os.environ["MLFLOW_UP_NAMES"]),
        origins=json.loads(os.environ["MLFLOW_UP_ORIGINS"]),
        check=auth.store.authenticate_user,
    )


class Gate:
    """ASGI middleware: 403 for a foreign Host or Origin, 401 without credentials, on every path.

    Attributes:
        names: hosts that this server goes by, in lower case and without port.
        origins: origins whose pages may send requests; loopback ones always may.
        check: whether a user and a password are valid; slow, so its yes is kept a minute.
    """

    def __init__(
        self, app: App, *, names: list[str], origins: list[str], check: Callable[[str, str], bool]
    ) -> None:
        import asyncio

        self.app, self.check = app, check
        self.names, self.origins = frozenset(names), frozenset(origins)
        self._known: dict[str, float] = {}
        self._one_at_a_time = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection, or hand it on."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = {key.decode("latin-1"): value.decode("latin-1")
                       for key, value in scope["headers"]}  # fmt: skip
            if not self._is_own_host(headers.get("host", "")):
                await _refuse(send, 403, "This server does not go by that Host.")
            elif not self._is_own_origin(headers.get("origin")):
                await _refuse(send, 403, "Requests from pages of other sites are not accepted.")
            elif not await self._is_known(headers.get("authorization", "")):
                await _refuse(send, 401, "User and password, please.")
            elif re.match(r"/+ajax-api/+[^/]+/+mlflow/+assistant(/|$)", scope["path"]):
                # MLflow's assistant runs commands on the machine of the server.
                await _refuse(send, 403, "The assistant is closed on an exposed server.")
            else:
                await self.app(scope, receive, send)

    def _is_own_host(self, host: str) -> bool:
        return re.sub(r":\d+$", "", host.lower()) in self.names

    def _is_own_origin(self, origin: str | None) -> bool:
        if origin is None or origin in self.origins:
            return True
        name = re.fullmatch(r"https?://(.+?)(?::\d+)?", origin)
        return name is not None and name[1] in LOCAL_NAMES

    async def _is_known(self, header: str) -> bool:
        import asyncio
        import hashlib

        scheme, _, encoded = header.partition(" ")
        if scheme.lower() != "basic":
            return False
        key = hashlib.sha256(header.encode()).hexdigest()
        now = time.monotonic()
        if self._known.get(key, 0) > now:
            return True
        try:
            user, colon, password = base64.b64decode(encoded).decode().partition(":")
        except ValueError:
            return False
        # One at a time: whoever guesses passwords must not keep the processors busy.
        async with self._one_at_a_time:
            valid = bool(colon) and await asyncio.to_thread(self.check, user, password)
        if valid:
            if len(self._known) > 1000:
                self._known.clear()
            self._known[key] = now + 60
        return valid


async def _refuse(send: Send, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store")]
    if status == 401:
        headers.append((b"www-authenticate", b'Basic realm="mlflow"'))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
