"""Many topic filters, one name: which values belong to the filters that match it.

Exact filters lie in a dict, wildcard filters in a trie of levels, so that a name costs one lookup plus the
wildcard branches it can take. Values keep their insertion order per filter. Caching results is the business of
``core.matching``.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

from core.topics import has_wildcard

Value = TypeVar("Value", bound=Hashable)


class _Node(Generic[Value]):
    __slots__ = ("any_level", "children", "rest", "values")

    def __init__(self) -> None:
        self.children: dict[str, _Node[Value]] = {}
        self.any_level: _Node[Value] | None = None  # '+'
        self.rest: dict[Value, None] = {}  # values of filters whose next level is '#'
        self.values: dict[Value, None] = {}

    def empty(self) -> bool:
        return not (self.children or self.any_level or self.rest or self.values)


class TopicIndex(Generic[Value]):
    """A multimap from valid topic filters to values; adding a pair twice keeps one."""

    def __init__(self) -> None:
        self._exact: dict[str, dict[Value, None]] = {}
        self._root: _Node[Value] = _Node()

    def add(self, topic_filter: str, value: Value) -> None:
        if not has_wildcard(topic_filter):
            self._exact.setdefault(topic_filter, {})[value] = None
            return
        node = self._root
        for level in topic_filter.split("/"):
            if level == "#":
                node.rest[value] = None
                return
            if level == "+":
                node.any_level = node.any_level or _Node()
                node = node.any_level
            else:
                node = node.children.setdefault(level, _Node())
        node.values[value] = None

    def discard(self, topic_filter: str, value: Value) -> None:
        """Remove a pair if it is there, and the branch that held nothing else."""
        if not has_wildcard(topic_filter):
            values = self._exact.get(topic_filter, {})
            values.pop(value, None)
            if not values:
                self._exact.pop(topic_filter, None)
            return
        path: list[tuple[_Node[Value], str]] = []
        node = self._root
        for level in topic_filter.split("/"):
            if level == "#":
                node.rest.pop(value, None)
                break
            child = node.any_level if level == "+" else node.children.get(level)
            if child is None:
                return
            path.append((node, level))
            node = child
        else:
            node.values.pop(value, None)
        for parent, level in reversed(path):
            child = parent.any_level if level == "+" else parent.children[level]
            if child is None or not child.empty():
                return
            if level == "+":
                parent.any_level = None
            else:
                del parent.children[level]

    def match(self, name: str) -> list[Value]:
        """The values of all filters that match ``name``; a value of several filters comes once."""
        found: dict[Value, None] = dict(self._exact.get(name, {}))
        if self._root.empty():
            return list(found)
        levels = name.split("/")
        depth = len(levels)
        # MQTT-4.7.2-1: a wildcard in the first level does not match names that begin with '$'.
        guarded = name[:1] == "$"
        stack: list[tuple[_Node[Value], int]] = [(self._root, 0)]
        while stack:
            node, index = stack.pop()
            wild = not (guarded and index == 0)
            if wild and node.rest:
                found.update(node.rest)
            if index == depth:
                found.update(node.values)
                continue
            if wild and node.any_level is not None:
                stack.append((node.any_level, index + 1))
            child = node.children.get(levels[index])
            if child is not None:
                stack.append((child, index + 1))
        return list(found)

    def __iter__(self) -> Iterator[Value]:
        """Every value of every filter; a value of several filters comes several times."""
        for values in self._exact.values():
            yield from values
        stack = [self._root]
        while stack:
            node = stack.pop()
            yield from node.rest
            yield from node.values
            stack.extend(node.children.values())
            if node.any_level is not None:
                stack.append(node.any_level)
