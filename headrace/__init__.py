"""The composition root: configuration, the service, its command line and admin server, and ``headrace.api``.

Everything else is a library to this package; nothing imports it (extensions import ``headrace.api``).
"""
