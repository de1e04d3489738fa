"""MQTT topic names, topic filters and topic templates: validation, matching, covering, binding.

Pure functions over ``str``. Levels are separated by ``/``; ``+`` stands for one level, ``#`` (last) for any
number of them including none; a filter that begins with a wildcard does not match names that begin with ``$``
(MQTT-4.7.2-1). Looking a name up among many filters is the business of ``core.topic_index``.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from core.errors import TopicError

MAX_TOPIC_BYTES: Final = 65_535
_FORBIDDEN_IN_NAME = re.compile(r"[+#\x00]").search
_FORBIDDEN_IN_FILTER = re.compile(r"\x00|[^/]\+|\+[^/]|[^/]#|#.", re.DOTALL).search


def _check_length(text: str, kind: str) -> None:
    if not text:
        raise TopicError(f"a topic {kind} must have at least one character (MQTT-4.7.3-1)", text)
    # A character takes at most four bytes: only long texts need to be encoded to be measured.
    if len(text) * 4 > MAX_TOPIC_BYTES and len(text.encode()) > MAX_TOPIC_BYTES:
        raise TopicError(f"a topic {kind} takes at most {MAX_TOPIC_BYTES} bytes (MQTT-4.7.3-3)", text[:80])


def validate_name(name: str) -> None:
    """Raise TopicError unless ``name`` is a topic name, without wildcards and NUL (MQTT-3.3.2-2, 4.7.3-2)."""
    _check_length(name, "name")
    if found := _FORBIDDEN_IN_NAME(name):
        raise TopicError(f"topic name {name!r} contains {found.group()!r} (MQTT-3.3.2-2)", name)


def validate_filter(topic_filter: str) -> None:
    """Raise TopicError unless wildcards stand alone in their level and ``#`` is the last (MQTT-4.7.1-1, -2)."""
    _check_length(topic_filter, "filter")
    if found := _FORBIDDEN_IN_FILTER(topic_filter):
        raise TopicError(
            f"topic filter {topic_filter!r} is not valid at {found.group()!r}: "
            "'+' must fill a whole level and '#' the last one (MQTT-4.7.1-1, MQTT-4.7.1-2)",
            topic_filter,
        )


def has_wildcard(topic_filter: str) -> bool:
    return "+" in topic_filter or "#" in topic_filter


def matches(topic_filter: str, name: str) -> bool:
    """Does the valid filter match the valid name?

    >>> matches("cp/+/meter", "cp/7/meter"), matches("cp/#", "cp"), matches("#", "$SYS/x")
    (True, True, False)
    """
    if name[:1] == "$" and topic_filter[:1] in "+#":
        return False
    levels = name.split("/")
    wanted = topic_filter.split("/")
    for index, level in enumerate(wanted):
        if level == "#":
            return True
        if index >= len(levels) or (level != "+" and level != levels[index]):
            return False
    return len(wanted) == len(levels)


def covers(outer: str, inner: str) -> bool:
    """Does the filter ``outer`` match every name that the filter (or name) ``inner`` matches?

    >>> covers("cp/#", "cp/+/meter"), covers("cp/+", "cp/#"), covers("#", "$SYS/#")
    (True, False, False)
    """
    if inner[:1] == "$" and outer[:1] in "+#":
        return False
    if inner == "#" and outer == "+/#":
        return True  # every name has a first level
    outer_levels = outer.split("/")
    inner_levels = inner.split("/")
    for index, level in enumerate(outer_levels):
        if level == "#":
            return True
        if index >= len(inner_levels):
            return False
        narrow = inner_levels[index]
        if narrow == "#" or (level != "+" and level != narrow):
            return False
    return len(outer_levels) == len(inner_levels)


def overlaps(one: str, other: str) -> bool:
    """Is there a name that both filters (or names) match?

    >>> overlaps("cp/+/meter", "cp/7/#"), overlaps("cp/#", "cp"), overlaps("+/x", "$SYS/x")
    (True, True, False)
    """
    if (one[:1] == "$" and other[:1] in "+#") or (other[:1] == "$" and one[:1] in "+#"):
        return False
    left, right = one.split("/"), other.split("/")
    for mine, theirs in zip(left, right, strict=False):
        if mine == "#" or theirs == "#":
            return True
        if mine != theirs and mine != "+" and theirs != "+":
            return False
    if len(left) == len(right):
        return True
    # '#' also stands for no level at all: cp/# matches cp.
    longer, shorter = (left, right) if len(left) > len(right) else (right, left)
    return len(longer) == len(shorter) + 1 and longer[-1] == "#"


class SharedFilter(NamedTuple):
    group: str
    topic_filter: str


def split_shared(topic_filter: str) -> SharedFilter | None:
    """The parts of ``$share/{group}/{filter}``, None for an ordinary filter.

    TopicError where group or filter is missing or the group has a wildcard (MQTT-4.8.2-1, MQTT-4.8.2-2).
    """
    if not topic_filter.startswith("$share/"):
        return None
    group, slash, rest = topic_filter[7:].partition("/")
    if not group or not slash or not rest or has_wildcard(group):
        raise TopicError(
            f"shared subscription {topic_filter!r} is not of the form $share/group/filter (MQTT-4.8.2-1)",
            topic_filter,
        )
    return SharedFilter(group, rest)


_CONVERTERS: Final = {"str": (r"[^/]+", str), "int": (r"[+-]?[0-9]{1,18}", int)}  # 18 digits: a BIGINT
_PLACEHOLDER = re.compile(r"\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::(?P<converter>[a-z]+))?\}")


class TopicTemplate:
    """``cp/{station}/{connector:int}/meter``: names the levels of a topic, with ``int`` or ``str`` (default).

    ``filter`` is the topic filter to subscribe to, ``names`` the bound names in order. A template may hold ``+``
    and a final ``#`` beside placeholders. A placeholder takes no empty level, one in front no ``$`` (MQTT-4.7.2-1).
    TopicError says what is wrong with a bad template.
    """

    def __init__(self, template: str) -> None:
        names: list[str] = []
        levels: list[str] = []
        pattern: list[str] = []
        self._converters: list[Any] = []
        for level in template.split("/"):
            found = _PLACEHOLDER.fullmatch(level)
            if found is None:
                if "{" in level or "}" in level:
                    raise TopicError(
                        f"{level!r} in {template!r}: a placeholder is a whole level, {{name}} or {{name:int}}",
                        template,
                    )
                levels.append(level)
                pattern.append({"+": "[^/]*", "#": ".*"}.get(level, re.escape(level)))
                continue
            name, converter = found["name"], found["converter"] or "str"
            if name in names:
                raise TopicError(f"{template!r} binds {name!r} twice", template)
            if converter not in _CONVERTERS:
                raise TopicError(
                    f"{template!r}: unknown converter {converter!r}, known are {', '.join(_CONVERTERS)}",
                    template,
                )
            names.append(name)
            levels.append("+")
            expression, function = _CONVERTERS[converter]
            pattern.append(f"({expression})")
            self._converters.append(function)
        self.template = template
        self.filter = "/".join(levels)
        validate_filter(self.filter)
        self.names = tuple(names)
        source = "/".join(pattern)
        if levels[-1] == "#":
            source = source[: -len("/.*")] + "(?:/.*)?" if len(levels) > 1 else source
        if levels[0] in ("+", "#"):
            source = r"(?!\$)" + source
        self._match = re.compile(source, re.DOTALL).fullmatch

    def bind(self, name: str) -> dict[str, Any] | None:
        """The values bound by a topic name, None where the name does not fit the template."""
        found = self._match(name)
        if found is None:
            return None
        return {
            key: convert(text) for key, convert, text in zip(self.names, self._converters, found.groups(), strict=True)
        }
