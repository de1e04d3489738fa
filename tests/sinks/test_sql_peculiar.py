"""The sql sink and tables as they are in the field: what views, policies, partitions and keys refuse, and when."""

from __future__ import annotations

import pytest

from core.errors import Rejected, Unavailable
from tests.sinks.test_sql_servers import batch, execute, make, mariadb_url, postgresql_url, url

__all__ = ["mariadb_url", "postgresql_url", "url"]  # fixtures

pytestmark = pytest.mark.integration
COLUMNS = "station VARCHAR(20), kw DOUBLE PRECISION, soc BIGINT"


# -- rows that the database refuses for their values, by errors that are about other things elsewhere -----------------


async def refuses(url: str, *, match: str, **config: object) -> None:
    sink = make(url, **config)
    await sink.open()
    try:
        await sink.write(batch(("good", 1.0, 1)))
        with pytest.raises(Rejected, match=match):
            await sink.write(batch(("bad", -1.0, 70)))
    finally:
        await sink.close()


async def test_a_row_that_belongs_to_no_partition_is_rejected(url: str) -> None:
    by, one = "RANGE (soc)", "PARTITION low VALUES LESS THAN (50)"
    if url.startswith("postgresql"):
        execute(
            url,
            "DROP TABLE IF EXISTS meter",
            f"CREATE TABLE meter ({COLUMNS}) PARTITION BY {by}",
            "CREATE TABLE low PARTITION OF meter FOR VALUES FROM (0) TO (50)",
        )
    else:
        execute(url, "DROP TABLE IF EXISTS meter", f"CREATE TABLE meter ({COLUMNS}) PARTITION BY {by} ({one})")
    try:
        await refuses(url, match="(?i)no partition")
    finally:
        execute(url, "DROP TABLE meter")


async def test_a_row_outside_of_a_view_with_a_check_is_rejected(url: str) -> None:
    execute(
        url,
        "DROP TABLE IF EXISTS meter",
        f"CREATE TABLE whole ({COLUMNS})",
        "CREATE VIEW meter AS SELECT * FROM whole WHERE kw > 0 WITH CHECK OPTION",
    )
    try:
        await refuses(url, match="(?i)check option")
    finally:
        execute(url, "DROP VIEW meter", "DROP TABLE whole")


async def test_a_row_that_a_subselect_of_the_statement_finds_twice_is_rejected(url: str) -> None:
    execute(
        url,
        "DROP TABLE IF EXISTS meter",
        f"CREATE TABLE meter ({COLUMNS})",
        "CREATE TABLE sites (station VARCHAR(20), site BIGINT)",
        "INSERT INTO sites VALUES ('good', 1), ('bad', 2), ('bad', 3)",
    )
    statement = "INSERT INTO meter VALUES (:station, :kw, (SELECT site FROM sites WHERE station = :station))"
    try:
        await refuses(url, match="(?i)more than (one|1) row", table=None, statement=statement)
    finally:
        execute(url, "DROP TABLE sites", "DROP TABLE meter")


@pytest.mark.parametrize("write", ["insert", "upsert"])
async def test_a_row_that_a_policy_forbids_is_rejected(postgresql_url: str, write: str) -> None:
    """It has the code of a missing permission; the sink would wait for ever for a GRANT."""
    execute(
        postgresql_url,
        "DROP TABLE IF EXISTS meter",
        f"CREATE TABLE meter ({COLUMNS}, PRIMARY KEY (station))",
        "DROP ROLE IF EXISTS tenant",
        "CREATE ROLE tenant LOGIN PASSWORD 'tenant'",
        "GRANT ALL ON meter TO tenant",
        "ALTER TABLE meter ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY only_positive ON meter TO tenant USING (true) WITH CHECK (kw > 0)",
    )
    try:
        tenant = postgresql_url.replace("ci:ci", "tenant:tenant")
        await refuses(tenant, match="row-level security policy", write=write, key=("station",))
        execute(postgresql_url, "REVOKE INSERT ON meter FROM tenant")
        sink = make(tenant)
        with pytest.raises(Unavailable, match="GRANT INSERT"):
            await sink.open()
        await sink.close()
    finally:
        execute(postgresql_url, "DROP TABLE meter", "DROP ROLE tenant")
