"""The page of all diagnostic codes, made from ``codes`` and what the compiler says to each example.

``python -m headrace.reference --write`` writes it; a test holds it fresh. An example whose first error has another code
is a defect of the table and raises.
"""

from __future__ import annotations

from typing import Final

from core.errors import RuleError
from rules.codes import CODES
from rules.compiler import RuleSource, compile_rules
from rules.functions import builtin_functions

_INTRO: Final = """\
Everything that is wrong with the rules is reported at once: all statements, all files. `headrace check` prints it,
`headrace run` does not start and a reload changes nothing. Each error has a stable code, the place (file, line and
column, both from 1), the line with a caret under the culprit, mostly a way out, and a link to its section here.

Below, the rules are in `rules/meter.sql`, and the one sink is `meter_readings`."""


def provoke(text: str) -> str:
    """What the compiler says to a rule file with errors."""
    try:
        compile_rules([RuleSource("rules/meter.sql", text)], ["meter_readings"], builtin_functions())
    except RuleError as error:
        return str(error)
    raise AssertionError(f"this is a good rule: {text}")


def codes_page(made: str) -> str:
    """The page; ``made`` is the comment that says where it comes from."""
    parts = ["# Diagnostics", made, _INTRO]
    table = [f"| [`{code}`](#{code}) | {known.meaning} |" for code, known in CODES.items()]
    parts.append("\n".join(["| code | meaning |", "|---|---|", *table]))
    for code, known in CODES.items():
        said = provoke(known.example)
        if not said.startswith(f"error[{code}]"):
            raise AssertionError(f"the example of {code} provokes {said}")
        meaning = known.meaning[0].upper() + known.meaning[1:] + "."
        parts += [
            f"## {code}",
            meaning,
            f"```sql\n{known.example}\n```",
            f"```text\n{said}\n```",
            known.way_out,
        ]
    return "\n\n".join(parts) + "\n"
