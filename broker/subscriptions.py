"""Who subscribes to what: routes from topics to sessions, ordinary ones and those of shared subscriptions.

Invariants: a session has one route per filter; for one topic a session gets one route, which stands for all of its
subscriptions that match (the highest QoS, every subscription identifier: MQTT-3.3.4-2, MQTT-3.3.4-4); of a shared
group one member gets each message. Every change drops what the match cache knows of the topics concerned. Sessions
are opaque here but for the two facts that routing needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.matching import MatchCache
from core.topic_index import TopicIndex
from core.topics import has_wildcard, split_shared

if TYPE_CHECKING:
    from broker.session import Session


class Route:
    """The way to one session. ``own`` is what is left of it for the client's own messages where ``no_local`` is set."""

    __slots__ = ("identifiers", "no_local", "own", "qos", "retain_as_published", "session")

    def __init__(
        self,
        session: Session,
        qos: int = 0,
        *,
        no_local: bool = False,
        retain_as_published: bool = False,
        identifiers: tuple[int, ...] = (),
    ) -> None:
        self.session = session
        self.qos = qos
        self.no_local = no_local
        self.retain_as_published = retain_as_published
        self.identifiers = identifiers
        self.own: Route | None = None


def _join(routes: list[Route]) -> Route:
    """One route for several of the same session."""
    if len(routes) == 1:
        return routes[0]
    joined = Route(
        routes[0].session,
        max(route.qos for route in routes),
        no_local=any(route.no_local for route in routes),
        retain_as_published=any(route.retain_as_published for route in routes),
        identifiers=tuple(identifier for route in routes for identifier in route.identifiers),
    )
    if joined.no_local and (local := [route for route in routes if not route.no_local]):
        joined.own = _join(local)
    return joined


class SharedGroup:
    """The members of ``$share/{group}/{filter}``, each a route, taken in turn."""

    __slots__ = ("_turn", "routes")

    def __init__(self) -> None:
        self.routes: list[Route] = []
        self._turn = 0

    def next(self) -> Route | None:
        """Whose turn it is: a member that is connected and takes data, else one that is connected, else any."""
        routes = self.routes
        count = len(routes)
        if not count:
            return None
        start = self._turn
        fallback = -1
        for step in range(count):
            at = (start + step) % count
            link = routes[at].session.connection
            if link is None:
                continue
            if link.writable:
                self._turn = at + 1
                return routes[at]
            if fallback < 0:
                fallback = at
        at = fallback if fallback >= 0 else start % count
        self._turn = at + 1
        return routes[at]


class Subscriptions:
    """All subscriptions of all sessions. ``matches`` is the cache that :meth:`match` fills, once there is one."""

    def __init__(self) -> None:
        self.matches: MatchCache | None = None
        self._index: TopicIndex[Route | SharedGroup] = TopicIndex()
        self._groups: dict[str, SharedGroup] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def match(self, topic: str) -> tuple[Route | SharedGroup, ...]:
        """Where messages of ``topic`` go: one route per session, and one group per shared subscription."""
        found = self._index.match(topic)
        by_session: dict[int, list[Route]] = {}
        groups: list[Route | SharedGroup] = []
        for value in found:
            if isinstance(value, SharedGroup):
                groups.append(value)
            else:
                by_session.setdefault(id(value.session), []).append(value)
        return (*map(_join, by_session.values()), *groups)

    def add(self, session: Session, topic_filter: str, route: Route) -> bool:
        """Subscribe ``session`` by the valid ``topic_filter`` (``$share`` too); False where it replaces what was."""
        subscriptions = session.subscriptions
        if subscriptions is None:
            subscriptions = session.subscriptions = {}
        old = subscriptions.get(topic_filter)
        subscriptions[topic_filter] = route
        self._count += old is None
        shared = split_shared(topic_filter)
        if shared is not None:
            group = self._groups.get(topic_filter)
            if group is None:
                group = self._groups[topic_filter] = SharedGroup()
                self._index.add(shared.topic_filter, group)
                self._changed(shared.topic_filter)
            if old is None:
                group.routes.append(route)
            else:
                group.routes[group.routes.index(old)] = route
            return old is None
        if old is not None:
            self._index.discard(topic_filter, old)
        self._index.add(topic_filter, route)
        self._changed(topic_filter)
        return old is None

    def discard(self, session: Session, topic_filter: str) -> bool:
        """Unsubscribe; False where there was no such subscription."""
        route = (session.subscriptions or {}).pop(topic_filter, None)
        if route is None:
            return False
        self._count -= 1
        shared = split_shared(topic_filter)
        if shared is None:
            self._index.discard(topic_filter, route)
            self._changed(topic_filter)
            return True
        group = self._groups[topic_filter]
        group.routes.remove(route)
        if not group.routes:
            del self._groups[topic_filter]
            self._index.discard(shared.topic_filter, group)
            self._changed(shared.topic_filter)
        return True

    def discard_all(self, session: Session) -> None:
        for topic_filter in list(session.subscriptions or ()):
            self.discard(session, topic_filter)

    def _changed(self, topic_filter: str) -> None:
        if self.matches is None:
            return
        if has_wildcard(topic_filter):
            self.matches.clear()
        else:
            self.matches.forget(topic_filter)
