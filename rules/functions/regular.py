"""Functions of regular expressions. Notation: ``pcre``; engines and time: ``matching``.

Patterns belong into rules rather than into payloads: one that a device may choose is limited in its time too, but each
is compiled anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any, Final

from core.message import Type
from rules.functions.base import TEXT, Category, Text, check_size
from rules.functions.host import Host
from rules.functions.matching import MAX_CACHED, matcher

NAME: Final = "regular expressions"

_REFERENCE: Final = re.compile(
    r"\\g\{(?P<braced>[0-9]{1,4})\}|\\g?(?P<number>[0-9]{1,4})|\\(?P<literal>.)|&", re.DOTALL
)


@lru_cache(maxsize=MAX_CACHED)
def _template(replacement: str) -> tuple[str | int, ...]:
    """A replacement as literal texts and group numbers."""
    parts: list[str | int] = []
    end = 0
    for found in _REFERENCE.finditer(replacement):
        parts.append(replacement[end : found.start()])
        number = found["braced"] or found["number"]
        if found["literal"]:
            # Only the ampersand and the backslash lose their backslash; others keep it.
            parts.append(found["literal"] if found["literal"] in "&\\" else found.group())
        else:
            parts.append(int(number) if number else 0)
        end = found.end()
    parts.append(replacement[end:])
    return tuple(part for part in parts if part != "")


Pattern = Annotated[str, TEXT._replace(check=matcher)]
"""A text that is a regular expression."""


def category(host: Host) -> Category:
    """The functions with the host's time limit."""
    found = Category(NAME)
    scalar = found.scalar
    limit = host.regex_timeout

    @scalar(
        Type.BOOLEAN,
        ("regex_match('abc 123', '\\d+')", True),
        ("regex_match('e2xebd', '^[a-z]+$')", False),
    )
    def regex_match(text: Text, pattern: Pattern) -> bool:
        """True where the pattern matches anywhere in the text."""
        return matcher(pattern).search(text, limit) is not None

    @scalar(
        Type.TEXT,
        ("regex_replace('hello 123', '\\d+', 'world')", "hello world"),
        ("regex_replace('accbcd', 'c+', '[&]')", "a[cc]b[c]d"),
        ("regex_replace('a=1', '(\\w)=(\\w)', '\\2=\\1')", "1=a"),
    )
    def regex_replace(text: Text, pattern: Pattern, replacement: Text) -> str:
        """The text with every match replaced. In `replacement`, `&` and `\\0` are the match, `\\1` to `\\9`... its
        groups (empty where there is no such group); `\\&` is an ampersand."""
        compiled = matcher(pattern)
        parts = [part if isinstance(part, str) or part <= compiled.groups else "" for part in _template(replacement)]

        def expander() -> Callable[[Any], str]:
            size = 0

            def expand(match: Any) -> str:
                nonlocal size
                expanded = "".join([part if isinstance(part, str) else match.group(part) or "" for part in parts])
                size += len(expanded)
                check_size(size)
                return expanded

            return expand

        return compiled.replace(text, expander, limit, groups=any(isinstance(part, int) and part for part in parts))

    @scalar(
        Type.ARRAY,
        ("regex_extract('Date: 2021-05-20', '(\\d{4})-(\\d{2})-(\\d{2})')", ["2021", "05", "20"]),
        ("regex_extract('No numbers here!', '(\\d+)')", []),
    )
    def regex_extract(text: Text, pattern: Pattern) -> list[str]:
        """The groups of the first match, '' for one that took no part but for those at the end, which are left out;
        empty where nothing matches or the pattern has no groups."""
        match = matcher(pattern).search(text, limit, groups=True)
        if match is None:
            return []
        groups = list(match.groups())
        while groups and groups[-1] is None:
            groups.pop()
        return [group or "" for group in groups]

    return found
