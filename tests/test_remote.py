"""A model server as a summarizer, against a real local server."""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sintese.errors import ConfigError, InputError, ModelError
from sintese.remote import ModelServer
from sintese.summarizer import Engine, Summarizer


class Server(ThreadingHTTPServer):
    """Answers every POST with `status` and `body`; keeps what it was asked."""

    daemon_threads = True
    status: int = 200
    body: bytes | None = None
    length: int | None = None

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str | None, dict]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, content, *, status: int = 200, length: int | None = None) -> None:
        self.body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.status, self.length = status, length


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, self.headers["Content-Type"], content))
        body = self.server.body
        if body is None:
            summaries = [text.upper() for text in content["inputs"]]
            body = json.dumps({"predictions": summaries}).encode()
        self.send_response(self.server.status)
        length = len(body) if self.server.length is None else self.server.length
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments) -> None:
        """Say nothing."""


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def one_line(caught) -> str:
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("slash", ["", "/"])
def test_texts_go_out_and_summaries_come_back(server, slash):
    remote = ModelServer(server.url + slash)
    assert remote.summarize(("não é ação", "b")) == ["NÃO É AÇÃO", "B"]
    ((path, kind, content),) = server.asked
    assert (path, kind) == ("/invocations", "application/json")
    assert content == {"inputs": ["não é ação", "b"], "params": {}}


def test_it_is_a_summarizer_that_knows_no_lengths(server):
    remote = ModelServer(server.url)
    assert isinstance(remote, Summarizer) and not isinstance(remote, Engine)
    assert remote.name == f"127.0.0.1:{server.server_port}"


def test_params_are_sent_and_the_original_keeps_its_own(server):
    plain = ModelServer(server.url, params={"num_beams": 2})
    chosen = plain.using(max_new_tokens=9).using(num_beams=3)
    chosen.summarize(["a"])
    plain.summarize(["a"])
    assert [content["params"] for _, _, content in server.asked] == [
        {"num_beams": 3, "max_new_tokens": 9},
        {"num_beams": 2},
    ]


def test_strange_texts_travel_whole(server):
    texts = ["\u2028", "😀 \0", "\ud800", '"\\']
    server.answer({"predictions": texts})
    assert ModelServer(server.url).summarize(texts) == texts
    assert server.asked[0][2]["inputs"] == texts


@pytest.mark.parametrize("status", [400, 404, 413, 422, 429])
def test_a_refusal_is_told_in_the_servers_words(server, status):
    server.answer(
        {"error_code": "INVALID_PARAMETER_VALUE", "message": "text 1 is blank"}, status=status
    )
    with pytest.raises(InputError) as caught:
        ModelServer(server.url).summarize(["a"])
    assert one_line(caught) == "text 1 is blank"


@pytest.mark.parametrize("body", [b"<html>", b"", b"[]", b'{"detail": "x"}', b"\xff", b"3"])
def test_a_refusal_without_words_is_told_by_its_status(server, body):
    server.answer(body, status=404)
    with pytest.raises(InputError) as caught:
        ModelServer(server.url).summarize(["a"])
    assert one_line(caught) == "404 Not Found"


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_failure_of_the_server_is_no_fault_of_the_input(server, status):
    server.answer({"message": "out of memory"}, status=status)
    with pytest.raises(ModelError) as caught:
        ModelServer(server.url).summarize(["a"])
    assert one_line(caught) == f"the model server at {server.url} failed: out of memory"


@pytest.mark.parametrize(
    "answer",
    [
        {"predictions": ["x"]},
        {"predictions": ["x", "y", "z"]},
        {"predictions": "xy"},
        {"predictions": {"0": "x", "1": "y"}},
        {"predictions": None},
        {"outputs": ["x", "y"]},
        ["x", "y"],
        # Never the word "None" for a summary.
        {"predictions": ["x", None]},
        {"predictions": ["x", {"summary": "y"}]},
    ],
)
def test_anything_but_a_summary_each_is_an_error(server, answer):
    server.answer(answer)
    with pytest.raises(ModelError) as caught:
        ModelServer(server.url).summarize(["a", "b"])
    assert server.url in one_line(caught) and "2 summaries" in str(caught.value)


@pytest.mark.parametrize("answer", [b"not JSON", b"", b"\xff\xfe", b'{"predictions": ["x"'])
def test_an_answer_that_is_no_json_is_an_error(server, answer):
    server.answer(answer)
    with pytest.raises(ModelError) as caught:
        ModelServer(server.url).summarize(["a"])
    assert server.url in one_line(caught)


def test_an_answer_that_breaks_off_is_an_error(server):
    server.answer({"predictions": ["x"]}, length=1000)
    with pytest.raises(ModelError) as caught:
        ModelServer(server.url).summarize(["a"])
    assert server.url in one_line(caught)


def test_a_server_that_is_not_there_is_an_error(closed_port, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    url = f"http://127.0.0.1:{closed_port}"
    with pytest.raises(ModelError) as caught:
        ModelServer(url).summarize(["a"])
    assert f"no answer from the model server at {url}: " in one_line(caught)


def test_something_that_speaks_no_http_is_an_error(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"SSH-2.0-OpenSSH_9.9\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            with pytest.raises(ModelError) as caught:
                ModelServer(url).summarize(["a"])
        finally:
            thread.join()
        assert url in one_line(caught)


def test_a_server_that_never_answers_is_given_up_on(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(ModelError, match="timed out"):
            ModelServer(url, timeout=0.2).summarize(["a"])


@pytest.mark.parametrize(
    "url", ["", "localhost:5001", "file:///etc/passwd", "ftp://x", "models:/sintese@champion"]
)
def test_an_address_that_is_no_http_is_refused_at_once(url):
    with pytest.raises(ConfigError) as caught:
        ModelServer(url)
    assert caught.value.faults[0].where == "--endpoint" and repr(url) in one_line(caught)


@pytest.mark.parametrize("url", ["http://", "http://127.0.0.1:port", "http://a b:1"])
def test_an_address_that_cannot_be_used_is_no_traceback(url):
    with pytest.raises((ConfigError, ModelError)) as caught:
        ModelServer(url).summarize(["a"])
    assert url in one_line(caught)


def test_a_password_in_the_address_is_shown_to_nobody(closed_port, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    try:
        remote = ModelServer(f"http://ana:segredo@127.0.0.1:{closed_port}")
    except ConfigError as error:
        assert "segredo" not in str(error)
        return
    assert remote.name == f"127.0.0.1:{closed_port}"
    with pytest.raises(ModelError) as caught:
        remote.summarize(["a"])
    assert "segredo" not in one_line(caught)
