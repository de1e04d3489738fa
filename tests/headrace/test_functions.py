"""Functions of an installed package, from the command line: by plain and by module-qualified name."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "howto" / "write-a-function.md"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def installed(folder: Path, points: str) -> None:
    """What pip leaves of the package in the guide."""
    found = re.search(r"```python title=\"headrace_geo.py\"\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found
    (folder / "headrace_geo.py").write_text(found[1])
    info = folder / "headrace_geo-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: headrace-geo\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text(f"[headrace.functions]\n{points}\n")


@pytest.fixture
def headrace(tmp_path: Path) -> Run:
    def run(*arguments: str, points: str) -> subprocess.CompletedProcess[str]:
        installed(tmp_path, points)
        environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
        command = [sys.executable, "-m", "headrace", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=60)

    return run


DISTANCE = "distance = headrace_geo:Distance"
QUALIFIED = "emqx_rule_funcs_geo.first_present = headrace_geo:FirstPresent"


def test_a_plain_name(headrace: Run) -> None:
    sql = 'SELECT distance(52.52, 13.41, payload.lat, payload.lon) AS metres FROM "t"'
    done = headrace("eval", sql, "--payload", '{"lat": 48.86, "lon": 2.35}', points=DISTANCE)
    assert done.returncode == 0, done.stderr
    assert round(json.loads(done.stdout)["metres"] / 1_000) == 878


def test_a_module_qualified_name_in_a_checked_rule(headrace: Run, tmp_path: Path) -> None:
    sql = 'INSERT INTO out SELECT emqx_rule_funcs_geo.first_present(payload.a, payload.b, 7) AS x FROM "t"'
    (tmp_path / "r.sql").write_text(sql)
    done = headrace("explain", "r.sql", points=QUALIFIED)
    assert done.returncode == 0, done.stderr
    assert "emqx_rule_funcs_geo.first_present(payload.a, payload.b, 7)" in done.stdout
    select = sql.removeprefix("INSERT INTO out ")
    done = headrace_again(tmp_path, "eval", select, "--payload", '{"b": 5}')
    assert json.loads(done.stdout) == {"x": 5}


def headrace_again(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "headrace", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, timeout=60)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ("lower = headrace_geo:Distance", "an installed package claims the built-in function 'lower'"),
        ("qos = headrace_geo:Distance", "an installed package claims the built-in function 'qos'"),
        ("distance = no_such_module:Distance", "no_such_module"),
    ],
)
def test_what_cannot_be_used_says_so(headrace: Run, points: str, message: str) -> None:
    done = headrace("eval", 'SELECT distance(1, 2, 3, 4) AS x FROM "t"', "--payload", "{}", points=points)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
