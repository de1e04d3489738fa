"""The access list: ``[[acl]]`` rules, of which the first that matches decides; none matching is a no.

Invariants: an allow rule matches a subscription only where one of its filters covers the wanted filter whole; a
deny rule matches already where they merely overlap. A client's own name never widens a rule: where ``${username}``
or ``${clientid}`` is absent or holds ``/``, ``+``, ``#``, a control character or, at the front of a filter, a
leading ``$``, an allow filter matches nothing and a deny filter everything that can begin like it. Rules are
compiled once; asking has no effects. Who a client is, is the business of ``broker.auth``. A username is proved before
rules are asked; a client id is only a claim, so ``${clientid}`` protects no one from another who may connect as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Literal, NamedTuple

import msgspec

from core.errors import TopicError
from core.message import Publisher
from core.registry import did_you_mean
from core.topics import covers, has_wildcard, overlaps, split_shared, validate_filter

Action = Literal["publish", "subscribe"]
Names = str | list[str]

_PLACEHOLDERS: Final = ("username", "clientid")
_PLACEHOLDER = re.compile(r"\$\{([^{}]*)\}")
_UNSAFE_NAME = re.compile(r"[/+#\x00-\x1f\x7f]").search


class Verdict(NamedTuple):
    """An answer and whose it is: an auth provider's by its name, or one of the sources below. Ask for ``allowed``."""

    allowed: bool
    source: str


FILE: Final = "file"
"""A rule of the access list has decided."""
DEFAULT: Final = "default"
"""Nothing has decided, so that it is a no."""
CACHE: Final = "cache"
"""It was decided before, and is remembered."""


class Who(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Whom a rule is about: every key that is given must hold, of a list any one."""

    username: Names | None = None
    """One or several, with ``*`` for any characters; ``"*"`` alone: any name, but there must be one."""
    clientid: Names | None = None
    """Likewise. Clients choose it themselves: it proves nothing."""
    peerhost: Names | None = None
    """An address, a network (``10.0.0.0/8``) or a text with ``*``."""

    def __post_init__(self) -> None:
        given = [value for value in (self.username, self.clientid, self.peerhost) if value is not None]
        if not given:
            raise ValueError("names nobody; leave `who` out for everyone")
        if not all(given) or not all(name for value in given for name in _as_list(value)):
            raise ValueError("a name must not be empty")
        for host in _as_list(self.peerhost or []):
            _host_test(host)


class AclRule(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """One ``[[acl]]`` entry; exactly one of ``allow`` and ``deny`` says which actions it decides.

    ``topics`` are topic filters in which ``${username}`` and ``${clientid}`` stand for the client's own. Without
    ``who`` the rule is about everyone, those without a username included.
    """

    topics: list[str]
    """Topic filters; ``${username}`` and ``${clientid}`` stand for the client's own."""
    allow: list[Action] | None = None
    """The actions that this entry allows."""
    deny: list[Action] | None = None
    """The actions that it forbids."""
    who: Who | None = None
    """Whom it is about; without it everyone."""

    def __post_init__(self) -> None:
        if (self.allow is None) == (self.deny is None):
            raise ValueError("needs exactly one of `allow` and `deny`")
        if not (self.allow or self.deny):
            raise ValueError('needs an action: "publish", "subscribe" or both')
        if not self.topics:
            raise ValueError("`topics` is empty; the filter for everything is '#'")
        for topic in self.topics:
            _check_filter(topic)


def judged_topic(action: Action, topic: str) -> str | None:
    """What an action is judged by: the filter inside a shared subscription, else the topic; None for no valid one."""
    if action == "publish" or not topic.startswith("$share/"):
        return topic
    try:
        shared = split_shared(topic)
    except TopicError:
        return None
    return shared.topic_filter if shared else None


class Acl:
    """An ordered list of rules, ready to be asked. At most some 2 us for a handful of rules."""

    def __init__(self, rules: Sequence[AclRule] = ()) -> None:
        self._rules: dict[Action, list[_Rule]] = {"publish": [], "subscribe": []}
        for rule in rules:
            compiled = _Rule(rule)
            for action in dict.fromkeys(rule.allow or rule.deny or ()):
                self._rules[action].append(compiled)

    def allows(self, publisher: Publisher, action: Action, topic: str) -> bool:
        """:meth:`judge`, the answer alone."""
        return self.judge(publisher, action, topic).allowed

    def judge(self, publisher: Publisher, action: Action, topic: str) -> Verdict:
        """May ``publisher`` publish to the valid name, or subscribe to the valid filter, ``topic``?

        ``$share/group/filter`` is judged by its inner filter.
        """
        asked = judged_topic(action, topic)
        if asked is None:
            return _UNDECIDED
        literal = action == "publish" or not has_wildcard(asked)
        for rule in self._rules[action]:
            # What begins with literal text covers only what begins with it too: most rules end here.
            if (literal or rule.allows) and not asked.startswith(rule.prefixes):
                continue
            if (rule.who is None or rule.who(publisher)) and rule.decides(publisher, asked):
                return rule.verdict
        return _UNDECIDED


_UNDECIDED: Final = Verdict(False, DEFAULT)


class _Rule:
    __slots__ = ("_filters", "allows", "prefixes", "verdict", "who")

    def __init__(self, rule: AclRule) -> None:
        self.allows = rule.allow is not None
        self.verdict = Verdict(self.allows, FILE)
        self.who = None if rule.who is None else _compile_who(rule.who, self.allows)
        self._filters = [_Filter(topic) for topic in rule.topics]
        self.prefixes = tuple(wanted.prefix for wanted in self._filters)

    def decides(self, publisher: Publisher, topic: str) -> bool:
        for wanted in self._filters:
            text = wanted.text if wanted.static else wanted.fill(publisher)
            if text is not None:
                if covers(text, topic) if self.allows else overlaps(text, topic):
                    return True
            # With the unusable name in front, topics that begin with '$' are meant as well.
            elif not self.allows and (wanted.widest == "#" or overlaps(wanted.widest, topic)):
                return True
        return False


class _Filter:
    """A topic filter of a rule. ``prefix`` is its literal beginning, ``widest`` what it can mean for any name."""

    __slots__ = ("_head", "_rest", "prefix", "static", "text", "widest")

    def __init__(self, text: str) -> None:
        parts = _PLACEHOLDER.split(text)  # literal, name, literal, name, ... literal
        self.text = text
        self.static = len(parts) == 1
        self._rest = [(name == "username", piece) for name, piece in zip(parts[1::2], parts[2::2], strict=True)]
        self._head = literal = parts[0]
        self.widest = "/".join([*literal.split("/")[:-1], "#"])
        # 'cp/#' covers 'cp' too, so that the separator before '#' is no part of the prefix.
        found = re.search(r"/?#|\+", literal)
        self.prefix = literal[: found.start()] if found else literal

    def fill(self, publisher: Publisher) -> str | None:
        """The filter for this client; None where its name cannot stand in a filter."""
        text = self._head
        for is_username, piece in self._rest:
            value = publisher.username if is_username else publisher.client_id
            if not value or _UNSAFE_NAME(value) or (value[0] == "$" and not text):
                return None
            text += value + piece
        return text


def _check_filter(topic: str) -> None:
    for name in _PLACEHOLDER.findall(topic):
        if name not in _PLACEHOLDERS:
            hint = did_you_mean(name, _PLACEHOLDERS) or f"known are {' and '.join(_PLACEHOLDERS)}"
            raise ValueError(f"unknown placeholder ${{{name}}} in {topic!r}; {hint}")
    sample = _PLACEHOLDER.sub("x", topic)
    if "${" in sample:
        raise ValueError(f"unfinished placeholder in {topic!r}; write ${{username}} or ${{clientid}}")
    try:
        validate_filter(sample)
    except TopicError as error:
        raise ValueError(str(error)) from error
    if topic.startswith("$share/"):
        raise ValueError(f"{topic!r}: shared subscriptions are judged by their inner filter; name that one")


def _as_list(names: Names) -> list[str]:
    return [names] if isinstance(names, str) else names


_Test = Callable[[str], bool]


def _name_test(pattern: str) -> _Test:
    """Does a text match a pattern in which ``*`` stands for any characters? Linear in the text's length."""
    if pattern == "*":
        return bool
    if "*" not in pattern:
        return pattern.__eq__
    first, *middle, last = pattern.split("*")
    shortest = len(first) + len(last)

    def test(text: str) -> bool:
        if len(text) < shortest or not (text.startswith(first) and text.endswith(last)):
            return False
        position, end = len(first), len(text) - len(last)
        for piece in middle:
            found = text.find(piece, position, end)
            if found < 0:
                return False
            position = found + len(piece)
        return True

    return test


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """The address a peer has; an IPv4 peer of an IPv6 socket is its IPv4 address. None for what is none."""
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def _host_test(pattern: str) -> _Test:
    if "*" in pattern:
        return _name_test(pattern)
    try:
        network = ip_network(pattern)
    except ValueError as error:
        raise ValueError(f"peerhost {pattern!r} is neither an address nor a network: {error}") from None
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped:
        raise ValueError(f"peerhost {pattern!r}: write the IPv4 network itself")

    def test(host: str) -> bool:
        address = _address(host)
        return address is not None and address in network

    return test


def _any_of(names: Names, compile_one: Callable[[str], _Test]) -> _Test:
    tests = [compile_one(name) for name in _as_list(names)]
    return tests[0] if len(tests) == 1 else lambda text: any(test(text) for test in tests)


def _located(peerhost: _Test, unknown: bool) -> _Test:
    """``peerhost`` for addresses, and ``unknown`` for what is none, remembered for a bounded number of hosts."""

    @lru_cache(maxsize=4_096)  # parsing an address costs more than all the rest of a rule
    def test(host: str) -> bool:
        return unknown if _address(host) is None else peerhost(host)

    return test


def _compile_who(who: Who, allows: bool) -> Callable[[Publisher], bool]:
    username = None if who.username is None else _any_of(who.username, _name_test)
    clientid = None if who.clientid is None else _any_of(who.clientid, _name_test)
    peerhost = None if who.peerhost is None else _located(_any_of(who.peerhost, _host_test), not allows)

    # An unknown address is never granted anything, and never let past a denial.
    def test(publisher: Publisher) -> bool:
        if username is not None and not (publisher.username and username(publisher.username)):
            return False
        if clientid is not None and not (publisher.client_id and clientid(publisher.client_id)):
            return False
        return peerhost is None or peerhost(publisher.peer_host)

    return test
