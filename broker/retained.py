"""Retained messages: the last one per topic, looked up by name or by filter.

A trie of topic levels, so that a filter costs the branches that it can take and not the size of the store. Bounded by
messages and by bytes: beyond a limit a new topic is refused while known ones may still be replaced by something
smaller or deleted. Expired messages are dropped when they are met. Who may read them is the business of
``broker.connection``.
"""

from __future__ import annotations

from core.clock import SECOND
from core.message import Message


def expires_at(message: Message) -> int:
    """When ``message`` expires, in nanoseconds; 0 for never (MQTT 5 section 3.3.2.3.3)."""
    properties = message.properties
    if properties is None:
        return 0
    interval = properties.get("message_expiry_interval")
    return 0 if interval is None else message.received_ns + int(interval) * SECOND


def _size(message: Message) -> int:
    return len(message.topic) + len(message.payload)


class _Node:
    __slots__ = ("children", "message")

    def __init__(self) -> None:
        self.children: dict[str, _Node] | None = None
        self.message: Message | None = None


class RetainedStore:
    """At most ``max_messages`` messages whose topics and payloads take at most ``max_bytes``."""

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._root = _Node()
        self._count = 0
        self._bytes = 0

    def __len__(self) -> int:
        return self._count

    @property
    def size(self) -> int:
        """Bytes of all topics and payloads."""
        return self._bytes

    def get(self, topic: str, now: int) -> Message | None:
        node = self._find(topic)
        return None if node is None else self._live(node, now)

    def put(self, message: Message) -> bool:
        """Keep ``message`` as the last of its topic, or delete that where the payload is empty (MQTT-3.3.1-6, -7).

        False where a limit refuses it; what was there before is deleted then too, because it is no longer the last.
        """
        topic = message.topic
        if not message.payload:
            self.discard(topic)
            return True
        node = self._find(topic)
        old = node.message if node is not None else None
        grown = self._bytes + _size(message) - (_size(old) if old is not None else 0)
        if grown > self._max_bytes or self._count + (old is None) > self._max_messages:
            self.discard(topic)
            return False
        if node is None:
            node = self._root
            for level in topic.split("/"):
                if node.children is None:
                    node.children = {}
                node = node.children.setdefault(level, _Node())
        self._count += old is None
        self._bytes = grown
        node.message = message
        return True

    def discard(self, topic: str) -> None:
        """Delete what is retained for ``topic``, if anything, and the branch that held nothing else."""
        path: list[tuple[_Node, str]] = []
        node = self._root
        for level in topic.split("/"):
            child = (node.children or {}).get(level)
            if child is None:
                return
            path.append((node, level))
            node = child
        if node.message is None:
            return
        self._count -= 1
        self._bytes -= _size(node.message)
        node.message = None
        for parent, level in reversed(path):
            children = parent.children or {}
            if children[level].children or children[level].message is not None:
                return
            del children[level]

    def match(self, topic_filter: str, now: int) -> list[Message]:
        """The messages whose topic the valid filter matches; those that expired are deleted on the way."""
        found: list[Message] = []
        expired: list[str] = []
        for node in self._nodes(topic_filter.split("/")):
            message = node.message
            if message is None:
                continue
            expiry = expires_at(message)
            if expiry and expiry <= now:
                expired.append(message.topic)
            else:
                found.append(message)
        for topic in expired:
            self.discard(topic)
        return found

    def _find(self, topic: str) -> _Node | None:
        node = self._root
        for level in topic.split("/"):
            child = (node.children or {}).get(level)
            if child is None:
                return None
            node = child
        return node

    def _live(self, node: _Node, now: int) -> Message | None:
        message = node.message
        if message is None:
            return None
        expiry = expires_at(message)
        if expiry and expiry <= now:
            self.discard(message.topic)
            return None
        return message

    def _nodes(self, levels: list[str]) -> list[_Node]:
        """The nodes that the levels of a filter lead to."""
        nodes = [self._root]
        for index, level in enumerate(levels):
            if level == "#":
                return self._below(nodes, guarded=index == 0)
            following: list[_Node] = []
            for node in nodes:
                children = node.children
                if not children:
                    continue
                if level == "+":
                    # MQTT-4.7.2-1: a wildcard in the first level does not match names that begin with '$'.
                    following.extend(child for name, child in children.items() if index or name[:1] != "$")
                elif level in children:
                    following.append(children[level])
            nodes = following
        return nodes

    def _below(self, nodes: list[_Node], *, guarded: bool) -> list[_Node]:
        """``nodes`` and everything under them; ``guarded`` leaves out the names that begin with '$'."""
        found = list(nodes)
        # The list is the queue of the walk: it grows while it is walked. 'a/#' matches 'a' too, the root is no topic.
        for index, node in enumerate(found):
            for name, child in (node.children or {}).items():
                if not (guarded and index == 0 and name[:1] == "$"):
                    found.append(child)
        return found
