"""SQL rules over messages: text -> syntax tree -> bound query -> plan -> generated Python -> batches of rows.

One file per pass: ``dialect``/``lexer``/``grammar`` (text to sqlglot tree), ``statements`` (a file's statements),
``bind`` (names, functions, whitelist), ``types`` (static types), ``plan``, ``codegen``, ``runtime``. Pure: no I/O, no
clock, no asyncio. Leaves delivery to ``sinks`` and payload formats to ``formats``.
"""
