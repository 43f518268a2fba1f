"""Dockerfile, compose.yaml, the workflow, and the programs that run in and against containers."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
CONTAINER = ROOT / "serve" / "container.py"
CHECK_API = ROOT / "tests" / "container" / "check_api.py"

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE_TEXT = (ROOT / "compose.yaml").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load(COMPOSE_TEXT)
SERVICES = COMPOSE["services"]
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))

# What an image is built from and what a person may reach.
BUILT = [name for name, service in SERVICES.items() if "build" in service]
PUBLISHED = {"tracking": "5000", "model": "8080", "page": "7860"}


def stages() -> dict[str, list[tuple[str, str]]]:
    """The Dockerfile's stages by name, each as (instruction, rest) with continuations joined."""
    text = re.sub(r"<<BASIC_AUTH(.*)\n(?:.*\n)*?BASIC_AUTH\n", r"\1\n", DOCKERFILE)
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    found: dict[str, list[tuple[str, str]]] = {}
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        instruction, _, rest = line.partition(" ")
        if instruction == "FROM":
            current = found.setdefault(rest.rpartition(" AS ")[2], [])
        current.append((instruction, rest))
    return found


STAGES = stages()


def lineage(stage: str) -> list[tuple[str, str]]:
    """The instructions of a stage after those of the stages it is built on."""
    base = STAGES[stage][0][1].partition(" AS ")[0]
    return [*(lineage(base) if base in STAGES else []), *STAGES[stage]]


def last(stage: str, instruction: str) -> str:
    return [rest for name, rest in lineage(stage) if name == instruction][-1]


def images() -> list[str]:
    built_on = [rest.partition(" AS ")[0] for stage in STAGES.values() for _, rest in stage[:1]]
    named = [service["image"] for service in SERVICES.values()]
    jobs = [job["container"]["image"] for job in WORKFLOW["jobs"].values() if "container" in job]
    return [image for image in [*built_on, *named, *jobs] if image not in STAGES]


# --- Dockerfile ------------------------------------------------------------------------------


def test_the_default_image_serves_the_champion():
    assert list(STAGES)[-1] == "model-server"
    assert json.loads(last("model-server", "CMD")) == ["python", "/app/container.py", "serve"]


@pytest.mark.parametrize("stage", ["model-server", "page", "tracking"])
def test_an_image_runs_as_nobody_in_particular(stage):
    assert last(stage, "USER") == "10001:10001"
    # By number, so that an orchestrator can tell that it is not root.
    assert ("RUN", last("base", "RUN")) in STAGES["base"] and "--uid 10001" in last("base", "RUN")


@pytest.mark.parametrize("stage", ["model-server", "page", "tracking"])
def test_an_image_says_whether_it_is_well(stage):
    check = last(stage, "HEALTHCHECK")
    command = json.loads(check.partition("CMD ")[2])
    port = last(stage, "EXPOSE")
    assert command[:3] == ["python", "/app/container.py", "health"]
    assert f"127.0.0.1:{port}/" in command[3] and "--start-period" in check


@pytest.mark.parametrize("stage", ["model-server", "page", "tracking"])
def test_an_image_starts_its_program_without_a_shell(stage):
    assert isinstance(json.loads(last(stage, "CMD")), list)
    assert "ENTRYPOINT" not in dict(lineage(stage))


def test_dependencies_are_installed_before_the_source_arrives():
    order = [rest for name, rest in STAGES["libraries"] if name in ("COPY", "RUN")]

    def place(words):
        return next(number for number, rest in enumerate(order) if words in rest)

    wanted = ["constraints.txt ./", "torch==", "pyproject.toml ./", "--requirement", "src src"]
    places = [place(words) for words in [*wanted, "--no-deps"]]
    assert places == sorted(set(places))


def test_only_what_the_image_needs_is_sent_to_the_builder():
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    kept = {rule[1:] for rule in rules if rule.startswith("!")}
    sources = {
        part.split("/")[0]
        for stage in STAGES.values()
        for name, rest in stage
        if name == "COPY" and "--from" not in rest and "--chmod" not in rest
        for part in rest.split()[:-1]
    }
    assert sources == kept
    assert all((ROOT / name).exists() for name in kept)


def test_what_is_copied_is_enough_to_build_the_package():
    """Everything that pyproject.toml takes into the wheel is inside the image's build."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    copied = {
        word for name, rest in STAGES["libraries"] if name == "COPY" for word in rest.split()[:-1]
    }
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {path.split("/")[0] for path in [*wheel["packages"], *wheel["force-include"]]}
    assert needed | {project["project"]["readme"], *project["project"]["license-files"]} <= copied


# --- compose.yaml ----------------------------------------------------------------------------


def test_no_image_floats():
    assert images()
    for image in images():
        name, colon, tag = image.rpartition(":")
        assert colon and name and tag and tag != "latest", image
    assert re.search(r"^FROM python:\d+\.\d+\.\d+-", DOCKERFILE, re.MULTILINE)
    assert re.fullmatch(r"postgres:\d+\.\d+-\w+", SERVICES["db"]["image"])


def test_ports_are_published_on_loopback_only():
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == set(PUBLISHED)
    for name, ports in published.items():
        assert len(ports) == 1
        assert ports[0].startswith("127.0.0.1:") and ports[0].endswith(f":{PUBLISHED[name]}")


def test_only_the_tracking_server_reaches_the_database():
    assert COMPOSE["networks"]["database"] == {"internal": True}
    inside = [name for name, service in SERVICES.items() if "database" in service["networks"]]
    assert sorted(inside) == ["db", "tracking"]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_cannot_do_more_than_it_must(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"] and "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service and service.get("user", "1") not in ("0", "root")
    assert any(mount.partition(":")[0] == "/tmp" for mount in service["tmpfs"])
    assert not any(volume.startswith(("/", ".", "~")) for volume in service.get("volumes", []))


def test_services_wait_for_each_others_health():
    waits = {
        name: {on: how["condition"] for on, how in service["depends_on"].items()}
        for name, service in SERVICES.items()
        if "depends_on" in service
    }
    assert waits == {
        "tracking": {"db": "service_healthy"},
        "model": {"tracking": "service_healthy"},
        "train": {"tracking": "service_healthy"},
        "page": {"model": "service_started"},
    }
    # Waiting for health needs a health check: in the file, or in the image it is built from.
    assert SERVICES["db"]["healthcheck"]["test"][:2] == ["CMD", "pg_isready"]
    for name in ("tracking", "model", "page"):
        assert last(SERVICES[name]["build"]["target"], "HEALTHCHECK")


def test_training_is_not_part_of_up():
    assert SERVICES["train"]["profiles"] == ["train"]
    recipe = SERVICES["train"]["command"][1]
    assert (ROOT / recipe).is_file()


def test_the_tracking_server_is_closed():
    tracking = SERVICES["tracking"]
    options = dict(word.partition("=")[::2] for word in tracking["command"])
    assert tracking["command"][:2] == ["mlflow", "server"]
    assert options["--app-name"] == "basic-auth" and "--serve-artifacts" in options
    hosts = options["--allowed-hosts"].split(",")
    assert {"tracking:5000", "localhost:*"} <= set(hosts) and "*" not in hosts
    assert "*" not in options["--cors-allowed-origins"]
    environment = tracking["environment"]
    assert environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"
    # The artifacts are where the volume is, and both databases are PostgreSQL.
    assert options["--artifacts-destination"] in [v.split(":")[1] for v in tracking["volumes"]]
    assert environment["MLFLOW_BACKEND_STORE_URI"].startswith("postgresql+psycopg2:")
    assert "database_uri = postgresql+psycopg2:" in DOCKERFILE
    # The image alone does the same as the image in compose.
    alone = json.loads(last("tracking", "CMD"))
    assert {"basic-auth", "--serve-artifacts", "/mlartifacts"} <= set(alone)


def test_mlflow_knows_every_option_that_the_tracking_server_is_given():
    done = run_python("from mlflow.cli import cli; cli(['server', '--help'])")
    known = set(re.findall(r"--[a-z-]+", done))
    given = {word.partition("=")[0] for word in SERVICES["tracking"]["command"][2:]}
    alone = {word for word in json.loads(last("tracking", "CMD"))[2:] if word.startswith("--")}
    assert given <= known and alone <= known


# --- secrets ---------------------------------------------------------------------------------


def example() -> dict[str, str]:
    return dict(re.findall(r"^(\w+)=(.*)$", EXAMPLE, re.MULTILINE))


def test_every_variable_is_explained_in_the_example():
    used = set(re.findall(r"\$\{(\w+)", COMPOSE_TEXT))
    assert used == set(example())
    before = ""
    for line in EXAMPLE.splitlines():
        # A comment above it, or above its neighbour.
        assert not re.match(r"\w+=", line) or before.startswith("#") or "=" in before, line
        before = line


def test_defaults_in_the_example_are_those_of_compose():
    for name, default in re.findall(r"\$\{(\w+):-([^}]*)\}", COMPOSE_TEXT):
        assert example()[name] == default, name


def test_no_secret_is_written_down():
    required = set(re.findall(r"\$\{(\w+):\?", COMPOSE_TEXT))
    secret = {name for name in example() if re.search("PASSWORD|KEY|TOKEN", name)}
    assert secret and secret <= required
    assert not any(example()[name] for name in secret)
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|TOKEN", name):
                assert re.fullmatch(r"\$\{\w+:\?.*\}", value), name
    assert not re.search(r"(?i)(password|secret|token)\w*=", DOCKERFILE)
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert ".env" in ignored


def test_no_package_index_is_named():
    for path in ("Dockerfile", "compose.yaml", ".env.example", ".github/workflows/ci.yml"):
        text = (ROOT / path).read_text(encoding="utf-8")
        urls = set(re.findall(r"https?://([\w.-]+)", text))
        assert urls <= {"127.0.0.1", "localhost", "tracking", "model", "...", "mlflow.example.org"}


def test_docker_compose_accepts_the_file(tmp_path):
    docker = shutil.which("docker")
    probe = docker and subprocess.run([docker, "compose", "version"], capture_output=True)
    if not probe or probe.returncode:
        pytest.skip("no docker client with compose here; the workflow runs this check")
    filled = re.sub(r"^(\w+_(?:PASSWORD|KEY))=$", r"\1=x-twelve-characters", EXAMPLE, flags=re.M)
    (tmp_path / "filled").write_text(filled)
    (tmp_path / "empty").write_text(EXAMPLE)
    command = [docker, "compose", "--file", str(ROOT / "compose.yaml"), "--profile", "train"]
    kept = {name: value for name, value in os.environ.items() if name not in example()}

    def config(settings):
        return subprocess.run(
            [*command, "--env-file", str(tmp_path / settings), "config", "--format", "json"],
            capture_output=True, text=True, env=kept,
        )  # fmt: skip

    accepted = config("filled")
    assert accepted.returncode == 0, accepted.stderr
    resolved = json.loads(accepted.stdout)["services"]
    for name in PUBLISHED:
        assert [port["host_ip"] for port in resolved[name]["ports"]] == ["127.0.0.1"]
    allowed = next(w for w in resolved["tracking"]["command"] if w.startswith("--allowed-hosts"))
    assert allowed == "--allowed-hosts=tracking:5000,localhost:*,127.0.0.1:*"
    refused = config("empty")
    assert refused.returncode != 0 and ".env.example" in refused.stderr


# --- the workflow ----------------------------------------------------------------------------


def test_the_workflow_goes_through_the_stages_in_order():
    jobs = WORKFLOW["jobs"]
    assert {name: job.get("needs") for name, job in jobs.items()} == {
        "lint": None,
        "tests": "lint",
        "containers": "tests",
    }
    assert jobs["tests"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    containers = jobs["containers"]["steps"]
    steps = [step.get("uses", "") + step.get("run", "") for step in containers]
    order = ["build-push-action", "run --rm train", "check_api.py", "down --volumes"]
    places = [next(i for i, step in enumerate(steps) if word in step) for word in order]
    assert places == sorted(places)


def test_the_workflow_builds_the_images_that_compose_starts():
    built = {
        step["with"]["tags"]: step["with"]["target"]
        for step in WORKFLOW["jobs"]["containers"]["steps"]
        if "build-push-action" in step.get("uses", "")
    }
    assert built == {SERVICES[name]["image"]: SERVICES[name]["build"]["target"] for name in BUILT}


def test_the_workflow_may_do_little_and_pins_what_it_uses():
    assert WORKFLOW["permissions"] == {}
    for job in WORKFLOW["jobs"].values():
        assert job["permissions"] == {"contents": "read"}
        assert job["timeout-minutes"] and job["runs-on"] != "ubuntu-latest"
        for step in job["steps"]:
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", step.get("uses", "a@" + "0" * 40))
    assert WORKFLOW["concurrency"]["group"]


def test_pre_commit_runs_what_make_check_runs():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks = {hook["id"]: hook for repo in config["repos"] for hook in repo["hooks"]}
    assert {"check-yaml", "check-toml", "check-json", "detect-private-key"} <= set(hooks)
    assert hooks["check-added-large-files"]["args"] == ["--maxkb=25000"]
    local = {hook.get("entry", "").split(" --")[0] for hook in hooks.values()}
    assert {"ruff check", "ruff format", "mypy", "lint-imports"} <= local


# --- serve/container.py ----------------------------------------------------------------------


def container_environment(**changes):
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MLFLOW_", "SINTESE_"))
    }
    # The proxy is one that nobody answers at: nothing on this machine may be asked through it.
    return kept | {
        "PYTHONPATH": str(ROOT / "src"),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "http_proxy": "http://127.0.0.1:9",
        "no_proxy": "",
    } | changes  # fmt: skip


def run_container(*arguments, **changes):
    return subprocess.run(
        [sys.executable, CONTAINER, *arguments],
        env=container_environment(**changes), capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def run_python(script):
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=container_environment(), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


class Server:
    """A tiny HTTP server on a free port whose answers a function decides."""

    def __init__(self, answer):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.reply(None)

            def do_POST(self):
                self.reply(self.rfile.read(int(self.headers["Content-Length"])))

            def reply(self, body):
                status, content = answer(self.path, body)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(content).encode())

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def test_health_is_an_exit_code():
    with Server(lambda path, _: (200 if path == "/ping" else 500, {})) as server:
        assert run_container("health", f"{server.url}/ping").returncode == 0
        ill = run_container("health", f"{server.url}/other")
    assert ill.returncode == 1 and "500" in ill.stderr
    gone = run_container("health", f"{server.url}/ping")
    assert gone.returncode == 1 and "Traceback" not in gone.stderr


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "MLFLOW_TRACKING_URI is not set"),
        (
            {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "SINTESE_WAIT_SECONDS": "soon"},
            "SINTESE_WAIT_SECONDS='soon'",
        ),
    ],
)
def test_a_wrong_setting_is_said_at_once(changes, said):
    done = run_container("serve", **changes)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr


def test_waiting_for_a_tracking_server_is_bounded():
    started = time.monotonic()
    done = run_container(
        "serve", MLFLOW_TRACKING_URI="http://127.0.0.1:9", SINTESE_WAIT_SECONDS="1"
    )
    assert done.returncode == 1 and time.monotonic() - started < 60
    # On a busy machine the time is up before there was anything to wait for.
    *waiting, gave_up = done.stderr.strip().splitlines()
    reason = "no tracking server at http://127.0.0.1:9"
    assert all(line.startswith(f"sintese: waiting, up to 1 s: {reason}") for line in waiting)
    assert gave_up.startswith(f"sintese: error: gave up after 1 s: {reason}")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """The address of a tracking database with a registered model `sintese` and no alias."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"
    registry(uri, "create_registered_model('sintese')")
    registry(uri, "create_model_version('sintese', '/nowhere')")
    return uri


def registry(uri, call):
    """Call a method of MLflow's client, in a process of its own because warnings are errors."""
    run_python(f"import mlflow; mlflow.MlflowClient({uri!r}, {uri!r}).{call}")


def set_champion(uri):
    registry(uri, "set_registered_model_alias('sintese', 'champion', '1')")


def test_waiting_ends_when_the_alias_is_set(store):
    settings = {"MLFLOW_TRACKING_URI": store, "SINTESE_MODEL": "", "SINTESE_WAIT_SECONDS": ""}
    with subprocess.Popen(
        [sys.executable, CONTAINER, "wait"],
        env=container_environment(**settings), stderr=subprocess.PIPE, text=True,
    ) as waiting:  # fmt: skip
        first = waiting.stderr.readline()
        assert "no sintese@champion yet" in first and "docker compose run --rm train" in first
        set_champion(store)
        said = waiting.stderr.read()
        assert waiting.wait(60) == 0
    assert said.startswith("sintese: models:/sintese/1 is the champion")


def fake_mlflow(folder, script):
    """A folder for PATH with an `mlflow` that runs `script`."""
    folder.mkdir()
    program = folder / "mlflow"
    program.write_text(f"#!{sys.executable}\n{script}")
    program.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def test_the_champion_is_served_and_the_exit_code_kept(store, tmp_path):
    set_champion(store)
    path = fake_mlflow(tmp_path / "bin", "import sys; print(*sys.argv[1:]); sys.exit(7)")
    done = run_container("serve", MLFLOW_TRACKING_URI=store, PATH=path)
    assert done.returncode == 7
    assert done.stdout == (
        "models serve --model-uri models:/sintese@champion --env-manager local "
        "--host 0.0.0.0 --port 8080\n"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="containers run Linux")
def test_stopping_waits_for_the_server_that_mlflow_leaves_behind(store, tmp_path):
    """`mlflow models serve` dies of SIGTERM at once; its uvicorn still has requests to answer."""
    set_champion(store)
    server = (
        "import signal, sys, time\n"
        "def stop(*_):\n"
        "    time.sleep(1.5); print('answered', flush=True); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    script = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {server!r}])\n"
    environment = container_environment(
        MLFLOW_TRACKING_URI=store, PATH=fake_mlflow(tmp_path / "bin", script)
    )
    with subprocess.Popen(
        [sys.executable, CONTAINER, "serve"],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM
        assert process.stdout.read() == "answered\n"


def test_stopping_while_it_waits_is_quick():
    environment = container_environment(MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    with subprocess.Popen(
        [sys.executable, CONTAINER, "serve"],
        env=environment, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert "waiting" in process.stderr.readline()
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM
        assert time.monotonic() - started < 20


# --- tests/container/check_api.py ------------------------------------------------------------


def right(path, body):
    """What a model server that works answers; its summary of a text is its first words."""
    if body is None:
        return 200 if path in ("/ping", "/health", "/version") else 404, {}
    try:
        request = json.loads(body)
    except ValueError:
        return 400, {"message": "Invalid input.\nIt is not JSON."}
    table = request.get("dataframe_split")
    texts = [row[0] for row in table["data"]] if table else request["inputs"]
    if any(not isinstance(text, str) or not text.strip() for text in texts):
        return 400, {"message": "text 1 is not a text"}
    params = request.get("params", {})
    if params.get("num_beams", 1) < 1:
        return 400, {"message": "num_beams=0 should be greater than or equal to 1"}
    words = params.get("max_new_tokens", 4)
    return 200, {"predictions": [" ".join(text.split()[:words]) for text in texts]}


def check_api(url):
    return subprocess.run(
        [sys.executable, CHECK_API, url],
        env=container_environment(), capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_check_api_passes_a_right_server():
    with Server(right) as server:
        done = check_api(server.url)
    assert done.returncode == 0, done.stdout
    assert "FAIL" not in done.stdout and done.stdout.endswith("12 of 12 checks passed\n")


def changed(found, change):
    """A server like `right` whose successful answers to POST are changed."""

    def answer(path, body):
        status, content = right(path, body)
        if body is not None and (status == 200) == found:
            return change(status, content)
        return status, content

    return answer


def summaries(change):
    return changed(True, lambda _, content: (200, {"predictions": change(content["predictions"])}))


WRONG = {
    "unhealthy": (lambda path, body: (503, {}) if body is None else right(path, body), "health"),
    "fails": (changed(True, lambda *_: (500, {"message": "oh"})), "a list of texts"),
    "no predictions": (changed(True, lambda *_: (200, {"out": []})), "a list of texts"),
    "one too few": (summaries(lambda found: found[1:]), "a list of texts"),
    "not texts": (summaries(lambda found: [1.5 for _ in found]), "a list of texts"),
    "all empty": (summaries(lambda found: ["" for _ in found]), "a list of texts"),
    "all alike": (summaries(lambda found: ["sempre igual" for _ in found]), "a list of texts"),
    "sorted": (summaries(sorted), "the order of texts"),
    "deaf to params": (
        lambda path, body: right(path, body and body.replace(b"max_new_tokens", b"ignored")),
        "inference params",
    ),
    "summarizes null": (
        lambda path, body: right(path, body and body.replace(b"null", b'"None"')),
        "refuses null",
    ),
    "summarizes nothing": (
        lambda path, body: right(path, body and body.replace(b'[""]', b'["?"]')),
        "refuses an empty text",
    ),
    "shows its stack": (
        changed(False, lambda status, content: (status, content | {"stack_trace": "Traceback"})),
        "refuses a number",
    ),
    "blames itself": (changed(False, lambda _, content: (500, content)), "refuses broken JSON"),
    "chatters": (
        changed(False, lambda status, _: (status, {"message": "no\nand no\nand no"})),
        "refuses a param out of range",
    ),
    "says nothing": (changed(False, lambda status, _: (status, {})), "refuses null"),
}


@pytest.mark.parametrize("fault", sorted(WRONG))
def test_check_api_finds_a_wrong_server(fault):
    answer, check = WRONG[fault]
    with Server(answer) as server:
        done = check_api(server.url)
    assert done.returncode == 1, done.stdout
    assert f"FAIL  {check}: " in done.stdout and done.stderr == ""


def test_check_api_says_that_nobody_answers():
    with Server(right) as server:
        url = server.url
    done = check_api(url)
    assert done.returncode == 1 and "no answer from" in done.stdout and done.stderr == ""
    assert check_api("127.0.0.1:8080").returncode == 2


def test_the_programs_of_containers_need_nothing_but_python():
    """Neither the health check nor the API check imports more than the standard library."""
    for path in (CONTAINER, CHECK_API):
        names = re.findall(r"^(?:import|from) (\w+)", path.read_text(encoding="utf-8"), re.M)
        assert names and set(names) <= set(sys.stdlib_module_names)
