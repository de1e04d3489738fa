"""A foreign package named like one of ours is noticed before it is imported."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from headrace import shadowing
from headrace.shadowing import PACKAGES, complaint, foreign_packages

ROOT = Path(shadowing.__file__).resolve().parent.parent


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """As in a fresh process: none of the packages has been imported."""
    modules = {name: module for name, module in sys.modules.items() if name.partition(".")[0] not in PACKAGES}
    monkeypatch.setattr(sys, "modules", modules)
    return monkeypatch


def test_the_names_are_those_of_the_distribution() -> None:
    shipped = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert set(PACKAGES) == {name for name in shipped if "." not in name} - {"headrace"}


def test_our_own_are_no_strangers() -> None:
    assert foreign_packages() == []
    assert complaint() is None


@pytest.mark.parametrize("kind", ["package", "module"])
def test_a_stranger_that_comes_first_is_named(forgotten: pytest.MonkeyPatch, tmp_path: Path, kind: str) -> None:
    stranger = tmp_path / ("rules/__init__.py" if kind == "package" else "rules.py")
    stranger.parent.mkdir(exist_ok=True)
    stranger.write_text("raise RuntimeError('imported')")
    forgotten.syspath_prepend(str(tmp_path))
    assert foreign_packages() == [("rules", str(stranger))]
    assert complaint() == (
        f"other packages take the place of headrace's own: rules is {stranger}; "
        "install headrace in an environment of its own"
    )


def test_a_stranger_that_comes_last_does_no_harm(forgotten: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "rules.py").touch()
    (tmp_path / "core").mkdir()
    forgotten.setattr(sys, "path", [*sys.path, str(tmp_path)])
    assert foreign_packages() == []


def test_a_folder_without_init_counts_where_it_is_all_there_is(forgotten: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sinks").mkdir()
    forgotten.setattr(sys, "path", [str(tmp_path)])
    forgotten.setattr(sys, "meta_path", [finder for finder in sys.meta_path if isinstance(finder, type)])
    assert ("sinks", str(tmp_path / "sinks")) in foreign_packages()


def test_one_that_is_already_loaded_is_noticed(forgotten: pytest.MonkeyPatch) -> None:
    forgotten.setitem(sys.modules, "core", ModuleType("core"))
    assert foreign_packages() == [("core", "a module without a file named core")]


def test_an_absent_package_is_not_a_foreign_one(forgotten: pytest.MonkeyPatch) -> None:
    forgotten.setattr(sys, "path", [])
    forgotten.setattr(sys, "meta_path", [finder for finder in sys.meta_path if isinstance(finder, type)])
    assert foreign_packages() == []


def test_asking_imports_none_of_them() -> None:
    code = (
        "import sys; from headrace.shadowing import PACKAGES, complaint; assert complaint() is None;"
        "assert not [name for name in PACKAGES if name in sys.modules]"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-P", "-c", code], check=True, cwd="/", env=environment)
