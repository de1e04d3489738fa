"""The door for extensions: nothing is imported before it is named, and every way it can fail says what to do."""

from __future__ import annotations

import sys
from importlib.metadata import Distribution, EntryPoint
from pathlib import Path

import pytest

from core.errors import ExtensionError
from core.registry import Registry, did_you_mean, require_driver

GROUP = "headrace.tests"


class Base:
    """What the extensions of these tests derive from."""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path; what is imported from it is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    return tmp_path


def points(**values: str) -> list[EntryPoint]:
    return [EntryPoint(name, value, GROUP) for name, value in values.items()]


def owned(name: str, value: str, owner: str, folder: Path) -> EntryPoint:
    """An entry point of an installed distribution, as `importlib.metadata` would list it."""
    info = folder / f"{owner}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {owner}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {value}\n")
    [point] = Distribution.at(info).entry_points
    return point


def test_names_are_listed_without_importing(modules: Path) -> None:
    (modules / "exploding.py").write_text("raise RuntimeError('imported')")
    registry = Registry(GROUP, Base, points(b="exploding:B", a="exploding:A"))
    assert registry.names() == ["a", "b"]
    assert "exploding" not in sys.modules


def test_a_class_is_loaded_once(modules: Path) -> None:
    (modules / "plugin_ok.py").write_text(f"from {__name__} import Base\nclass Mine(Base): ...\n")
    sys.modules[__name__] = sys.modules.get(__name__) or _this_module()
    registry = Registry(GROUP, Base, points(mine="plugin_ok:Mine"))
    found = registry.load("mine")
    assert found.__name__ == "Mine"
    assert registry.load("mine") is found


def _this_module() -> object:
    module = type(sys)(__name__)
    module.__dict__.update(globals())
    return module


@pytest.mark.parametrize(("name", "hint"), [("consle", "did you mean 'console'"), ("zzz", "known are console, null")])
def test_an_unknown_name_comes_with_a_hint(name: str, hint: str) -> None:
    registry = Registry(GROUP, Base, points(null="x:X", console="y:Y"))
    with pytest.raises(ExtensionError, match=hint) as caught:
        registry.load(name)
    assert (caught.value.group, caught.value.name) == (GROUP, name)


def test_an_empty_group_says_so() -> None:
    with pytest.raises(ExtensionError, match="known are none"):
        Registry(GROUP, Base, []).load("x")


def test_a_name_claimed_twice_names_both_owners(tmp_path: Path) -> None:
    claims = [owned("kafka", "one:A", "one-pkg", tmp_path), owned("kafka", "two:B", "two-pkg", tmp_path)]
    registry = Registry(GROUP, Base, [*claims, *points(fine="x:X")])
    for ask in (registry.names, lambda: registry.load("kafka")):
        with pytest.raises(
            ExtensionError, match=r"'kafka' is claimed by one-pkg \(one:A\) and two-pkg \(two:B\); uninstall"
        ):
            ask()


def test_one_class_listed_twice_is_no_quarrel() -> None:
    registry = Registry(GROUP, Base, [*points(mine="x:X"), *points(mine="x:X")])
    assert registry.names() == ["mine"]


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("import no_such_module", "cannot be loaded: No module named 'no_such_module'"),
        ("", "cannot be loaded: module 'plugin_bad' has no attribute 'Mine'"),
        ("def f(:", "cannot be loaded: SyntaxError: "),
        ("1 / 0", "cannot be loaded: ZeroDivisionError: division by zero"),
        ("Mine = 5", "plugin_bad:Mine is not a Base"),
        ("class Mine: ...", "plugin_bad:Mine is not a Base"),
    ],
)
def test_a_broken_extension_is_one_clear_error(modules: Path, source: str, text: str) -> None:
    (modules / "plugin_bad.py").write_text(source)
    with pytest.raises(ExtensionError) as caught:
        Registry(GROUP, Base, points(mine="plugin_bad:Mine")).load("mine")
    assert text in str(caught.value)


def test_the_built_ins_come_through_the_same_door() -> None:
    assert "json" in Registry("headrace.codecs", object).names()
    assert "password_file" in Registry("headrace.auth", object).names()


def test_did_you_mean() -> None:
    assert did_you_mean("pasword_file", ["password_file", "jwt"]) == "did you mean 'password_file'?"
    assert did_you_mean("x", ["password_file"]) is None
    assert did_you_mean("x", []) is None


def test_a_driver_is_imported_or_asked_for(modules: Path) -> None:
    assert require_driver("json", "x", GROUP, "n").loads("1") == 1
    with pytest.raises(ExtensionError) as caught:
        require_driver("no_such_driver.client", "fancy", GROUP, "thing")
    assert str(caught.value) == "'thing' needs no_such_driver.client: pip install 'headrace[fancy]'"
    (modules / "half_driver.py").write_text("import no_such_module")
    with pytest.raises(ExtensionError, match=r"cannot be imported here \(No module named 'no_such_module'\)"):
        require_driver("half_driver", "fancy", GROUP, "thing")
