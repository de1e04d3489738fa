"""The settings of the http sink."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Status = Annotated[int, msgspec.Meta(ge=300, le=599)]


class Config(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Texts take ``${column}`` and ``${column.key}``."""

    url: str = ""
    """Below the connection's ``base_url``, or a whole address. What rows put into it is percent-encoded, but for a
    placeholder that it begins with where there is no ``base_url``: ``${callback}``."""
    method: Literal["POST", "PUT", "PATCH", "DELETE", "GET"] = "POST"
    """Of the requests."""
    send: Literal["row", "json_array", "ndjson"] = "row"
    """A request per row, or one for all rows of a batch that have the same address and headers."""
    body: str | None = None
    """The body, or its part for one row; else the whole row as a JSON object (nothing with GET and DELETE). In
    JSON, values are escaped within the quotes of a text, and are JSON values of their own elsewhere."""
    content_type: str | None = None
    """Else ``application/json``, or ``application/x-ndjson``. With one that has no ``json`` in it ``body`` is a plain
    text."""
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    """Name = text. A header whose value is null is left out."""
    idempotency_key: str | None = None
    """The header ``Idempotency-Key``: ``auto`` gives each request a key that it keeps when it is sent again; a text is
    for ``send = "row"``."""
    parallel: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    """Requests at a time; 1 keeps the rows of a rule in order."""
    gzip: bool = False
    """Compress bodies."""
    accept_status: list[Status] = []
    """Answers that count as success, beside 200 to 299: 409, where it says that the row is there already."""
    retry_status: list[Status] = []
    """Answers after which rows come again, whatever they mean by themselves."""
    reject_status: list[Status] = []
    """Answers that refuse a row for good, whatever they mean by themselves."""
    unreachable: Literal["retry", "reject"] = "retry"
    """Where rows name the host: wait for one that does not answer, and everybody with it, or reject its rows."""
