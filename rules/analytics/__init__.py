"""Analytic functions over streams of rows: the pure core. No SQL, no messages, no clock of its own.

For the compiler of queries
---------------------------

An :class:`AnalyticPlan` says everything; :func:`build` makes the operator that runs it. An input row is a flat tuple
whose columns the plan names by their *places*; the output row is the first ``kept`` of them with one result behind
them per call, in order. A partition's place holds a key, made as those of ``rules.windows`` are: the value itself, a
tuple of several, values of type ANY, ARRAY and OBJECT through ``boxed``. What stands behind the columns is carried as
far as a rejected row, which is handed back whole.

WHERE is the business of the query before, QUALIFY of the query behind.

For the runtime
---------------

The operator has the shape of ``rules.windows.WindowOperator``: ``process``, ``advance``, ``next_deadline``, ``finish``,
``take_rejected`` (reasons ``keys_full`` and ``bad_argument``), ``snapshot``, ``restore``, ``counters``, with ``now`` in
nanoseconds. ``waiting`` tells how many rows ``lead`` keeps.

How a stream is cut into calls of ``process`` changes nothing, except by ``now``.
"""

from rules.analytics.base import AnalyticFunction, AnalyticTable, CallError, Parameter
from rules.analytics.builtin import ANALYTICS
from rules.analytics.operator import AnalyticCounters, AnalyticOperator, build
from rules.analytics.plan import AnalyticCall, AnalyticLimits, AnalyticPlan, check_call, check_constant

__all__ = [
    "ANALYTICS",
    "AnalyticCall",
    "AnalyticCounters",
    "AnalyticFunction",
    "AnalyticLimits",
    "AnalyticOperator",
    "AnalyticPlan",
    "AnalyticTable",
    "CallError",
    "Parameter",
    "build",
    "check_call",
    "check_constant",
]
