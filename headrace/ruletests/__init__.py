"""``headrace test``: messages and times from ``*.test.toml`` through the rules, rows compared with those expected.

``settings`` (the format), ``values`` (what may stand in a row), ``files`` (finding and reading), ``steady`` (time and
chance that the test decides), ``bench`` (one test through the engine), ``rows`` (comparing), ``report`` and ``junit``
(telling), ``command`` (the shell). The rules are compiled and run by the same code as in the service; there are no
brokers, no sinks and no clock but the test's.
"""
