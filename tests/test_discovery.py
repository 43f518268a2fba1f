"""A folder is a registry."""

from __future__ import annotations

import sys

import pytest

from sintese import discovery
from sintese.errors import UnknownNameError


@pytest.fixture
def plugins(tmp_path, monkeypatch):
    """A package with a good, a broken and a private module, and one that is a folder itself."""
    package = tmp_path / "sintese_test_plugins"
    (package / "folder").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "good.py").write_text("ANSWER = 42\n")
    (package / "broken.py").write_text("raise RuntimeError('imported')\n")
    (package / "_private.py").write_text("")
    (package / "notes.txt").write_text("no module")
    (package / "folder" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield package.name
    for name in [name for name in sys.modules if name.partition(".")[0] == package.name]:
        del sys.modules[name]


def test_available_lists_the_modules_and_imports_none(plugins):
    assert discovery.available(plugins) == ("broken", "folder", "good")
    assert not [name for name in sys.modules if name.startswith(f"{plugins}.")]


def test_get_imports_what_was_asked_for_and_nothing_else(plugins):
    assert discovery.get(plugins, "good", kind="plug-in").ANSWER == 42
    assert f"{plugins}.broken" not in sys.modules


def test_a_broken_module_says_so_itself(plugins):
    with pytest.raises(RuntimeError, match="imported"):
        discovery.get(plugins, "broken", kind="plug-in")


@pytest.mark.parametrize("name", ["goood", "_private", "good.ANSWER", "../good", ""])
def test_other_names_are_refused_and_what_there_is_is_listed(plugins, name):
    with pytest.raises(UnknownNameError) as caught:
        discovery.get(plugins, name, kind="plug-in")
    assert f"unknown plug-in {name!r}" in str(caught.value)
    assert "broken, folder, good" in str(caught.value)


@pytest.mark.parametrize("package", ["sintese.engines", "sintese.datasets"])
def test_the_real_folders_are_registries(package, repo):
    folder = repo / "src" / package.replace(".", "/")
    files = {path.stem for path in folder.glob("*.py") if not path.stem.startswith("_")}
    assert set(discovery.available(package)) == files
