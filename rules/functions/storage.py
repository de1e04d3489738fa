"""State of rules: ``kv_store_*`` keeps values for the whole service, ``proc_dict_*`` for one connection.

What a table holds and refuses: ``memory``. The table of a connection hangs on its :class:`core.message.Publisher` and
goes with it.
"""

from __future__ import annotations

from typing import Any, Final

from core.message import MISSING, Publisher, Type
from rules.functions.base import Anything, Category, Refusal, Sender, shown
from rules.functions.host import Host
from rules.functions.memory import Table

NAME: Final = "state"


def _known(key: Any) -> Any:
    if key is MISSING:
        raise Refusal(f"the key must not be {shown(key)}")
    return key


def category(host: Host) -> Category:
    """The functions on the host's table, and on tables of the host's size for connections."""
    found = Category(NAME)
    store = host.store
    entries, size = host.connection_entries, host.connection_bytes

    @found.scalar(Type.BOOLEAN, ("kv_store_put('k', 1)", True), pure=False)
    def kv_store_put(key: Anything, value: Anything) -> bool:
        """Keep a value under a key, for all rules; true. Keys may be of any type, and 1 is another key than 1.0.

        The table is one per service and bounded (`[functions] kv_store`); what does not fit is refused, with the
        code `kv_store_full`. It survives a reload of the rules, and a restart only if it is stored. A value that is
        undefined deletes the key."""
        store.put(_known(key), value)
        return True

    @found.scalar(
        Type.ANY,
        ("kv_store_get('nothing', 'default')", "default"),
        ("is_null(kv_store_get('nothing'))", True),
        pure=False,
    )
    def kv_store_get(key: Anything, default: Anything = MISSING) -> Any:
        """The value under a key, else `default` (undefined)."""
        return store.get(_known(key), default)

    @found.scalar(Type.BOOLEAN, ("kv_store_del('nothing')", True), pure=False)
    def kv_store_del(key: Anything) -> bool:
        """Forget a key; true."""
        store.delete(_known(key))
        return True

    def table(publisher: Publisher) -> Table:
        known = publisher.memory
        if known is None:
            known = publisher.memory = Table("proc_dict", entries, size)
        own: Table = known
        return own

    @found.scalar(Type.ANY, pure=False)
    def proc_dict_put(publisher: Sender, key: Anything, value: Anything) -> Any:
        """Keep a value under a key for the connection that the message came from, until that ends; the value before
        (undefined). What does not fit is refused, with the code `proc_dict_full`."""
        return table(publisher).put(_known(key), value)

    @found.scalar(Type.ANY, pure=False)
    def proc_dict_get(publisher: Sender, key: Anything) -> Any:
        """The value under a key of this connection, else undefined."""
        return MISSING if publisher.memory is None else table(publisher).get(_known(key))

    @found.scalar(Type.ANY, pure=False)
    def proc_dict_del(publisher: Sender, key: Anything) -> Any:
        """Forget a key of this connection; its value (undefined)."""
        return MISSING if publisher.memory is None else table(publisher).delete(_known(key))

    return found
