"""Settings of listeners and limits: what TOML may say."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from broker.settings import BrokerLimits, ListenerSettings
from core.clock import SECOND
from core.settings import decode_hook


def convert(kind: Any, value: dict[str, Any]) -> Any:
    return msgspec.convert(value, kind, dec_hook=decode_hook)


def test_a_listener() -> None:
    listener = convert(ListenerSettings, {"bind": "127.0.0.1:1883", "max_packet_size": "64KiB"})
    assert (listener.type, str(listener.bind), listener.max_packet_size) == ("tcp", "127.0.0.1:1883", 65_536)


def test_limits() -> None:
    limits = convert(BrokerLimits, {"connect_timeout": "3s", "queue_full": "drop_new"})
    assert (limits.connect_timeout, limits.queue_full) == (3 * SECOND, "drop_new")


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        (ListenerSettings, {"bind": "0.0.0.0:1", "type": "tls"}, "needs tls"),
        (ListenerSettings, {"bind": "0.0.0.0:1", "tls": {"cert": "c", "key": "k"}}, 'type = "tls"'),
        (ListenerSettings, {"bind": "0.0.0.0:1", "max_connections": 0}, "max_connections"),
        (ListenerSettings, {"bind": "0.0.0.0:1", "max_packet_size": "10B"}, "max_packet_size"),
        (ListenerSettings, {"bind": "0.0.0.0:1", "typ": "tcp"}, "typ"),
        (
            ListenerSettings,
            {"bind": "0.0.0.0:1", "type": "tls", "tls": {"cert": "c", "key": "k", "verify": "required"}},
            "client_ca",
        ),
        (
            ListenerSettings,
            {"bind": "0.0.0.0:1", "type": "tls", "tls": {"cert": "c", "key": "k", "client_ca": "ca"}},
            "client_ca",
        ),
        (BrokerLimits, {"max_in_flight": 0}, "max_in_flight"),
        (BrokerLimits, {"receive_maximum": 70_000}, "receive_maximum"),
        (BrokerLimits, {"max_queued_messages": 0}, "max_queued_messages"),
        (BrokerLimits, {"topic_alias_maximum": -1}, "topic_alias_maximum"),
        (BrokerLimits, {"max_retained_messages": -1}, "max_retained_messages"),
        (BrokerLimits, {"queue_full": "explode"}, "queue_full"),
    ],
)
def test_what_is_wrong_is_said(kind: Any, value: dict[str, Any], words: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=words):
        convert(kind, value)
