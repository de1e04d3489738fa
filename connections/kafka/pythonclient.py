"""What kafka-python does not do for whoever uses it: say why it cannot connect, and end what could not be made.

It tells the reason of a lost connection to its log alone, and leaves behind the thread and sockets of a client whose
first connection failed. A :class:`Client` goes in as ``kafka_client``: it knows the last reason of its own client, and
closes it. The driver's log goes nowhere else: below an error it tells the settings, passwords among them.
"""

from __future__ import annotations

import logging
import re
import time
import weakref
from collections import deque
from typing import Any, Final, NamedTuple

from kafka import errors as ke
from kafka.net.compat import KafkaNetClient

from connections.kafka.driver import (
    CLOSED_AT_ONCE,
    NAME_AUTHORITY,
    NO_SASL,
    NO_TLS,
    TOO_LARGE,
    UNKNOWN_TOPIC,
    Failure,
)

_LOST: Final = "%s: Connection lost: %s"
_KEPT: Final = 8
_SERVER_SAYS: Final = re.compile(r"error_message=(?:'([^']+)'|\"([^\"]+)\")").search
_HANDSHAKE: Final = re.compile(r"^Handshake failed: \[[^]]*\] | \(_ssl\.c:\d+\)")
_CODED: Final = re.compile(r"\[Error (\d+)\]").search
_TIMED_OUT: Final = re.compile(r"Request timed out after (\d+) ms").search


class _Lost(NamedTuple):
    """Not the error itself: it would hold on to the connection."""

    at: float
    node: Any
    reason: str


class _Listener(logging.Handler):
    """The last lost connections of every client."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lost: weakref.WeakKeyDictionary[Any, deque[_Lost]] = weakref.WeakKeyDictionary()

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg == _LOST and isinstance(record.args, tuple) and len(record.args) == 2:
            connection, error = record.args
            net = getattr(connection, "net", None)
            # That there was no answer in time is what callers know themselves.
            if net is not None and not isinstance(error, ke.RequestTimedOutError | ke.KafkaTimeoutError):
                lost = self.lost.setdefault(net, deque(maxlen=_KEPT))
                lost.append(_Lost(time.monotonic(), getattr(connection, "node_id", None), _told(error)))


_listener = _Listener()
_logger = logging.getLogger("kafka")
_logger.addHandler(_listener)
_logger.propagate = False
_logger.setLevel(logging.ERROR)


class Client:
    """The network side of one admin client or producer, of which it is made with ``kafka_client=``."""

    def __init__(self) -> None:
        self._client: Any = None

    def __call__(self, **settings: Any) -> Any:
        self._client = KafkaNetClient(**settings)
        return self._client

    def trouble(self, since: float) -> str | None:
        """Why connections have been lost since ``since``, if any were."""
        if self._client is None:
            return None
        lost = [each for each in _listener.lost.get(self._client._net, ()) if each.at >= since]
        if not lost:
            return None
        last = next((each for each in reversed(lost) if each.reason != CLOSED_AT_ONCE), lost[-1])
        return f"{self._address(last.node)}: {last.reason}"

    def _address(self, node: Any) -> str:
        broker = self._client.cluster.broker_metadata(node)
        return f"broker {node}" if broker is None else f"{broker.host}:{broker.port}"

    def close(self) -> None:
        """End its thread and close its sockets; for one whose owner could not be made."""
        if self._client is not None:
            self._client.close()


def _told(error: Any) -> str:
    text = failure(error).reason if isinstance(error, BaseException) else str(error)
    if isinstance(error, ke.InvalidReceiveError) or "socket disconnected" in text:
        return CLOSED_AT_ONCE
    if "ECONNREFUSED" in text:
        return "connection refused"
    if isinstance(error, ke.IllegalSaslStateError):
        return NO_SASL
    if "UNEXPECTED_EOF_WHILE_READING" in text:
        return NO_TLS
    if "CERTIFICATE_VERIFY_FAILED" in text:
        reason = _HANDSHAKE.sub("", text)
        return f"{reason}; {NAME_AUTHORITY}" if "issuer" in reason or "self-signed" in reason else reason
    return "its name cannot be resolved" if "DNS" in text else text


def failure(error: BaseException) -> Failure:
    """An error of the driver by Kafka's code, with what the broker or the driver says in words."""
    code = getattr(error, "errno", None)
    if code is None and (wrapped := _CODED(str(error))):
        code = int(wrapped[1])
    if isinstance(error, ke.MessageSizeTooLargeError):
        code = TOO_LARGE
    elif isinstance(error, ke.UnknownTopicOrPartitionError):
        code = UNKNOWN_TOPIC
    said = _SERVER_SAYS(str(error))
    name = getattr(error, "message", None)
    text = (said[1] or said[2]) if said else str(error.args[0]) if error.args and error.args[0] else ""
    if text in ("", "None") or isinstance(error, ke.TopicAuthorizationFailedError):  # its text is the topic
        text = str(name).replace("_", " ").capitalize() if name else type(error).__name__
    if slow := _TIMED_OUT(text):
        text = f"no answer within {int(slow[1]) / 1_000:g}s"
    own = f"{type(error).__name__}: "
    text = text.split("\n", 1)[0].removeprefix(own)
    label = f" ({name})" if name and name not in text else ""
    return Failure(code if isinstance(code, int) else -1, f"{text}{label}")
