"""Start the MLflow tracking server: one command, one database, one artifact folder.

Run without options it serves `mlflow.db` and `mlruns` of the current directory, which is where
MLflow itself writes when no server is named, so runs made with and without the server are the
same runs. Beyond this machine (`--tunnel`, or a `--host` other than loopback) every single
route asks for a password.
"""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import ipaddress
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

# So that the script runs in an environment that holds the dependencies but not this project.
sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))

from sintese.errors import MissingExtraError, SinteseError, UsageError

MIN_PASSWORD = 12  # MLflow's basic-auth app refuses shorter ones.
START_SECONDS = 120.0
TUNNEL_SECONDS = 4.0
_LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
_TOKEN_NAMES = ("NGROK_AUTHTOKEN", "NGROK_AUTH_TOKEN")

# Settings of a client or of another server that would change this one behind its options.
_NOT_FOR_THE_SERVER = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_REGISTRY_URI",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_WORKSPACE",
    "MLFLOW_STATIC_PREFIX",
    "MLFLOW_GUNICORN_OPTS",
    "MLFLOW_UVICORN_OPTS",
    "MLFLOW_ARTIFACTS_ONLY",
    "MLFLOW_SERVE_ARTIFACTS",
    "MLFLOW_AUTH_CONFIG_PATH",
    "MLFLOW_ARTIFACTS_DESTINATION",
    "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE",
    "MLFLOW_ENABLE_REMOTE_ASSISTANT",
)


@dataclass(frozen=True)
class Login:
    """Who may enter an exposed server: its first user, who is also its administrator."""

    user: str
    password: str

    @property
    def header(self) -> str:
        """The value of the HTTP header `Authorization`."""
        pair = f"{self.user}:{self.password}".encode()
        return "Basic " + base64.b64encode(pair).decode()


class TunnelError(SinteseError):
    """The tunnel could not be opened; the local server does without."""


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=5000, show_default=True, type=click.IntRange(1, 65535), help="Port."
)
@click.option(
    "--backend-store-uri",
    default="sqlite:///mlflow.db",
    show_default=True,
    envvar="MLFLOW_BACKEND_STORE_URI",
    show_envvar=True,
    help="Database of runs and of the registry.",
)
@click.option(
    "--artifacts-root",
    default="mlruns",
    show_default=True,
    help="Folder (or s3://, gs://, … address) of models, plots and other files.",
)
@click.option(
    "--remote-artifacts",
    is_flag=True,
    help="Clients send and fetch artifacts through the server. Needed when they run on other "
    "machines; holds for experiments created from now on, which then always need the server.",
)
@click.option(
    "--tunnel",
    is_flag=True,
    help="Also open a public address through ngrok. Needs NGROK_AUTHTOKEN (or NGROK_AUTH_TOKEN) "
    f"and MLFLOW_UP_PASSWORD, {MIN_PASSWORD} characters or more; MLFLOW_UP_USER is 'sintese' "
    "unless set.",
)
@click.option(
    "--allowed-host",
    "allowed_hosts",
    multiple=True,
    metavar="NAME",
    help="A further name by which browsers and clients reach this server. Repeatable.",
)
@click.option(
    "--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Server processes."
)
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Start the MLflow tracking server and stay until Ctrl-C.

    Runs are read at the printed URL. To record there, copy the printed export line into the
    shell that trains.
    """
    # kill and a closed terminal end the server as Ctrl-C does: children first, exit code 0.
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.default_int_handler)
    try:
        serve(**options)
    except KeyboardInterrupt:
        click.echo("MLflow has stopped.")
    except SinteseError as error:
        click.echo(f"mlflow_up: {error}", err=True)
        ctx.exit(error.exit_code)


def serve(
    *,
    host: str,
    port: int,
    backend_store_uri: str,
    artifacts_root: str,
    remote_artifacts: bool,
    tunnel: bool,
    allowed_hosts: tuple[str, ...],
    workers: int,
) -> None:
    """Check everything, start the server, say where it is and wait for its end.

    Raises:
        UsageError: an option or a variable is wrong or missing; nothing has been started.
        SinteseError: the server did not start, or ended by itself.
        KeyboardInterrupt: it was asked to stop, and has.
    """
    # Taken out of the environment so that no child process inherits them.
    tokens = [os.environ.pop(name, "") for name in _TOKEN_NAMES]
    token = next((value.strip() for value in tokens if value.strip()), "")
    password = os.environ.pop("MLFLOW_UP_PASSWORD", "")
    exposed = tunnel or not _is_loopback(host)
    if tunnel and not token:
        raise UsageError(
            "--tunnel: NGROK_AUTHTOKEN is not set; copy the token from your ngrok dashboard and "
            "export it"
        )
    login = _login(password, why="--tunnel" if tunnel else f"--host {host}") if exposed else None
    _check_names(allowed_hosts)
    _check_port(host, port)
    database = _database(backend_store_uri)
    artifacts = artifacts_root if "://" in artifacts_root else str(Path(artifacts_root).absolute())
    _warn_of_file_store(backend_store_uri)

    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mlflow-up-")))
        address = "127.0.0.1" if host in ("0.0.0.0", "::") else host
        local_url = f"http://{f'[{address}]' if ':' in address else address}:{port}"
        public_url, agent = "", None
        if tunnel:
            # First, because the server must know the public name that it answers to. Until it
            # listens, ngrok can only say that nobody is at home.
            try:
                public_url, agent = stack.enter_context(_tunnel(local_url, token, folder))
            except TunnelError as error:
                click.echo(f"mlflow_up: --tunnel: {error}; going on without a tunnel", err=True)
        names = _names(host, allowed_hosts, public_url)
        origins = _origins(names, port, public_url)
        arguments = [
            *("--host", host, "--port", str(port), "--workers", str(workers)),
            *("--allowed-hosts", ",".join(_with_any_port(names))),
            *("--cors-allowed-origins", ",".join(origins)),
            *("--uvicorn-opts", "--log-level warning"),
        ]
        if remote_artifacts:
            arguments += ["--serve-artifacts", "--artifacts-destination", artifacts]
            arguments += ["--default-artifact-root", "mlflow-artifacts:/"]
        else:
            arguments += ["--no-serve-artifacts", "--default-artifact-root", artifacts]
        environment = _environment(database)
        if login:
            _install_gate(folder, login, names, origins, environment)
            arguments += ["--app-name", "sintese-gate"]
        child = stack.enter_context(_server(arguments, environment))
        _await_health(child, local_url, login)
        _announce(
            local_url, public_url, database=database, artifacts=artifacts, login=login,
            remote_artifacts=remote_artifacts,
        )  # fmt: skip
        while child.poll() is None:
            if agent is not None and agent.poll() is not None:
                click.echo("mlflow_up: the tunnel has closed; the local server goes on", err=True)
                agent = None
            time.sleep(0.3)
        raise SinteseError(f"the MLflow server ended by itself with exit code {child.returncode}")


# --- what is asked for -----------------------------------------------------------------------


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _login(password: str, *, why: str) -> Login:
    user = os.environ.get("MLFLOW_UP_USER", "").strip() or "sintese"
    if ":" in user:
        raise UsageError(f"MLFLOW_UP_USER={user!r}: a user name cannot contain a colon")
    if len(password) < MIN_PASSWORD:
        state = f"has {len(password)} characters" if password else "is not set"
        raise UsageError(
            f"{why}: MLFLOW_UP_PASSWORD {state}; others could reach this server, so export a "
            f"password of at least {MIN_PASSWORD} characters"
        )
    if importlib.util.find_spec("flask_wtf") is None:
        raise MissingExtraError("mlflow[auth]", "server", f"{why}: asking for a password")
    return Login(user, password)


def _check_names(names: tuple[str, ...]) -> None:
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]", name):
            raise UsageError(
                f"--allowed-host {name!r}: give a bare host name, without scheme, port or *"
            )


def _check_port(host: str, port: int) -> None:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise UsageError(
            f"--host {host}: not an address of this machine ({error.strerror})"
        ) from error
    with socket.socket(family, kind) as probe:
        if os.name == "posix":
            # As the server does: a port still in TIME_WAIT after a restart is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except PermissionError as error:
            raise UsageError(
                f"--port {port}: needs special rights; choose one above 1023"
            ) from error
        except OSError as error:
            if error.errno in (98, 48, 10048):  # EADDRINUSE on Linux, macOS and Windows
                raise UsageError(
                    f"--port {port}: already in use; stop what listens there or choose another, "
                    f"such as --port {port + 1 if port < 65535 else port - 1}"
                ) from error
            raise UsageError(
                f"--host {host}: not an address of this machine ({error.strerror})"
            ) from error


def _database(uri: str) -> str:
    """Return the database address with an absolute path, where it is a SQLite file."""
    found = re.match(r"sqlite(?:\+\w+)?:///", uri)
    if not found or uri[found.end() :] in ("", ":memory:"):
        if "://" in uri and not uri.startswith("sqlite"):
            return uri
        raise UsageError(
            f"--backend-store-uri {uri!r}: not a database address; write sqlite:///FILE.db or "
            "postgresql+psycopg2://USER:PASSWORD@HOST/NAME"
        )
    path = Path(uri[found.end() :]).absolute()
    if not path.parent.is_dir():
        raise UsageError(f"--backend-store-uri {uri!r}: there is no folder {path.parent}")
    return f"{found[0]}{path}" if os.name == "nt" else f"{found[0]}/{str(path).lstrip('/')}"


def _warn_of_file_store(uri: str) -> None:
    # MLflow falls back to such a store when no tracking URI is set; runs would miss the server.
    if uri == "sqlite:///mlflow.db" and any(Path("mlruns").glob("[0-9]*/meta.yaml")):
        click.echo(
            "mlflow_up: ./mlruns holds runs of MLflow's older file store; programs started here "
            "without MLFLOW_TRACKING_URI write there and not into mlflow.db",
            err=True,
        )


def _names(host: str, extra: tuple[str, ...], public_url: str) -> list[str]:
    """Return every name by which a request may address this server, in lower case."""
    names = [*_LOCAL_NAMES, *extra]
    if not _is_loopback(host):
        if host in ("0.0.0.0", "::"):
            names += [socket.gethostname(), *_own_addresses()]
        else:
            names.append(f"[{host}]" if ":" in host else host)
    if public_url:
        names.append(public_url.partition("://")[2].rstrip("/"))
    return list(dict.fromkeys(name.lower() for name in names))


def _own_addresses() -> list[str]:
    import psutil

    found: list[str] = []
    for addresses in psutil.net_if_addrs().values():
        for entry in addresses:
            if entry.family == socket.AF_INET:
                found.append(entry.address)
            elif entry.family == socket.AF_INET6:
                found.append(f"[{entry.address.partition('%')[0]}]")
    return found


def _with_any_port(names: list[str]) -> list[str]:
    # MLflow matches with fnmatch, to which an opening bracket is special.
    return [pattern for name in names for pattern in (name, name.replace("[", "[[]") + ":*")]


def _origins(names: list[str], port: int, public_url: str) -> list[str]:
    origins = [f"http://{name}:{port}" for name in names]
    origins += [f"https://{name}" for name in names if name not in _LOCAL_NAMES]
    return [*dict.fromkeys([*origins, *([public_url] if public_url else [])])]


# --- the server process ----------------------------------------------------------------------


def _environment(database: str) -> dict[str, str]:
    environment = {k: v for k, v in os.environ.items() if k not in _NOT_FOR_THE_SERVER}
    # By variable and not by option: a database address may hold a password, and the arguments
    # of a process can be read by everyone on the machine.
    environment["MLFLOW_BACKEND_STORE_URI"] = database
    environment.setdefault("MLFLOW_REGISTRY_STORE_URI", database)
    # Seven more processes of 120 MB each, for judges and scorers that are not used here.
    environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    environment["MLFLOW_DISABLE_TELEMETRY"] = "true"
    # MLflow's own use of Starlette; nothing that the reader of the terminal could mend.
    quiet = [
        environment.get("PYTHONWARNINGS", ""),
        "ignore:starlette.middleware.wsgi is deprecated",
    ]
    environment["PYTHONWARNINGS"] = ",".join(filter(None, quiet))
    return environment


def _install_gate(
    folder: Path, login: Login, names: list[str], origins: list[str], environment: dict[str, str]
) -> None:
    """Let `mlflow server --app-name sintese-gate` find `gate` of serve/gate.py.

    MLflow finds its apps among the entry points of installed distributions; a folder with the
    metadata of one serves as well as an installation and cannot be out of date.
    """
    shutil.copy(Path(__file__).with_name("serve") / "gate.py", folder / "sintese_gate.py")
    metadata = folder / "sintese_gate-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: sintese-gate\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[mlflow.app]\nsintese-gate = sintese_gate:gate\n")
    users = Path("basic_auth.db").absolute()  # MLflow's own name for it
    users.touch(mode=0o600)
    settings = folder / "basic_auth.ini"
    settings.write_text(
        "[mlflow]\ndefault_permission = NO_PERMISSIONS\nauth_cache_ttl_seconds = 60\n"
        f"database_uri = sqlite:///{str(users).replace('%', '%%')}\n",
        encoding="utf-8",
    )
    paths = [str(folder), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    environment["MLFLOW_AUTH_CONFIG_PATH"] = str(settings)
    environment["MLFLOW_AUTH_ADMIN_USERNAME"] = login.user
    environment["MLFLOW_AUTH_ADMIN_PASSWORD"] = login.password
    environment["MLFLOW_BASIC_AUTH_FAIL_CLOSED"] = "true"
    environment.setdefault("MLFLOW_FLASK_SERVER_SECRET_KEY", secrets.token_hex(32))
    environment["MLFLOW_UP_NAMES"] = json.dumps(names)
    environment["MLFLOW_UP_ORIGINS"] = json.dumps(origins)


@contextlib.contextmanager
def _server(arguments: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run `mlflow server` and end it, with all its workers, on the way out."""
    child = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        # A terminal sends Ctrl-C to the whole session, and uvicorn takes a second one for
        # "at once"; in a session of its own the server hears only what is sent below.
        start_new_session=True,
    )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(timeout=8)
        except subprocess.TimeoutExpired:
            if hasattr(os, "killpg"):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
            child.kill()
            child.wait()


def _await_health(child: subprocess.Popen[bytes], url: str, login: Login | None) -> None:
    # Without the proxies that urllib takes from the environment: this is the same machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(f"{url}/health")
    if login:
        request.add_header("Authorization", login.header)
    deadline = time.monotonic() + START_SECONDS
    while child.poll() is None:
        with contextlib.suppress(OSError), opener.open(request, timeout=2):
            return
        if time.monotonic() > deadline:
            raise SinteseError(f"the MLflow server did not answer within {START_SECONDS:.0f} s")
        time.sleep(0.1)
    raise SinteseError("the MLflow server did not start; the lines above say why")


def _announce(
    local_url: str,
    public_url: str,
    *,
    database: str,
    artifacts: str,
    login: Login | None,
    remote_artifacts: bool,
) -> None:
    lines = ["MLflow is up.", f"  URL        {local_url}"]
    if public_url:
        lines.append(f"  public     {public_url}")
    if login:
        lines.append(f"  user       {login.user} (password: MLFLOW_UP_PASSWORD)")
    without_password = re.sub(r"(://[^:/@]*):[^@]*@", r"\1:…@", database)
    lines.append(f"  database   {without_password}")
    lines.append(f"  artifacts  {artifacts}{' (through the server)' if remote_artifacts else ''}")
    lines += ["", "To record here, copy into the shell that trains:"]
    lines.append(f"  export MLFLOW_TRACKING_URI={public_url or local_url}")
    if login:
        lines.append(f"  export MLFLOW_TRACKING_USERNAME={login.user}")
        lines.append('  export MLFLOW_TRACKING_PASSWORD="$MLFLOW_UP_PASSWORD"')
    if login and not remote_artifacts:
        lines.append("Clients on other machines can send files only with --remote-artifacts.")
    lines += ["", "Ctrl-C stops it."]
    click.echo("\n".join(lines))


# --- the tunnel ------------------------------------------------------------------------------


@contextlib.contextmanager
def _tunnel(
    local_url: str, token: str, folder: Path
) -> Iterator[tuple[str, subprocess.Popen[str] | None]]:
    """Open a public address for `local_url` and close it on the way out.

    The token reaches ngrok in a file that only this user can read: pyngrok's own way puts it
    among the arguments of the process.

    Yields:
        The public URL and the process of the ngrok program.

    Raises:
        TunnelError: there is no program or no network, or ngrok refuses.
    """
    import logging

    from pyngrok import conf, ngrok, process

    # What ngrok says about a bad token contains the token.
    quiet = logging.getLogger("pyngrok")
    quiet.addHandler(logging.NullHandler())
    quiet.propagate = False

    settings = folder / "ngrok.yml"
    settings.touch(mode=0o600)
    agent = {"authtoken": token, "update_check": False}
    settings.write_text(json.dumps({"version": "3", "agent": agent}), encoding="utf-8")
    config = conf.PyngrokConfig(config_path=str(settings), startup_timeout=int(TUNNEL_SECONDS))
    try:
        if not os.path.exists(config.ngrok_path):
            _fetch_ngrok(config)
        # `inspect` would keep every request, passwords included, readable at port 4040.
        opened = _within(
            TUNNEL_SECONDS, lambda: ngrok.connect(local_url, pyngrok_config=config, inspect=False)
        )
        url = str(opened.public_url)
        if not url.startswith("https://"):
            raise TunnelError(f"ngrok offered {url}, which is not https")
    except Exception as error:
        _kill_ngrok(config.ngrok_path)
        first_line = (str(error) or type(error).__name__).strip().splitlines()[0]
        raise TunnelError(first_line.replace(token, "…").rstrip(".")) from None
    finally:
        settings.unlink(missing_ok=True)
    try:
        yield url, process.get_process(config).proc
    finally:
        _kill_ngrok(config.ngrok_path)


def _fetch_ngrok(config: Any) -> None:
    from pyngrok import installer, ngrok

    advice = "install it, or set PYNGROK_NGROK_PATH to where it is"
    absent = f"the ngrok program is not at {config.ngrok_path} and cannot be fetched"

    def look() -> None:
        # Any answer will do. Asked for first so that being offline is known within seconds,
        # whereas the download may take its time.
        with contextlib.suppress(urllib.error.HTTPError):
            urllib.request.urlopen(installer.CDN_URL_PREFIX, timeout=TUNNEL_SECONDS).close()

    try:
        _within(TUNNEL_SECONDS, look)
    except Exception as error:
        raise TunnelError(f"{absent} ({error}): {advice}") from error
    click.echo(f"Fetching the ngrok program, this once, into {config.ngrok_path}")
    try:
        ngrok.install_ngrok(config)
    except Exception as error:
        raise TunnelError(f"{absent} ({error}): {advice}") from error


def _within(seconds: float, work: Callable[[], Any]) -> Any:
    """Return what `work` returns, or raise TunnelError when it takes longer.

    pyngrok reads the program's output without a limit of its own, so that a program that says
    nothing would hold everything up.
    """
    import queue
    import threading

    results: queue.SimpleQueue[tuple[Any, Exception | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            results.put((work(), None))
        except Exception as error:
            results.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        value, error = results.get(timeout=seconds)
    except queue.Empty:
        raise TunnelError(f"no answer from ngrok within {seconds:.0f} s (offline?)") from None
    if error is not None:
        raise error
    return value


def _kill_ngrok(path: str) -> None:
    # Not ngrok.kill(): it waits for a lock that a start in progress holds.
    import psutil

    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if path in child.cmdline():
                child.kill()
                child.wait(timeout=2)


if __name__ == "__main__":
    command()
