"""The tracking server as people start it: real processes, real requests, a stand-in for ngrok."""

import base64
import contextlib
import http.client
import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[1]
TOKEN = "2abcDEFtoken9876543210"
PASSWORD = "uma-senha-comprida"
PUBLIC = "sintese-teste.ngrok.app"
BASIC = "Basic " + base64.b64encode(f"sintese:{PASSWORD}".encode()).decode()

needs_auth = pytest.mark.skipif(
    importlib.util.find_spec("flask_wtf") is None,
    reason="an exposed server needs the server extra: pip install 'sintese[server]'",
)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(**changes):
    """The variables of this process without those that steer MLflow, and with `changes`."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("MLFLOW_", "NGROK_", "PYNGROK_"))
    }
    paths = [str(ROOT / "src"), kept.get("PYTHONPATH", "")]
    kept["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    return kept | changes


class Up:
    """A running `mlflow_up.py`, its output and its port."""

    def __init__(self, folder, *options, port=None, **variables):
        self.port = port or free_port()
        self.folder = folder
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / f"output-{self.port}.txt"
        self.started = time.monotonic()
        with self.log.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, ROOT / "mlflow_up.py", "--port", str(self.port), *options],
                cwd=folder,
                env=environment(**variables),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self):
        return self.log.read_text(encoding="utf-8")

    def wait_for(self, words, seconds=90):
        """Seconds since the start until the output contains `words`."""
        deadline = time.monotonic() + seconds
        while words not in self.output:
            assert self.process.poll() is None and time.monotonic() < deadline, self.output
            time.sleep(0.05)
        return time.monotonic() - self.started

    def ask(self, method, path, *, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode("utf-8", "replace")

    def stop(self, with_signal=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(with_signal)
        return self.process.wait(timeout=20)

    def family(self):
        process = psutil.Process(self.process.pid)
        return [process, *process.children(recursive=True)]


def fake_ngrok(folder, *, does="work"):
    """An executable that speaks as ngrok does towards pyngrok, and notes what it was given."""
    path = folder / f"ngrok-{does}"
    path.write_text(
        f"#!{sys.executable}\n"
        + textwrap.dedent(
            f"""
            import http.server, json, os, sys, time
            config = sys.argv[sys.argv.index("--config") + 1]
            seen = {{"argv": sys.argv, "environment": dict(os.environ),
                    "config": json.load(open(config)),
                    "mode": oct(os.stat(config).st_mode & 0o777)}}
            json.dump(seen, open({str(folder / "ngrok-seen.json")!r}, "w"))

            def say(text):
                print("t=2026-01-01T00:00:00+0000 " + text, flush=True)

            if {does!r} == "hang":
                time.sleep(60)
            if {does!r} == "refuse":
                say('lvl=eror msg="session closing" obj=tunnels.session '
                    'err="authentication failed: Your authtoken: {TOKEN} ERR_NGROK_107"')
                sys.exit(1)

            class Api(http.server.BaseHTTPRequestHandler):
                def answer(self, status, value):
                    body = json.dumps(value).encode()
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

                def do_GET(self):
                    self.answer(200, {{"endpoints": []}})

                def do_POST(self):
                    asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                    seen["asked"] = asked
                    json.dump(seen, open({str(folder / "ngrok-seen.json")!r}, "w"))
                    self.answer(201, {{"name": asked["name"], "url": "https://{PUBLIC}",
                                      "upstream": asked["upstream"]}})

                def log_message(self, *_):
                    pass

            server = http.server.HTTPServer(("127.0.0.1", 0), Api)
            say(f"lvl=info msg=\\"starting web service\\" obj=web addr=127.0.0.1:"
                f"{{server.server_address[1]}} allow_hosts=[]")
            say('lvl=info msg="client session established" obj=tunnels.session')
            say('lvl=info msg="tunnel session started" obj=tunnels.session')
            server.serve_forever()
            """
        )
    )
    path.chmod(0o755)
    return path


def run_python(script, folder, **variables):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=folder,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """Both servers, started side by side: the plain one and the one behind a tunnel."""
    both = {"local": Up(tmp_path_factory.mktemp("local"))}
    if importlib.util.find_spec("flask_wtf"):
        folder = tmp_path_factory.mktemp("exposed")
        both["exposed"] = Up(
            folder,
            "--tunnel",
            "--remote-artifacts",
            NGROK_AUTH_TOKEN=TOKEN,
            MLFLOW_UP_PASSWORD=PASSWORD,
            PYNGROK_NGROK_PATH=str(fake_ngrok(folder)),
        )
    try:
        yield both
    finally:
        for server in both.values():
            server.stop()


@pytest.fixture(scope="module")
def local(servers):
    servers["local"].wait_for("Ctrl-C stops it")
    return servers["local"]


@pytest.fixture(scope="module")
def exposed(servers):
    servers["exposed"].wait_for("Ctrl-C stops it")
    return servers["exposed"]


def test_help_is_quick_and_loads_nothing_heavy(tmp_path):
    script = f"""
        import sys
        sys.argv = ["mlflow_up.py", "--help"]
        sys.path.insert(0, {str(ROOT)!r})
        import mlflow_up
        try:
            mlflow_up.command()
        except SystemExit as done:
            assert done.code == 0
        heavy = {{"mlflow", "pyngrok", "psutil", "uvicorn", "asyncio"}} & set(sys.modules)
        assert not heavy, heavy
    """
    assert "--backend-store-uri" in run_python(script, tmp_path)


@pytest.mark.parametrize(
    ("options", "variables", "words"),
    [
        (["--tunnel"], {"MLFLOW_UP_PASSWORD": PASSWORD}, "NGROK_AUTHTOKEN is not set"),
        (["--tunnel"], {"NGROK_AUTHTOKEN": TOKEN}, "MLFLOW_UP_PASSWORD is not set"),
        (
            ["--tunnel"],
            {"NGROK_AUTHTOKEN": TOKEN, "MLFLOW_UP_PASSWORD": "curta"},
            "MLFLOW_UP_PASSWORD has 5 characters",
        ),
        (["--host", "0.0.0.0"], {}, "--host 0.0.0.0: MLFLOW_UP_PASSWORD is not set"),
        (["--host", "::"], {}, "--host ::: MLFLOW_UP_PASSWORD is not set"),
        (["--allowed-host", "*"], {}, "--allowed-host '*'"),
        (["--allowed-host", "http://x"], {}, "without scheme"),
        (["--backend-store-uri", "mlflow.db"], {}, "--backend-store-uri 'mlflow.db'"),
        (["--backend-store-uri", "sqlite:///no/where.db"], {}, "there is no folder"),
    ],
)
def test_refuses_in_one_line_before_anything_listens(tmp_path, options, variables, words):
    up = Up(tmp_path, *options, **variables)
    assert up.process.wait(timeout=20) == 2
    assert words in up.output
    assert up.output.count("\n") == 1 and TOKEN not in up.output
    assert [path.name for path in tmp_path.iterdir()] == [up.log.name]
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", up.port)) != 0


def test_says_where_everything_is(local):
    assert local.ask("GET", "/health") == (200, "OK")
    assert f"URL        {local.url}\n" in local.output
    assert f"database   sqlite:///{local.folder / 'mlflow.db'}\n" in local.output
    assert f"artifacts  {local.folder / 'mlruns'}\n" in local.output
    assert f"export MLFLOW_TRACKING_URI={local.url}\n" in local.output


def test_runs_with_and_without_the_server_are_the_same_runs(local):
    script = f"""
        import mlflow, warnings
        with_server = mlflow.MlflowClient({local.url!r})
        without = mlflow.MlflowClient()
        ids, roots = {{}}, set()
        for name, client in (("with", with_server), ("without", without)):
            experiment = client.create_experiment(name)
            roots.add(client.get_experiment(experiment).artifact_location.rpartition("/")[0])
            run = client.create_run(experiment)
            client.log_metric(run.info.run_id, "rouge1", 41.5)
            client.log_text(run.info.run_id, "olá de " + name, "nota.txt")
            ids[run.info.run_id] = "olá de " + name
        assert roots == {{{str(local.folder / "mlruns")!r}}}, roots
        for client in (with_server, without):
            assert {{e.name for e in client.search_experiments()}} >= {{"with", "without"}}
            for run_id, text in ids.items():
                assert client.get_run(run_id).data.metrics == {{"rouge1": 41.5}}
                path = client.download_artifacts(run_id, "nota.txt")
                assert open(path, encoding="utf-8").read() == text
        print("\\n".join(ids))
    """
    for run_id in run_python(script, local.folder).split():
        # The way the pages of the server read a file.
        status, text = local.ask("GET", f"/get-artifact?path=nota.txt&run_uuid={run_id}")
        assert status == 200 and text.startswith("olá de with")


def test_local_server_refuses_forged_host_and_origin(local):
    path, body = "/api/2.0/mlflow/experiments/create", json.dumps({"name": "forjado"})
    kind = {"Content-Type": "application/json"}
    assert local.ask("GET", "/", Host="evil.example")[0] == 403
    assert local.ask("GET", "/", Host="10.evil.example")[0] == 403
    assert local.ask("POST", path, body=body, Origin="http://evil.example", **kind)[0] == 403
    assert local.ask("POST", path, body=body, Origin=local.url, **kind)[0] == 200


def test_busy_port_is_said_in_one_line(local, tmp_path):
    second = Up(tmp_path, port=local.port)
    assert second.process.wait(timeout=20) == 2
    assert second.output.startswith(f"mlflow_up: --port {local.port}: already in use")
    assert second.output.count("\n") == 1
    assert local.ask("GET", "/health")[0] == 200


def test_no_tunnel_program_and_no_network(tmp_path):
    """FAULTS W6: told within five seconds, and the local server lives on."""
    if not importlib.util.find_spec("flask_wtf"):
        pytest.skip("needs the server extra")
    up = Up(
        tmp_path,
        "--tunnel",
        NGROK_AUTHTOKEN=TOKEN,
        MLFLOW_UP_PASSWORD=PASSWORD,
        PYNGROK_NGROK_PATH=str(tmp_path / "absent"),
        HTTPS_PROXY="http://127.0.0.1:9",
        https_proxy="http://127.0.0.1:9",
    )
    try:
        assert up.wait_for("going on without a tunnel") < 5
        assert "the ngrok program is not at" in up.output
        up.wait_for("Ctrl-C stops it")
        assert up.output.count("mlflow_up: ") == 1
        assert up.ask("GET", "/health")[0] == 401
        assert up.ask("GET", "/health", Authorization=BASIC)[0] == 200
    finally:
        family = up.family()
        assert up.stop(signal.SIGINT) == 0
    assert not psutil.wait_procs(family, timeout=5)[1]


@needs_auth
@pytest.mark.parametrize(
    ("does", "words"), [("hang", "no answer from ngrok"), ("refuse", "authentication failed")]
)
def test_tunnel_program_that_fails(tmp_path, does, words):
    up = Up(
        tmp_path,
        "--tunnel",
        NGROK_AUTHTOKEN=TOKEN,
        MLFLOW_UP_PASSWORD=PASSWORD,
        PYNGROK_NGROK_PATH=str(fake_ngrok(tmp_path, does=does)),
    )
    try:
        assert up.wait_for("going on without a tunnel") < 5
        assert words in up.output and TOKEN not in up.output
        assert "Traceback" not in up.output
        assert not [p for p in up.family() if "ngrok" in " ".join(p.cmdline())]
    finally:
        family = up.family()
        assert up.stop() == 0  # in the middle of the server's start
    assert not psutil.wait_procs(family, timeout=10)[1]


@pytest.fixture(scope="module")
def routes(tmp_path_factory):
    """Every route of MLflow's authenticated app, as (method, path), and what `gate` did."""
    folder = tmp_path_factory.mktemp("routes")
    (folder / "auth.ini").write_text(
        f"[mlflow]\ndefault_permission = NO_PERMISSIONS\ndatabase_uri = sqlite:///{folder}/auth.db\n"
    )
    script = f"""
        import json, sys
        sys.path.insert(0, {str(ROOT / "serve")!r})
        import gate
        from mlflow.server import auth, app as flask_app
        auth.store.init_db(auth.auth_config.database_uri)
        auth.store.create_user("sintese", "a-senha-que-vazou", is_admin=False)
        app = gate.gate().app
        found = []
        for rule in flask_app.url_map.iter_rules():
            found += [(method, str(rule)) for method in rule.methods]
        waiting = list(app.routes)
        while waiting:
            route = waiting.pop()
            waiting += getattr(getattr(route, "original_router", None), "routes", [])
            found += [(m, route.path) for m in getattr(route, "methods", None) or []]
        check = auth.store.authenticate_user
        print(json.dumps({{"routes": found, "old": check("sintese", "a-senha-que-vazou"),
                          "new": check("sintese", {PASSWORD!r}),
                          "admin": auth.store.get_user("sintese").is_admin}}))
    """
    printed = run_python(
        script,
        folder,
        MLFLOW_AUTH_CONFIG_PATH=str(folder / "auth.ini"),
        MLFLOW_FLASK_SERVER_SECRET_KEY="x" * 32,
        MLFLOW_AUTH_ADMIN_USERNAME="sintese",
        MLFLOW_AUTH_ADMIN_PASSWORD=PASSWORD,
        MLFLOW_UP_NAMES="[]",
        MLFLOW_UP_ORIGINS="[]",
        _MLFLOW_SGI_NAME="uvicorn",
    )
    return json.loads(printed.splitlines()[-1])


@needs_auth
def test_every_route_of_the_exposed_server_asks_for_credentials(exposed, routes):
    """FAULTS W2."""
    found = {(method, re.sub(r"<[^>]*>|\{[^}]*\}", "1", path)) for method, path in routes["routes"]}
    paths = {path for _, path in found}
    assert len(found) > 300
    assert {"/health", "/version", "/graphql", "/signup", "/static-files/1"} <= paths
    assert any("server-info" in path for path in paths)
    assert any("/assistant/" in path for path in paths) and any("/jobs" in path for path in paths)
    found |= {(method, "/not/a/route") for method in ("GET", "POST", "BREW")}
    found |= {("GET", "/HEALTH"), ("GET", "//health"), ("GET", "/static-files/../health")}
    wrong = "Basic " + base64.b64encode(b"sintese:outra-senha-longa").decode()
    opened = []
    for method, path in sorted(found):
        status, _ = exposed.ask(method, path)
        opened += [(method, path, status)] if status != 401 else []
    for path in ("/", "/health", "/version", "/graphql", "/static-files/1"):
        for header in (wrong, "Basic %%%", "Basic", "Bearer abc", BASIC[:-4]):
            status, _ = exposed.ask("GET", path, Authorization=header)
            opened += [("GET", path, status, header)] if status != 401 else []
    assert opened == []
    assert exposed.ask("GET", "/version", Authorization=BASIC)[0] == 200
    assert "MLflow" in exposed.ask("GET", "/", Authorization=BASIC)[1]


@needs_auth
def test_the_password_that_is_set_is_the_one_that_holds(routes):
    assert (routes["old"], routes["new"], routes["admin"]) == (False, True, True)


@needs_auth
def test_exposed_server_refuses_forged_host_and_origin(exposed):
    """FAULTS W3."""
    known = {"Authorization": BASIC, "Content-Type": "application/json"}
    path = "/ajax-api/2.0/mlflow/experiments/create"

    def create(name, **headers):
        return exposed.ask("POST", path, body=json.dumps({"name": name}), **known | headers)[0]

    for host in ("evil.example", f"{PUBLIC}.evil.example", "10.0.0.1", "", f"evil.{PUBLIC}"):
        assert exposed.ask("GET", "/", Host=host, **known)[0] == 403, host
        assert exposed.ask("GET", "/health", Host=host)[0] == 403, host
    for origin in ("https://evil.example", "null", f"https://evil.{PUBLIC}", "file://"):
        assert create("forjado", Host=PUBLIC, Origin=origin) == 403, origin
        assert exposed.ask("GET", "/", Origin=origin, **known)[0] == 403, origin
    assert create("pelo túnel", Host=PUBLIC, Origin=f"https://{PUBLIC}") == 200
    assert create("daqui", Origin=exposed.url) == 200
    assert exposed.ask("GET", "/ajax-api/3.0/mlflow/assistant/config", **known)[0] == 403


@needs_auth
def test_a_client_elsewhere_records_and_reads_through_the_tunnel_server(exposed, tmp_path):
    script = """
        import mlflow
        client = mlflow.MlflowClient()
        run = client.create_run(client.create_experiment("de longe"))
        client.log_text(run.info.run_id, "olá", "nota.txt")
        assert run.info.artifact_uri.startswith("mlflow-artifacts:/")
        assert open(client.download_artifacts(run.info.run_id, "nota.txt")).read() == "olá"
    """
    run_python(
        script,
        tmp_path,
        MLFLOW_TRACKING_URI=exposed.url,
        MLFLOW_TRACKING_USERNAME="sintese",
        MLFLOW_TRACKING_PASSWORD=PASSWORD,
    )
    assert list(tmp_path.iterdir()) == []
    assert list((exposed.folder / "mlruns").glob("*/*/artifacts/nota.txt"))


@needs_auth
def test_token_and_password_are_nowhere_to_be_read(exposed):
    """FAULTS W1, second half."""
    seen = json.loads((exposed.folder / "ngrok-seen.json").read_text())
    assert seen["config"]["agent"]["authtoken"] == TOKEN and seen["mode"] == "0o600"
    assert seen["asked"]["upstream"] == {"url": exposed.url}
    assert seen["asked"]["inspect"] is False
    assert PASSWORD not in json.dumps(seen) and TOKEN not in json.dumps(seen["environment"])
    assert TOKEN not in json.dumps(seen["argv"])
    assert not Path(seen["argv"][seen["argv"].index("--config") + 1]).exists()
    family = exposed.family()
    assert len(family) >= 3
    for process in family:
        assert TOKEN not in " ".join(process.cmdline()), process
        assert PASSWORD not in " ".join(process.cmdline()), process
    for process in family[1:]:
        assert TOKEN not in json.dumps(process.environ()), process
    assert TOKEN not in exposed.output and PASSWORD not in exposed.output
    assert f"export MLFLOW_TRACKING_URI=https://{PUBLIC}\n" in exposed.output
    for path in exposed.folder.rglob("*"):
        if path.is_file() and not path.name.startswith("ngrok-"):
            assert TOKEN.encode() not in path.read_bytes(), path
    assert oct((exposed.folder / "basic_auth.db").stat().st_mode & 0o777) == "0o600"


@needs_auth
def test_a_tunnel_that_closes_is_told_and_the_server_lives_on(exposed):
    agent = next(p for p in exposed.family() if "ngrok-work" in " ".join(p.cmdline()))
    agent.kill()
    exposed.wait_for("the tunnel has closed", seconds=10)
    assert exposed.ask("GET", "/health", Authorization=BASIC)[0] == 200


@pytest.mark.parametrize("name", ["local", "exposed"])
def test_stops_cleanly(servers, name):
    """Last, because it ends the servers of this module."""
    if name not in servers:
        pytest.skip("needs the server extra")
    up = servers[name]
    family = up.family()
    folders = [v for p in family[1:] for v in [p.environ().get("MLFLOW_AUTH_CONFIG_PATH")] if v]
    assert up.stop(signal.SIGINT if name == "exposed" else signal.SIGTERM) == 0
    assert up.output.endswith("MLflow has stopped.\n")
    assert "Traceback" not in up.output
    assert not psutil.wait_procs(family, timeout=5)[1]
    assert not any(Path(folder).parent.exists() for folder in folders)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", up.port)) != 0
