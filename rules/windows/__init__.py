"""Windows over streams of rows: the pure core. No SQL, no messages, no clock of its own; docs/concepts/windows.md has
the rules in the user's words.

::

    rows --> clock ---------> assigner --------> accumulators ----> trigger --> rows
             (watermark)      (grid, sessions,   (one flat list     (boundary passed,
                               counts, states)    per group)         change, count, condition)

For the compiler of queries
---------------------------

A :class:`WindowPlan` says everything; :func:`build` makes the operator that runs it. The generated *pre-aggregation*
function gives one tuple per input row::

    (time, key, value, value, ...)

* ``time``: the event time, integer microseconds since the epoch, or None where the row has none (it is then rejected);
  in processing time the time of receipt (``m.received_ns // 1000``);
* ``key``: ``()`` without GROUP BY columns, the value itself for one, a tuple for more. It must be hashable, and
  ``True`` must not meet ``1``: columns of type ANY, ARRAY and OBJECT go through :func:`boxed` and are listed in
  ``WindowPlan.boxed`` (the operator unboxes them);
* values: arguments, filters and conditions of all aggregates and of the window, each at one *place* (the first is 2).
  ``WindowPlan.columns`` has their types, so that what is certain costs no check.
  Anything behind ``2 + len(columns)`` is carried along: a rejected row is handed back whole.

WHERE is the pre-aggregation's business: it filters input rows, for every kind of window alike. Emitted rows are::

    (key columns ..., window_start, window_end, results ...)

with both boundaries in microseconds and the results in the order of ``WindowPlan.calls``. HAVING, expressions and
ORDER BY are for the generated *post-aggregation* function. Within a window groups come in the order of their first row.

For the runtime
---------------

``now`` is nanoseconds since the epoch, as everywhere in the engine; times of rows and windows are microseconds.

* ``process(rows, now) -> rows``: take rows in; what is due by them comes back, at most about ``MAX_GROUPS_PER_CALL``
  groups of time windows (2,000: some milliseconds).
* ``observe(top, now) -> rows``: rows of the source came that WHERE has dropped, the greatest of their event times was
  ``top`` (microseconds): the watermark goes on with them as with rows of the query's own.
* ``advance(now) -> rows``: what time made due, with the same bound. Call it again while ``next_deadline <= now``.
* ``next_deadline -> int | None``: nanoseconds; a deadline in the past means that more is ready.
* ``finish(now) -> rows``: end of the stream: time windows and sessions close; call again while
  ``next_deadline`` is not None.
* ``take_rejected() -> list[Rejected]``: rows that went into no window since the last call, each with its reason:
  ``late`` (for system.late_rows, with ``window_start`` and ``window_end`` of the last window missed), ``no_time``,
  ``ahead``, ``keys_full``, ``between_windows``, ``bad_argument``.
* ``counters``: the same by reason, never reset; see :class:`Counters`. ``groups``, ``windows``, ``bytes`` are gauges.
* ``snapshot() -> bytes``, ``restore(bytes)``: versioned msgpack. It is refused (:class:`SnapshotError`) where version,
  plan or damage say so. Emitted rows are not in it, rejected ones that were not taken are.

Where a call goes on from one window to the next (``Accumulators.carries``: the meters' functions), the last samples of
each key are kept for ``Limits.carry`` (``carried``).

The result of a stream does not depend on how it is cut into calls of ``process`` (only *when* rows are emitted does,
and for ``Emit.ON_CHANGE`` how many intermediate rows there are): lateness is judged row by row.
"""

from rules.aggregates.keys import boxed, unboxed
from rules.windows.operator import Counters, Rejected, WindowOperator, build
from rules.windows.plan import (
    Count,
    Emit,
    EventTime,
    Hop,
    Limits,
    PlanError,
    ProcessingTime,
    Session,
    Sliding,
    State,
    Tumble,
    WhenFull,
    Window,
    WindowPlan,
)
from rules.windows.state import SnapshotError

__all__ = [
    "Count",
    "Counters",
    "Emit",
    "EventTime",
    "Hop",
    "Limits",
    "PlanError",
    "ProcessingTime",
    "Rejected",
    "Session",
    "Sliding",
    "SnapshotError",
    "State",
    "Tumble",
    "WhenFull",
    "Window",
    "WindowOperator",
    "WindowPlan",
    "boxed",
    "build",
    "unboxed",
]
