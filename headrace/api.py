"""The public door: everything that an extension may import, from one place that stays where it is.

Other modules may move between releases; the names here do so only with a deprecation. ``headrace.testing`` holds the
contract suites that an extension's tests subclass.
"""

from __future__ import annotations

from broker.auth import AuthProvider, Decision
from connections.base import Connection, ConnectionContext
from connections.tls import TlsSettings
from core.clock import Clock, ManualClock, SystemClock
from core.errors import (
    ConfigError,
    ExtensionError,
    HeadraceError,
    PayloadError,
    Rejected,
    RuleError,
    SinkError,
    Throttled,
    TopicError,
    Unavailable,
)
from core.message import MISSING, Batch, Message, Missing, Publisher, Schema, Type
from core.settings import Bind, Duration, Secret, Size
from formats.base import Codec
from rules.functions.base import FunctionError, Parameter
from rules.functions.extension import Function, Nulls
from sinks.base import Sink, SinkContext

__all__ = [
    "MISSING",
    "AuthProvider",
    "Batch",
    "Bind",
    "Clock",
    "Codec",
    "ConfigError",
    "Connection",
    "ConnectionContext",
    "Decision",
    "Duration",
    "ExtensionError",
    "Function",
    "FunctionError",
    "HeadraceError",
    "ManualClock",
    "Message",
    "Missing",
    "Nulls",
    "Parameter",
    "PayloadError",
    "Publisher",
    "Rejected",
    "RuleError",
    "Schema",
    "Secret",
    "Sink",
    "SinkContext",
    "SinkError",
    "Size",
    "SystemClock",
    "Throttled",
    "TlsSettings",
    "TopicError",
    "Type",
    "Unavailable",
]
