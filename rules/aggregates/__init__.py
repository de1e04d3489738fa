"""Aggregate functions, and the code that a list of them is turned into. Pure; knows neither windows nor SQL text.

For the compiler of queries
---------------------------

:data:`AGGREGATES` maps a lower-case name to an :class:`Aggregate`: its parameters (with what each takes), the constants
behind them (a percentile's fraction, a separator), the type of its result, documentation and examples. A call in a
query becomes an :class:`AggregateCall`: the *places* of its arguments and of its FILTER in the row that the generated
pre-aggregation function makes, its constants, DISTINCT and ORDER BY. :func:`check_call` refuses a wrong one in words
for the author. Two calls that are equal need one state: give it once and use its result twice.

``count(*)`` is ``AggregateCall("count")`` without arguments. Others that may be called with ``*`` (``Aggregate.star``)
take an argument that the pre-aggregation makes: the row as a map. FILTER's argument is a place too: what is not
``True`` there leaves the row out of that aggregate alone.

Nulls: null and missing arguments are ignored, as in SQL; ``count(*)`` counts rows; ``array_agg`` keeps nulls. Without
any value the result is null, of a count 0. A value of the wrong type (a text for ``sum``) is an error of that row: the
row counts nowhere, and the operator hands it back with the reason.

Order: first, last and lists go by the rows' times, with ``AggregateCall.order`` by that (and by time where it leaves
rows equal). Aggregates to which it means nothing refuse it.

Types: a sum of integers is an integer, of DECIMALs a DECIMAL (as exact as rule SQL's ``+``), of floats a float by plain
addition, as PostgreSQL's: its error grows with the number of values (n * 1e-16), which device data never shows. avg is
always a float, of DECIMALs a DECIMAL. Variances are Welford's, so they survive a large mean.

For operators
-------------

:class:`Accumulators` is a list of calls as code: ``new``, ``add``, ``merge``, ``joined``, ``output``. The state of one
group is one flat list with the slots of all calls; ``samples`` gives what some aggregates carry into the next window
of the same key. ``write_checks``, ``write_init`` and ``write_update`` put the same
code inline into a loop of the operator's own.
"""

from rules.aggregates.accumulator import Accumulators, AggregateCall, check_call
from rules.aggregates.base import Aggregate, AggregateTable, OrderBy, Tally, from_functions
from rules.aggregates.builtin import AGGREGATES

__all__ = [
    "AGGREGATES",
    "Accumulators",
    "Aggregate",
    "AggregateCall",
    "AggregateTable",
    "OrderBy",
    "Tally",
    "check_call",
    "from_functions",
]
