"""The house, held: who may import whom, where asyncio may live, which drivers load late, how long a file may be.

The tables below are those of docs/architecture.md, section 3. The checks read source files and import nothing; the
last tests feed them bad sources, so that a check that has gone blind is noticed.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, NamedTuple

import pytest

ROOT: Final = Path(__file__).resolve().parent.parent
MAX_LINES: Final = 600


class Law(NamedTuple):
    """What a package may import beside the standard library: anywhere, and only inside functions."""

    imports: frozenset[str]
    lazy_imports: frozenset[str] = frozenset()


def law(imports: str, lazy: str = "") -> Law:
    return Law(frozenset(imports.split()), frozenset(lazy.split()))


LAWS: Final = {
    "core": law("msgspec"),
    "formats": law("msgspec core"),
    "broker": law("msgspec core", lazy="argon2"),
    "rules": law("msgspec core formats sqlglot", lazy="datasketches jq re2 regex"),
    "connections": law("msgspec core", lazy="aiohttp confluent_kafka kafka paho psycopg pymysql sqlalchemy yarl"),
    "sinks": law("msgspec core formats connections", lazy="aiohttp pyarrow sqlalchemy psycopg pymysql yarl zstandard"),
    "gateways": law("msgspec core formats connections"),
    "headrace": law(
        "msgspec core formats broker connections rules sinks gateways prometheus_client starlette uvicorn",
        lazy="argon2 jq pytest rich sqlalchemy sqlglot uvloop",
    ),
}

# Files of one destination, reached only through its entry point: loading them is the first use of their driver, so
# it may stand at their top. Nothing else may import them at its top, or the driver would be loaded for everyone.
DRIVER_FILES: Final = {
    "connections/http.py": frozenset({"aiohttp", "yarl"}),
    "connections/http_client.py": frozenset({"aiohttp", "yarl"}),
    "connections/influxdb.py": frozenset({"aiohttp", "yarl"}),
    "connections/kafka/confluent.py": frozenset({"confluent_kafka"}),
    "connections/kafka/kafkapython.py": frozenset({"kafka"}),
    "connections/kafka/pythonclient.py": frozenset({"kafka"}),
    "connections/mqtt/client.py": frozenset({"paho"}),
    "connections/mqtt/driver.py": frozenset({"paho"}),
    "connections/sql/*.py": frozenset({"sqlalchemy"}),
    "sinks/file/parquet.py": frozenset({"pyarrow"}),
    "sinks/http/*.py": frozenset({"aiohttp", "yarl"}),
    "sinks/influxdb/sink.py": frozenset({"aiohttp", "yarl"}),
    "sinks/sql/*.py": frozenset({"sqlalchemy"}),
}

# Packages without an entry may use these freely; broker has files that may.
CONCURRENCY: Final = {
    *("asyncio", "concurrent", "multiprocessing", "queue", "sched", "select", "selectors", "signal", "socket"),
    *("socketserver", "ssl", "subprocess", "threading", "uvloop", "_thread"),
}
SYNCHRONOUS: Final = {
    "core": frozenset[str](),
    "formats": frozenset[str](),
    "rules": frozenset[str](),
    "broker": frozenset({"broker/auth.py", "broker/listeners.py", "broker/password_file.py"}),
}

SHIPPED: Final = frozenset(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
PUBLIC_DOORS: Final = frozenset({"headrace.api", "headrace.testing"})


class Import(NamedTuple):
    module: str
    line: int
    lazy: bool

    @property
    def package(self) -> str:
        return self.module.partition(".")[0]


def tracked_files() -> list[str]:
    """Every Python file of the repository, new ones too; those of the folder where there is no repository."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", "*.py"]
    try:
        listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    except (OSError, subprocess.CalledProcessError):
        listing = [str(path.relative_to(ROOT)) for path in ROOT.rglob("*.py")]
    parts = {name: Path(name).parts for name in listing if name}
    return sorted(name for name in parts if (ROOT / name).is_file() and not parts[name][0].startswith("."))


def imports_of(source: str, path: str) -> Iterator[Import]:
    """All imports of a file, those by name included; lazy ones are in functions or for the type checker alone."""

    folders = Path(path).parts[:-1]

    def visit(node: ast.AST, lazy: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno, lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*folders[: len(folders) - node.level + 1], *filter(None, [node.module])])
            module = base if node.level else node.module or ""
            yield Import(module, node.lineno, lazy)
            if module in SHIPPED:  # `from sinks import sql` names a module
                yield from (Import(f"{module}.{alias.name}", node.lineno, lazy) for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in ("import_module", "__import__", "require_driver") and isinstance(node.args[0].value, str):
                yield Import(node.args[0].value, node.lineno, lazy)
        inner = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for child in node.body:
                yield from visit(child, lazy=True)
            for child in node.orelse:
                yield from visit(child, lazy)
            return
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inner)

    yield from visit(ast.parse(source), lazy=False)


def driver_files(path: str) -> str | None:
    return next((pattern for pattern in DRIVER_FILES if fnmatchcase(path, pattern)), None)


def layer_violations(source: str, path: str) -> list[str]:
    package = Path(path).parts[0]
    allowed = LAWS[package]
    group = driver_files(path)
    found = []
    for item in imports_of(source, path):
        name = item.package
        target = driver_files(item.module.replace(".", "/") + ".py")
        loaded = group is not None and target is not None and DRIVER_FILES[target] <= DRIVER_FILES[group]
        if target is not None and not loaded and not item.lazy:
            found.append(f"{path}:{item.line}: {item.module} loads a driver; import it where it is first used")
        if name == package or name in sys.stdlib_module_names or name in allowed.imports:
            continue
        if name not in allowed.lazy_imports:
            found.append(f"{path}:{item.line}: {package} must not import {item.module}")
        elif not item.lazy and not (group and name in DRIVER_FILES[group]):
            found.append(f"{path}:{item.line}: {item.module} must be imported where it is first used, not at the top")
    return found


def concurrency_violations(source: str, path: str) -> list[str]:
    package = Path(path).parts[0]
    exempt = SYNCHRONOUS.get(package)
    if exempt is None or path in exempt:
        return []
    found = [
        f"{path}:{item.line}: {package} must not import {item.module}"
        for item in imports_of(source, path)
        if item.package in CONCURRENCY
    ]
    found += [
        f"{path}:{node.lineno}: {package} is synchronous"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.AsyncFunctionDef | ast.AsyncFor | ast.AsyncWith | ast.Await)
    ]
    return found


def outsider_violations(source: str, path: str) -> list[str]:
    """Examples are what users copy: they come in by the public doors."""
    return [
        f"{path}:{item.line}: use headrace.api instead of {item.module}"
        for item in imports_of(source, path)
        if item.package in LAWS and item.module not in PUBLIC_DOORS | {"headrace"}
    ]


FILES: Final = tracked_files()
PACKAGE_FILES: Final = [path for path in FILES if Path(path).parts[0] in LAWS]


def sources(paths: list[str]) -> Iterator[tuple[str, str]]:
    for path in paths:
        yield (ROOT / path).read_text(encoding="utf-8"), path


def test_there_is_something_to_check() -> None:
    assert {Path(path).parts[0] for path in PACKAGE_FILES} == set(LAWS)


def test_packages_import_only_what_they_may() -> None:
    found = [line for source, path in sources(PACKAGE_FILES) for line in layer_violations(source, path)]
    assert not found, "\n".join(found)


def test_asyncio_threads_and_sockets_are_where_they_belong() -> None:
    found = [line for source, path in sources(PACKAGE_FILES) for line in concurrency_violations(source, path)]
    assert not found, "\n".join(found)


def test_exempt_files_exist() -> None:
    exempt = {path for paths in SYNCHRONOUS.values() for path in paths}
    assert [path for path in sorted(exempt) if not (ROOT / path).is_file()] == []


def test_examples_use_the_public_door() -> None:
    examples = [path for path in FILES if path.startswith("examples/")]
    found = [line for source, path in sources(examples) for line in outsider_violations(source, path)]
    assert not found, "\n".join(found)


def test_no_file_is_longer_than_the_cap() -> None:
    long = {path: source.count("\n") for source, path in sources(FILES) if source.count("\n") > MAX_LINES}
    assert long == {}


def test_every_package_has_a_law_and_is_shipped() -> None:
    assert {name.partition(".")[0] for name in SHIPPED} == set(LAWS)
    with_code = {str(Path(path).parent).replace("/", ".") for path in PACKAGE_FILES}
    assert with_code == SHIPPED


def test_no_package_is_named_like_one_of_the_standard_librarys() -> None:
    assert sys.stdlib_module_names.isdisjoint(LAWS)


def test_every_module_says_what_it_owns() -> None:
    silent = [path for source, path in sources(PACKAGE_FILES) if not ast.get_docstring(ast.parse(source))]
    assert silent == []


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        ("core/x.py", "import broker.acl", "core must not import broker.acl"),
        ("core/x.py", "def f():\n  from headrace import app", "core/x.py:2: core must not import headrace"),
        ("broker/x.py", "from rules.runtime import Engine", "broker must not import rules.runtime"),
        ("sinks/x.py", "from broker import router", "sinks must not import broker"),
        ("sinks/x.py", "if TYPE_CHECKING:\n  from headrace.app import App", "sinks must not import headrace.app"),
        ("sinks/x.py", "from ..broker import router", "sinks must not import broker"),
        ("sinks/x.py", "import sqlalchemy", "sqlalchemy must be imported where it is first used"),
        ("sinks/x.py", "class A:\n  import sqlalchemy.orm", "must be imported where it is first used"),
        ("sinks/x.py", "try:\n  import sqlalchemy\nexcept ImportError: pass", "where it is first used"),
        ("sinks/x.py", "x = require_driver('sqlalchemy', 'sql', 'g', 'n')", "where it is first used"),
        ("sinks/x.py", "from sinks.sql import table", "sinks.sql.table loads a driver"),
        ("headrace/x.py", "import sinks.sql.sink", "sinks.sql.sink loads a driver"),
        ("sinks/sql/x.py", "import psycopg", "psycopg must be imported where it is first used"),
        ("rules/x.py", "import numpy", "rules must not import numpy"),
        ("rules/x.py", "importlib.import_module('broker.acl')", "rules must not import broker.acl"),
    ],
)
def test_a_broken_layer_is_seen(path: str, source: str, complaint: str) -> None:
    found = layer_violations(source, path)
    assert found
    assert all(complaint in line for line in found)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("sinks/x.py", "import json, msgspec\nfrom core import topics\nfrom . import base\nimport sinks.base"),
        ("sinks/x.py", "def f():\n  import sqlalchemy"),
        ("sinks/x.py", "def f():\n  return require_driver('sqlalchemy', 'sql', 'g', 'n')"),
        ("sinks/x.py", "if TYPE_CHECKING:\n  import sqlalchemy"),
        ("sinks/sql/x.py", "import sqlalchemy\nfrom sinks.sql.table import t\nfrom sinks.sql import encode"),
        ("headrace/x.py", "def f():\n  import sinks.sql.sink"),
        ("headrace/x.py", "from broker.router import Router\nfrom rules import runtime"),
    ],
)
def test_what_is_allowed_passes(path: str, source: str) -> None:
    assert layer_violations(source, path) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("core/x.py", "import asyncio"),
        ("core/x.py", "async def f(): pass"),
        ("formats/x.py", "from threading import Lock"),
        ("rules/x.py", "def f():\n  import concurrent.futures"),
        ("broker/session.py", "import socket"),
    ],
)
def test_misplaced_concurrency_is_seen(path: str, source: str) -> None:
    assert len(concurrency_violations(source, path)) == 1


def test_concurrency_in_its_place_passes() -> None:
    for path in ("broker/listeners.py", "sinks/x.py", "headrace/x.py", "gateways/x.py"):
        assert concurrency_violations("import asyncio\nasync def f(): await g()", path) == []


def test_an_example_that_comes_in_by_the_back_is_seen() -> None:
    assert len(outsider_violations("from headrace.app import App\nimport core.topics", "examples/x.py")) == 2
    assert len(outsider_violations("from headrace import app", "examples/x.py")) == 1
    assert outsider_violations("from headrace.api import Sink\nimport headrace.testing", "examples/x.py") == []
