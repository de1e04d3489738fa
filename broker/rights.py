"""May a client do that? Asks who knows, and tells the rules that read of such answers."""

from __future__ import annotations

from typing import Final, Literal

from broker.acl import CACHE, DEFAULT, Verdict, judged_topic
from broker.router import Router
from core.message import Publisher

_RESERVED: Final = ("$SYS/", "$share/", "$events/")
"""Where the broker itself speaks: a client never publishes there, whatever the access list says."""


def may_publish(router: Router, publisher: Publisher, topic: str, now: int) -> bool:
    if topic.startswith(_RESERVED):
        return told(router, publisher, "publish", topic, Verdict(False, DEFAULT), now)
    return told(router, publisher, "publish", topic, router.access.judge(publisher, "publish", topic), now)


def may_subscribe(router: Router, publisher: Publisher, topic_filter: str, now: int) -> bool:
    verdict = router.access.judge(publisher, "subscribe", topic_filter)
    return told(router, publisher, "subscribe", judged_topic("subscribe", topic_filter) or topic_filter, verdict, now)


def remembered(router: Router, publisher: Publisher, topic: str, allowed: bool, now: int) -> bool:
    """An answer about publishing that was given before."""
    return told(router, publisher, "publish", topic, Verdict(allowed, CACHE), now)


def told(
    router: Router,
    publisher: Publisher,
    action: Literal["publish", "subscribe"],
    topic: str,
    verdict: Verdict,
    now: int,
) -> bool:
    authz = router.events.authz
    if authz is not None:
        authz(publisher, action, topic, verdict, now)
    return verdict.allowed
