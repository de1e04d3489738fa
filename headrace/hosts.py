"""What the functions of rules may use of this process, made from ``[functions]``."""

from __future__ import annotations

import atexit
import os
from functools import cache

from core.clock import SECOND
from headrace.jq_runner import JqProcess
from headrace.settings import FunctionSettings, KvStoreSettings
from rules.functions import FunctionTable, Host, Table, available_functions
from rules.functions.host import ENVIRONMENT_PREFIX


def store(settings: KvStoreSettings) -> Table:
    """An empty table for ``kv_store_put``."""
    return Table("kv_store", settings.max_entries, settings.max_bytes, noting=settings.persist)


def host(
    settings: FunctionSettings, *, jq: JqProcess | None = None, kept: Table | None = None, any_variable: bool = False
) -> Host:
    """``jq`` and ``kept`` are the service's, and outlive a reload; who only compiles has neither."""
    return Host(
        regex_timeout=settings.regex_timeout / SECOND,
        jq_timeout=settings.jq_timeout / SECOND,
        jq=jq,
        environment={
            name: value
            for name, value in os.environ.items()
            if name.startswith(ENVIRONMENT_PREFIX) or name in settings.env
        },
        variables=None if any_variable else frozenset(settings.env),
        store=store(settings.kv_store) if kept is None else kept,
        connection_entries=settings.proc_dict.max_entries,
        connection_bytes=settings.proc_dict.max_bytes,
    )


@cache
def standalone_functions() -> FunctionTable:
    """The functions of ``headrace eval``, which has no configuration."""
    jq = JqProcess()
    atexit.register(jq.close)
    return available_functions(host(FunctionSettings(), jq=jq))
