"""The project's own files agree with one another."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import yaml

REPO = Path(__file__).resolve().parents[1]


def _project() -> dict[str, object]:
    return tomllib.loads((REPO / "pyproject.toml").read_text("utf-8"))["project"]


def _name(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match
    return match.group().lower().replace("_", "-")


def _pins() -> dict[str, str]:
    lines = (REPO / "constraints.txt").read_text("utf-8").splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {_name(name): version for name, version in pins}


def test_every_dependency_is_pinned() -> None:
    project = _project()
    wanted = {_name(d) for d in project["dependencies"]}
    for extra in project["optional-dependencies"].values():
        wanted |= {_name(d) for d in extra}
    assert wanted - _pins().keys() == set()


def test_pins_name_no_build_of_one_machine() -> None:
    assert not [name for name, version in _pins().items() if "+" in version]


def test_conda_environment_holds_the_direct_dependencies_at_their_pins() -> None:
    content = yaml.safe_load((REPO / "conda.yaml").read_text("utf-8"))
    (packages,) = [entry["pip"] for entry in content["dependencies"] if isinstance(entry, dict)]
    pins = _pins()
    names = [_name(d) for d in _project()["dependencies"]]
    assert sorted(map(_pinned, packages)) == sorted((name, pins[name]) for name in names)


def test_mlproject_declares_only_the_recipe() -> None:
    """A declared parameter is always passed: every other one must come through undeclared."""
    content = yaml.safe_load((REPO / "MLproject").read_text("utf-8"))
    assert content["conda_env"] == "conda.yaml"
    main = content["entry_points"]["main"]
    assert list(main["parameters"]) == ["config"]
    assert (REPO / main["parameters"]["config"]["default"]).is_file()


def test_ci_calls_what_the_readme_tells_people_to_call() -> None:
    script = (REPO / ".ci" / "run").read_text("utf-8")
    assert re.search(r"^exec make test$", script, re.MULTILINE)
    assert subprocess.run(["bash", "-n", str(REPO / ".ci" / "run")], check=False).returncode == 0


def test_nothing_names_a_package_registry() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=REPO, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    hosts = re.compile(r"(?:files\.)?python" r"hosted\.org|registry\.npm" r"js|pypi\." r"org")
    suffixes = {".py", ".md", ".toml", ".txt", ".yaml", ".yml", ".cfg", ""}
    named = [
        path
        for path in listed
        if Path(path).suffix in suffixes
        and (REPO / path).is_file()
        and hosts.search((REPO / path).read_text("utf-8", errors="ignore"))
    ]
    assert named == []


def _pinned(requirement: str) -> tuple[str, str]:
    name, version = requirement.split("==")
    return _name(name), version
