"""``docs/reference/types.md``, made from ``table.py``: ``python -m tests.types.page --write``, in the root folder.

It is made here and not by ``headrace.reference``, because what arrives is known to tests alone.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from core.message import Type
from tests.types.table import CASES, GROUPS, NOTES, Case, Group

PATH: Final = Path(__file__).resolve().parents[2] / "docs" / "reference" / "types.md"
COMMAND: Final = "python -m tests.types.page --write"

_TYPES: Final = (
    "A column of a rule has one of the types `{}`, or `ANY` where nothing is declared and each value has its own; any "
    "value may also be null or missing. Inside, a `TIMESTAMP` is a whole number of microseconds since 1970 in UTC, an "
    "`INTERVAL` a whole number of microseconds, a `DECIMAL` an exact decimal number, `BYTES` are bytes as they came, "
    "and no integer is too large. EMQX's columns keep EMQX's types: `timestamp` is a `BIGINT` of milliseconds."
)
_TABLES: Final = (
    "The tables say what arrives. Tests write each of these values to the real thing and read it back with a client "
    "that is not ours. A row that is *rejected* goes to the dead letters with that reason; the others of its batch "
    "arrive. An `INTERVAL` is microseconds everywhere."
)


def types_page() -> str:
    """The page."""
    declared = [kind.value for kind in Type if kind is not Type.ANY]
    parts = [
        "# Types, and what arrives of them",
        f"<!-- Made by `{COMMAND}`; edit tests/types/table.py, which tests hold against the far sides. -->",
        _TYPES.format("`, `".join(declared)),
        _TABLES,
    ]
    for group in GROUPS:
        parts += [f"## {group.title}", *([group.intro] if group.intro else []), _table(group)]
    notes = [f"[^{name}]: {text}" for name, text in NOTES.items()]
    return "\n\n".join([*parts, "\n".join(notes)]) + "\n"


def _table(group: Group) -> str:
    head = ["type", "value", *group.columns.values()]
    rows = [[_type(case), case.shown, *(case.cells[column] for column in group.columns)] for case in CASES.values()]
    return "\n".join([_line(head), "|" + "---|" * len(head), *map(_line, rows)])


def _type(case: Case) -> str:
    return "any" if case.shown in ("null", "missing") else case.kind.value


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def main() -> int:
    """Write the page, or say whether it is stale."""
    if sys.argv[1:] == ["--write"]:
        PATH.write_text(types_page(), encoding="utf-8")
        return 0
    if PATH.exists() and PATH.read_text(encoding="utf-8") == types_page():
        return 0
    sys.stdout.write(f"stale: {PATH} ({COMMAND})\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
