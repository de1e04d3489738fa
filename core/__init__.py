"""What every other package builds on: messages, topics, time, errors, metrics and the extension registry.

Invariants: no I/O, no asyncio, no clock of its own except :class:`core.clock.SystemClock`; imports only the
standard library and msgspec. Leaves protocol, SQL and destinations to the packages above it.
"""
