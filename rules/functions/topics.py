"""Searching lists of subscriptions, as the events of sessions carry them: maps of ``topic`` and ``qos``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from core.message import MISSING, Type
from core.topics import matches
from rules.functions.base import Anything, Array, Category, Text
from rules.functions.values import same, text_of

CATEGORY = Category("topics")
scalar = CATEGORY.scalar


def _found(subscriptions: list[Any], topic: str, qos: Any, fits: Callable[[str, str], bool], *, any_qos: bool) -> bool:
    """Does the first subscription whose topic fits have that QoS?"""
    for subscription in subscriptions:
        known = subscription.get("topic", MISSING) if isinstance(subscription, dict) else MISSING
        if isinstance(known, str | bytes) and fits(text_of(known), topic):
            return any_qos or same(subscription.get("qos", MISSING), qos)
    return False


def _equal(known: str, topic: str) -> bool:
    return known == topic


@scalar(Type.BOOLEAN, ('contains_topic(json_decode(\'[{"topic": "t/1", "qos": 1}]\'), \'t/1\')', True))
def contains_topic(subscriptions: Array, topic: Text) -> bool:
    """True where the array has a map whose `topic` is this one (and whose `qos` is the third argument)."""
    return _found(subscriptions, topic, None, _equal, any_qos=True)


@scalar(
    Type.BOOLEAN,
    ('contains_topic(json_decode(\'[{"topic": "t/1", "qos": 1}]\'), \'t/1\', 2)', False),
    name="contains_topic",
)
def _contains_topic(subscriptions: Array, topic: Text, qos: Anything) -> bool:
    return _found(subscriptions, topic, qos, _equal, any_qos=False)


@scalar(Type.BOOLEAN, ('contains_topic_match(json_decode(\'[{"topic": "t/+", "qos": 1}]\'), \'t/1\')', True))
def contains_topic_match(subscriptions: Array, topic: Text) -> bool:
    """As `contains_topic`, with the maps' topics as filters that may have wildcards."""
    return _found(subscriptions, topic, None, matches, any_qos=True)


@scalar(
    Type.BOOLEAN,
    ('contains_topic_match(json_decode(\'[{"topic": "t/+", "qos": 1}]\'), \'t/1\', 1)', True),
    name="contains_topic_match",
)
def _contains_topic_match(subscriptions: Array, topic: Text, qos: Anything) -> bool:
    return _found(subscriptions, topic, qos, matches, any_qos=False)
