"""The format of ``*.test.toml``: one struct per table. The reference page is made from them."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec

from core.errors import TopicError
from core.settings import Bind, Duration
from core.topics import validate_name
from headrace.ruletests.events import check_event
from headrace.ruletests.values import ExpectedRow, Moment, Payload

DEFAULT_START: Final = Moment.parse("2025-01-01T00:00:00Z")
"""When a test begins that does not say it."""

NonNegative = Annotated[int, msgspec.Meta(ge=0)]
Byte = Annotated[int, msgspec.Meta(ge=0, le=1)]


class MessageProperties(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """The MQTT 5 properties of a message. Rules see them in ``pub_props``."""

    payload_format_indicator: Byte | None = None
    """1: the payload is text."""
    message_expiry_interval: NonNegative | None = None
    """Seconds."""
    content_type: str | None = None
    """Such as ``application/json``."""
    response_topic: str | None = None
    """Where an answer is awaited."""
    correlation_data: Payload | None = None
    """A text, ``{ hex = "..." }`` or ``{ base64 = "..." }``."""
    user_properties: dict[str, str] = {}
    """Names and values."""


class Given(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """One step of a test, in the order of the file: a message (``topic``), an event of the broker (``event``), or time
    that passes (``advance``)."""

    topic: str | None = None
    """The topic that a client publishes to."""
    event: str | None = None
    """Instead of a message an event, by its name in FROM: ``$events/client/connected``. What is said of a client, and
    ``payload`` and ``qos``, become columns of it."""
    columns: dict[str, Any] = {}
    """Further columns of the event; properties are written like ``properties``. One that every such event has is
    ``""``, 0, false or empty without it; the others are missing."""
    payload: Payload = Payload(b"")
    """A table, an array, a number or a boolean is sent as JSON, a text as it is, ``{ hex = "..." }`` and
    ``{ base64 = "..." }`` as bytes. Empty without it. JSON with a null is written as a text."""
    clientid: str = ""
    """Who publishes."""
    username: str | None = None
    """The publisher's user name."""
    peer: Bind | None = None
    """The publisher's address and port: ``peerhost`` and ``peername``."""
    qos: Literal[0, 1, 2] = 0
    """The quality of service."""
    retain: bool = False
    """Is it a retained message?"""
    properties: MessageProperties | None = None
    """MQTT 5 properties."""
    at: Moment | None = None
    """When it arrives: a time, or a duration since the start. Without it: when the step before it happened."""
    advance: Duration | None = None
    """Let so much time pass; what the rules have to do in it happens at its own time."""

    def __post_init__(self) -> None:
        if [self.topic, self.event, self.advance].count(None) != 2:
            raise ValueError("a step has either a `topic` (a message), an `event`, or an `advance` (time that passes)")
        if self.event is None and self.columns:
            raise ValueError("`columns` belong to an `event`")
        if self.topic is not None:
            try:
                validate_name(self.topic)
            except TopicError as error:
                raise ValueError(str(error)) from None
            return
        if self.event is not None:
            for name, column in (("retain", "flags"), ("properties", "pub_props")):
                if getattr(self, name) != _DEFAULTS[name]:
                    raise ValueError(f"`{name}` belongs to a message; of an event it is `columns.{column}`")
            check_event(self.event, self.columns)
            return
        odd = [name for name in _OF_MESSAGES if getattr(self, name) != _DEFAULTS[name]]
        if odd:
            raise ValueError(f"`{odd[0]}` belongs to a message, and `advance` is a step of its own")


_DEFAULTS: Final = {field.name: field.default for field in msgspec.structs.fields(Given)}
_OF_MESSAGES: Final = tuple(name for name in _DEFAULTS if name not in ("topic", "event", "columns", "advance"))


class Expect(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """The rows that a sink gets. A value is as in the payload; beside them there are ``{ is = "missing" }``,
    ``{ is = "null" }``, ``{ is = "anything" }``, and ``{ hex = "..." }`` for bytes."""

    sink: str
    """The name of the sink."""
    rows: list[ExpectedRow] | None = None
    """Its rows in their order, each a table of columns or a text with a JSON object. ``[]``: none at all."""
    count: NonNegative | None = None
    """Instead of ``rows``: how many there are."""
    unordered: bool = False
    """The rows may come in any order."""
    match: Literal["exact", "subset"] = "exact"
    """``exact``: all columns of a row; ``subset``: only those that are named."""
    tolerance: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    """By how much numbers may differ; above 0 an integer may stand for a float."""

    def __post_init__(self) -> None:
        if (self.rows is None) is (self.count is None):
            raise ValueError("either `rows` or `count` says what is expected")


class ExpectedError(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """A rule that fails on a message. Every failure must be expected; keys that are left out fit any."""

    rule: str | None = None
    """The name of the rule, or of the source, view or join that fails."""
    stage: str | None = None
    """EMQX's class of the error, such as ``select_and_transform_error``."""
    code: str | None = None
    """The word for what went wrong, such as ``decode_json_failed``."""
    text: str | None = None
    """A part of the message."""
    count: Annotated[int, msgspec.Meta(ge=1)] = 1
    """How often."""


class RuleTest(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """One test: what is given, and what comes of it."""

    name: str
    """What the test shows; unique in its file."""
    start: Moment = DEFAULT_START
    """When it begins. No other clock is asked: time passes by ``at`` and ``advance`` alone."""
    given: list[Given] = []
    """Messages and steps of time."""
    expect: list[Expect] = []
    """What the sinks get."""
    error: list[ExpectedError] = []
    """What goes wrong."""
    others: Literal["nothing", "ignore"] = "nothing"
    """What sinks get that no ``expect`` names: ``nothing``, or it is not looked at."""

    def __post_init__(self) -> None:
        if self.start.relative:
            raise ValueError("`start` is a time like '2025-01-31T12:00:00Z'")


class GivenTable(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """What a lookup table holds, for all tests of the file: no database is asked and no file read."""

    rows: list[dict[str, Any]]
    """Its rows, each a table of columns."""


class RuleTests(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """The keys at the top of the file."""

    rules: list[str] | None = None
    """Rule files: paths or patterns, relative to the test file. Without it: all rules of the configuration, or where
    there is none the ``.sql`` files beside the test file."""
    tables: dict[str, GivenTable] = {}
    """The lookup tables that the rules read, by name."""
    test: list[RuleTest] = []
    """The tests."""
