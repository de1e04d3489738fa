"""SUBSCRIBE and UNSUBSCRIBE of one client: rights, limits, routes, and the retained messages that are due."""

from __future__ import annotations

from collections.abc import Iterator

from broker.outgoing import Outgoing
from broker.packets import ReasonCode, Subscribe, Subscription, Unsubscribe
from broker.rights import may_subscribe
from broker.router import Router
from broker.session import Session
from broker.subscriptions import Route
from core.message import Publisher


def subscribe(router: Router, session: Session, publisher: Publisher, packet: Subscribe, now: int) -> list[int]:
    """Make the subscriptions and return their reason codes; retained messages then wait for ``Session.pump``."""
    identifiers = tuple((packet.properties or {}).get("subscription_identifier", ()))
    subscribed = router.events.subscribed
    codes: list[int] = []
    for request in packet.subscriptions:
        code = _refusal(router, session, publisher, request.topic_filter, now)
        if code is None:
            code = ReasonCode(request.qos)
            _subscribe(router, session, publisher, request, identifiers, now)
            if subscribed is not None:
                subscribed(publisher, request.topic_filter, request.qos, packet.properties, now)
        codes.append(code)
    return codes


def unsubscribe(router: Router, session: Session, publisher: Publisher, packet: Unsubscribe, now: int) -> list[int]:
    """End the subscriptions and return the reason codes."""
    unsubscribed = router.events.unsubscribed
    codes: list[int] = []
    for topic_filter in packet.topic_filters:
        route = (session.subscriptions or {}).get(topic_filter)
        if route is None or not router.subscriptions.discard(session, topic_filter):
            codes.append(ReasonCode.NO_SUBSCRIPTION_EXISTED)
            continue
        codes.append(ReasonCode.SUCCESS)
        if unsubscribed is not None:
            unsubscribed(publisher, topic_filter, route.qos, packet.properties, now)
    return codes


def _refusal(router: Router, session: Session, publisher: Publisher, topic_filter: str, now: int) -> ReasonCode | None:
    if not may_subscribe(router, publisher, topic_filter, now):
        return ReasonCode.NOT_AUTHORIZED
    subscriptions = session.subscriptions or {}
    if topic_filter not in subscriptions and len(subscriptions) >= router.limits.max_subscriptions:
        return ReasonCode.QUOTA_EXCEEDED
    return None


def _subscribe(
    router: Router,
    session: Session,
    publisher: Publisher,
    request: Subscription,
    identifiers: tuple[int, ...],
    now: int,
) -> None:
    topic_filter = request.topic_filter
    route = Route(
        session,
        request.qos,
        no_local=request.no_local,
        retain_as_published=request.retain_as_published,
        identifiers=identifiers,
    )
    new = router.subscriptions.add(session, topic_filter, route)
    # Shared subscriptions get no retained messages (MQTT5 4.8.2).
    if topic_filter.startswith("$share/") or request.retain_handling == 2 or (request.retain_handling and not new):
        return
    topics = [message.topic for message in router.retained.match(topic_filter, now)]
    if topics:
        session.replay(_retained(router, publisher, topics, route, now))


def _retained(router: Router, publisher: Publisher, topics: list[str], route: Route, now: int) -> Iterator[Outgoing]:
    """What is retained for ``topics`` when their turn comes, as far as the client may read it.

    Looked up late, so that a slow client never gets a retained message after a newer one.
    """
    for topic in topics:
        message = router.retained.get(topic, now)
        if message is None or (route.no_local and message.publisher.client_id == publisher.client_id):
            continue
        if router.access.judge(publisher, "subscribe", topic).allowed:
            outgoing = Outgoing(message, min(message.qos, route.qos), True, route.identifiers)
            if router.events.deliveries:
                outgoing.trace(message)
            yield outgoing
