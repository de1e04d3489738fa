"""Hypertables against a PostgreSQL whose ``create_hypertable`` is a stand-in with TimescaleDB's signature.

TimescaleDB itself cannot be installed where these tests run. What they show is that the statements are ones that a
server takes, with the types that the documented functions and views have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from core.errors import Unavailable
from core.message import Schema, Type
from tests.servers import Postgresql
from tests.sinks.test_sql import batch, make

pytestmark = pytest.mark.integration
SCHEMA = Schema(("station", "at", "kw"), (Type.TEXT, Type.BIGINT, Type.DOUBLE))
HYPERTABLE = {"create_table": True, "write": "upsert", "key": ["station", "at"]}

_EXTENSION = """
INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
VALUES (99999, 'timescaledb', 10, 2200, false, '2.17.2')
"""
# https://docs.timescale.com/api/latest/hypertable/create_hypertable_old/, the views beside it
_STAND_INS = """
CREATE SCHEMA timescaledb_information;
CREATE TABLE made (name TEXT, time TEXT, chunk TEXT);
CREATE VIEW timescaledb_information.hypertables AS
  SELECT CAST('public' AS name) AS hypertable_schema, CAST(name AS name) AS hypertable_name FROM made;
CREATE FUNCTION create_hypertable(
  relation REGCLASS, time_column_name NAME, partitioning_column NAME = NULL, number_partitions INTEGER = NULL,
  associated_schema_name NAME = NULL, associated_table_prefix NAME = NULL,
  chunk_time_interval ANYELEMENT = NULL::bigint, create_default_indexes BOOLEAN = TRUE,
  if_not_exists BOOLEAN = FALSE, partitioning_func REGPROC = NULL, migrate_data BOOLEAN = FALSE)
RETURNS TABLE (hypertable_id INT, schema_name NAME, table_name NAME, created BOOLEAN) LANGUAGE sql AS
$$ INSERT INTO made VALUES (
     (SELECT relname FROM pg_class WHERE oid = relation), time_column_name, chunk_time_interval::text);
   SELECT 1, CAST('public' AS name), CAST(relation AS name), true $$;
"""


class _Server(Postgresql):
    def command(self) -> Sequence[str]:
        return [*super().command(), "-c", "allow_system_table_mods=on"]


@pytest.fixture
def engine(own_server: Callable[..., Any], tmp_path: Path) -> Iterator[Engine]:
    pytest.importorskip("psycopg")
    url = own_server(_Server).url
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    yield engine
    engine.dispose()


async def test_a_hypertable_from_the_extension_to_its_rows(engine: Engine, tmp_path: Path) -> None:
    url = engine.url.render_as_string(hide_password=False)

    def sink(name: str, hypertable: Any, **config: Any) -> Any:
        return make(tmp_path, {"table": name, "hypertable": hypertable, **HYPERTABLE, **config}, SCHEMA, url=url)

    plain = sink("meter", {"time": "at"})
    for attempt in (plain.check, plain.open):
        with pytest.raises(Unavailable, match="CREATE EXTENSION timescaledb, as a superuser"):
            await attempt()
    await plain.close()
    with engine.begin() as connection:
        assert not sa.inspect(connection).has_table("meter")
        connection.execute(sa.text(_EXTENSION))
        connection.exec_driver_sql(_STAND_INS)
        connection.exec_driver_sql("CREATE TABLE ordinary (station TEXT, at TIMESTAMPTZ, kw DOUBLE PRECISION)")
    for made in (plain, sink("of days", {"time": "at", "chunk": "1d"})):
        for _ in range(2):  # the second time it is there
            await made.open()
            await made.write(batch(("a", 1_764_000_000_000, 1.0), ("a", 1_764_000_000_000, 2.0), schema=SCHEMA))
            await made.close()
    with pytest.raises(Unavailable, match=r"SELECT create_hypertable\('\"ordinary\"', 'at', migrate"):
        await sink("ordinary", {"time": "at"}).check()
    with engine.connect() as connection:
        assert [tuple(row) for row in connection.execute(sa.text("SELECT * FROM made"))] == [
            ("meter", "at", None),
            ("of days", "at", "24:00:00"),
        ]
        rows = connection.execute(sa.text("SELECT station, CAST(at AS text), kw FROM meter")).all()
    assert [tuple(row) for row in rows] == [("a", "2025-11-24 16:00:00+00", 2.0)]
