"""What is in the wheel: our packages and nothing else, typed, licensed, with entry points that load from it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES: list[str] = PROJECT["tool"]["setuptools"]["packages"]

LOAD_EVERYTHING = """
import sys
from importlib.metadata import distribution
from pathlib import Path

home = Path(sys.argv[1])
for point in distribution("headrace").entry_points:
    point.load()
    print(point.group, point.name, Path(sys.modules[point.module].__file__).is_relative_to(home))

from headrace.shadowing import complaint
assert complaint() is None, complaint()
"""


def tracked_files() -> list[str]:
    """The files of a clean checkout, and those that are new in this one."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("the wheel is built from a checkout")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listing.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of a copy of the tree: building leaves its litter beside the sources."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in tracked_files():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    out = tmp_path_factory.mktemp("dist")
    build = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(copy)],
        capture_output=True,
        text=True,
    )
    assert build.returncode == 0, build.stdout + build.stderr
    [wheel] = out.iterdir()
    return wheel


@pytest.fixture(scope="module")
def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def test_it_runs_anywhere(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")


def test_exactly_the_listed_packages_are_in_it(names: list[str]) -> None:
    folders = {name.rpartition("/")[0] for name in names if ".dist-info/" not in name}
    assert folders == {package.replace(".", "/") for package in PACKAGES}
    assert {name.partition("/")[0].rpartition(".")[2] for name in names} - {"dist-info"} == {
        package for package in PACKAGES if "." not in package
    }


def test_every_module_of_them_is_in_it(names: list[str]) -> None:
    folders = {package.replace(".", "/") for package in PACKAGES}
    modules = {name for name in tracked_files() if name.endswith(".py") and name.rpartition("/")[0] in folders}
    assert {name for name in names if name.endswith(".py")} == modules


def test_every_package_is_typed(names: list[str]) -> None:
    typed = {name.removesuffix("/py.typed") for name in names if name.endswith("/py.typed")}
    assert typed >= {package for package in PACKAGES if "." not in package}


def test_nothing_but_modules_markers_and_metadata(names: list[str]) -> None:
    others = [name for name in names if not name.endswith((".py", "/py.typed")) and ".dist-info/" not in name]
    assert others == []


def test_the_metadata(names: list[str], unpacked: Path) -> None:
    [folder] = unpacked.glob("*.dist-info")
    assert f"{folder.name}/licenses/LICENSE" in names
    metadata = Parser().parsestr((folder / "METADATA").read_text())
    assert metadata["Name"] == "headrace"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert set(metadata.get_all("Provides-Extra")) == set(PROJECT["project"]["optional-dependencies"])


def test_every_entry_point_loads_from_it(unpacked: Path, tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", LOAD_EVERYTHING, str(unpacked)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(unpacked), "PATH": "/usr/bin:/bin"},
    )
    assert run.returncode == 0, run.stderr
    expected = [f"console_scripts {name} True" for name in PROJECT["project"]["scripts"]]
    for group, points in PROJECT["project"]["entry-points"].items():
        expected += [f"{group} {name} True" for name in points]
    assert sorted(run.stdout.splitlines()) == sorted(expected)
