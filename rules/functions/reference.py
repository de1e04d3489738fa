"""The reference page of all functions, made from their declarations: ``docs/reference/functions.md``.

``python -m rules.functions.reference > docs/reference/functions.md`` writes it anew; a test fails when it is stale.
"""

from __future__ import annotations

import sys
from itertools import groupby

from core.message import Type
from rules.bind_message import MESSAGE_FUNCTIONS, MessageFunction
from rules.functions import builtin_functions
from rules.functions.base import MAX_RESULT, Parameter, ScalarFunction
from rules.functions.values import json_text

_HEAD = f"""# Functions

<!-- Made by `python -m rules.functions.reference > docs/reference/functions.md`. Do not edit. -->

The scalar functions of the rule language. Names, argument order and edge cases are those of EMQX's rule SQL;
what EMQX has not, from PostgreSQL and DuckDB, is marked "null for null". A name is looked up as it is written, and then
in any case: `LOWER(x)` is `lower(x)`.

- A call with an argument of the wrong type has no result: the rule fails for that message, with the code
  `bad_sql_function_argument` and a text that names the function and the argument. So do undefined and null
  arguments, except where a parameter takes `any`. A function that is "null for null" gives such an argument back.
- A binary that holds UTF-8 is a string, and strings go wherever binaries do; text functions refuse any other binary.
- `integer` and `float` are different types; a parameter of type `number` takes both.
- `[, x]` may be left out, `...` stands for any number of arguments.
- No result is longer than {MAX_RESULT >> 20} MiB.
- In the examples `undefined` is the value of a field that is not there.
"""

_MESSAGE_HEAD = """Other ways to write the columns of the message, as EMQX has them. They cost nothing more, mean the
message's column also where an alias has its name, and are errors where the source lacks the column."""

_NAMES = {
    frozenset[Type](): "any",
    frozenset({Type.TEXT}): "string",
    frozenset({Type.TEXT, Type.BYTES}): "string or binary",
    frozenset({Type.BOOLEAN}): "boolean",
    frozenset({Type.BIGINT}): "integer",
    frozenset({Type.BIGINT, Type.DOUBLE, Type.DECIMAL}): "number",
    frozenset({Type.TIMESTAMP}): "timestamp",
    frozenset({Type.INTERVAL}): "interval",
    frozenset({Type.ARRAY}): "array",
    frozenset({Type.ARRAY, Type.TEXT}): "array or string",
    frozenset({Type.OBJECT}): "map",
    frozenset({Type.OBJECT, Type.TEXT, Type.BYTES, Type.ARRAY}): "map or JSON text",
}
_RESULTS = {
    Type.ANY: "any",
    Type.TEXT: "string",
    Type.BYTES: "binary",
    Type.BOOLEAN: "boolean",
    Type.BIGINT: "integer",
    Type.DOUBLE: "float",
    Type.ARRAY: "array",
    Type.OBJECT: "map",
    Type.DECIMAL: "decimal",
    Type.TIMESTAMP: "timestamp",
    Type.INTERVAL: "interval",
}


def _parameters(signature: tuple[Parameter, ...]) -> str:
    text = ""
    for parameter in signature:
        one = f"{parameter.name}: {_NAMES[parameter.types]}" + ("..." if parameter.repeated else "")
        comma = ", " if text else ""
        text += f"[{comma}{one}]" if parameter.optional else comma + one
    return text


def _entry(function: ScalarFunction) -> str:
    lines = [f"### `{function.name}`", ""]
    forms = [
        f"`{function.name}({_parameters(signature)}) -> {_RESULTS[result]}`"
        for signature, result in zip(function.signatures, function.results, strict=True)
    ]
    lines.append("<br>\n".join(forms))
    lines += ["", function.doc + (" Null for null." if function.propagates else "")]
    if function.examples:
        lines += ["", "```sql"]
        lines += [f"{call}  -- {json_text(result)}" for call, result in function.examples]
        lines += ["```"]
    return "\n".join(lines)


def markdown() -> str:
    """The page, with functions by category and in alphabetical order within."""
    functions = builtin_functions()
    parts = [_HEAD]
    for category, members in groupby(functions.values(), key=lambda function: function.category):
        parts.append(f"## {category[0].upper()}{category[1:]}\n")
        parts += [_entry(function) + "\n" for function in sorted(members, key=lambda function: function.name)]
    parts.append("## Message\n")
    parts.append(_MESSAGE_HEAD + "\n")
    parts += [_message_entry(name, function) + "\n" for name, function in sorted(MESSAGE_FUNCTIONS.items())]
    return "\n".join(parts)


def _message_entry(name: str, function: MessageFunction) -> str:
    forms = "<br>\n".join(f"`{form}`" for form in function.forms)
    return f"### `{name}`\n\n{forms}\n\n{function.doc} The column `{function.column}`."


if __name__ == "__main__":
    sys.stdout.write(markdown())
