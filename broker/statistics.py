"""The broker's counters, by name, so that the code that counts holds the counter itself.

Hot paths add to ``counter.value`` once per read. Counters with a ``reason`` are made when the reason first comes up;
reasons are a closed set of our own words, never what a client sent.
"""

from __future__ import annotations

from typing import Final

from broker.packets import ReasonCode
from core.metrics import Counter, Metrics

_DROPPED: Final = "headrace_broker_messages_dropped_total"


class Statistics:
    """What the broker counts, in one ``Metrics``."""

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics
        counter = metrics.counter
        self.messages_received = counter("headrace_broker_messages_received_total", "Messages that clients published")
        self.messages_sent = counter("headrace_broker_messages_sent_total", "Messages sent to subscribers")
        self.bytes_received = counter("headrace_broker_bytes_received_total", "Bytes read from clients")
        self.bytes_sent = counter("headrace_broker_bytes_sent_total", "Bytes written to clients")
        self.packets_received = counter("headrace_broker_packets_received_total", "Control packets read from clients")
        self.auth_failures = counter("headrace_broker_auth_failures_total", "Clients that authentication refused")
        self.dropped_slow_consumer = self.dropped("slow_consumer")
        self.dropped_offline = self.dropped("offline")
        self.dropped_queue_full = self.dropped("queue_full")
        self.dropped_expired = self.dropped("expired")
        self.dropped_inbox_full = self.dropped("inbox_full")
        self.dropped_not_authorized = self.dropped("not_authorized")
        self.dropped_too_large = self.dropped("packet_too_large")
        self.dropped_identifier_in_use = self.dropped("packet_identifier_in_use")
        self.retained_refused = counter(
            "headrace_broker_retained_refused_total", "Retained messages refused because the store was full"
        )

    def dropped(self, reason: str) -> Counter:
        return self.metrics.counter(
            _DROPPED, "Messages not delivered to one subscriber, or to the rules, by reason", reason=reason
        )

    def connection(self, result: str) -> None:
        """Count the end of an attempt to connect."""
        self.metrics.counter(
            "headrace_broker_connections_total", "Attempts to connect by result", result=result
        ).value += 1

    def disconnect(self, reason: str) -> None:
        """Count the end of a connection that was accepted."""
        self.metrics.counter(
            "headrace_broker_disconnects_total", "Connections that ended, by reason", reason=reason
        ).value += 1

    def packet_error(self, reason_code: int) -> None:
        """Count what a client did wrong, by the reason code of MQTT 5 that says so."""
        self.metrics.counter(
            "headrace_broker_packet_errors_total",
            "Connections closed for what the client sent, by reason",
            reason=ReasonCode(reason_code).name.lower(),
        ).value += 1
