"""Contract suites: what every connection, sink and codec must hold, as test classes to subclass.

The built-in extensions pass them, and so should yours::

    from headrace.testing import SinkContract

    class TestMySink(SinkContract):
        def make_sink(self, context): return MySink(MySink.Config(...), context)
        async def read_back(self): return [... rows as dicts of column -> value ...]

Any runner that collects classes with ``test_*`` methods will do: pytest is not imported here, no plugin for asyncio
is needed (each test runs its own loop), and a failure is a plain AssertionError. pytest shows more of it after
``pytest.register_assert_rewrite("headrace.testing")`` in a ``conftest.py``.
"""

from __future__ import annotations

from headrace.testing.codecs import CodecContract
from headrace.testing.connections import ConnectionContract
from headrace.testing.functions import as_called
from headrace.testing.sinks import PLAIN, VALUES, SinkContract, batch

__all__ = ["PLAIN", "VALUES", "CodecContract", "ConnectionContract", "SinkContract", "as_called", "batch"]
