"""Every key that tomllib sees has a line, and it is the right one."""

import tomllib

import pytest

from headrace.toml_lines import dotted, key_lines

TEXT = """\
# a comment with [brackets] and = signs
title = "a # b"
numbers = [1,
  2.5, # two
  1979-05-27 07:32:00]
multi = \"\"\"
[not.a.table]
key = 1
\"\"\"
"quoted key".sub = 'x = [y]'

[table.inner]
inline = { a = 1, b = { c = [ { d = 2 } ] } }

[[items]]
name = "one"
[items.deep]
x = 1
[[items]]
name = "two"
[[items.parts]]
n = 1
[[items.parts]]
n = 2
literal = '''a
b'''
after = true
"""


def _paths(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    if isinstance(value, dict):
        return [found for key, item in value.items() for found in [(*path, key), *_paths(item, (*path, key))]]
    if isinstance(value, list):
        return [found for i, item in enumerate(value) for found in [(*path, i), *_paths(item, (*path, i))]]
    return []


def test_every_path_has_a_line() -> None:
    lines = key_lines(TEXT)
    assert [path for path in _paths(tomllib.loads(TEXT)) if path not in lines] == []


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("title",), 2),
        (("numbers",), 3),
        (("numbers", 1), 4),
        (("numbers", 2), 5),
        (("multi",), 6),
        (("quoted key", "sub"), 10),
        (("table", "inner"), 12),
        (("table", "inner", "inline", "b", "c", 0, "d"), 13),
        (("items", 0, "name"), 16),
        (("items", 0, "deep", "x"), 18),
        (("items", 1), 19),
        (("items", 1, "parts", 0, "n"), 22),
        (("items", 1, "parts", 1, "n"), 24),
        (("items", 1, "parts", 1, "after"), 27),
    ],
)
def test_lines(path: tuple[str | int, ...], line: int) -> None:
    assert key_lines(TEXT)[path] == line


def test_windows_line_ends_and_an_empty_file() -> None:
    assert key_lines("a = 1\r\n[b]\r\nc = 2\r\n") == {("a",): 1, ("b",): 2, ("b", "c"): 3}
    assert key_lines("") == {}


def test_dotted() -> None:
    assert dotted(("acl", 0, "who", "user name")) == 'acl[0].who."user name"'
