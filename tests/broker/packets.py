"""The shared table of wire cases: what bytes mean in which protocol version, or why they are refused.

Each is written out by hand, beside the specification, and never through the codec it checks. ``CASES`` drives the
codec's tests and those of the connection: ``GOOD`` have a packet, ``BAD`` an error.
"""

from __future__ import annotations

from tests.broker import wire_cases_connection, wire_cases_publish, wire_cases_subscribe
from tests.broker.wire_case import Case

__all__ = ["BAD", "CASES", "GOOD", "Case"]

CASES: list[Case] = [*wire_cases_connection.CASES, *wire_cases_publish.CASES, *wire_cases_subscribe.CASES]
GOOD = [case for case in CASES if case.packet is not None]
BAD = [case for case in CASES if case.packet is None]
