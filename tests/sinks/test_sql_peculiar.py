"""The sql sink and tables as they are in the field: what views, policies, partitions and keys refuse, and when."""

from __future__ import annotations

import pytest

from core.errors import Rejected, Unavailable
from core.message import Schema, Type
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


@pytest.mark.parametrize(
    ("body", "match"),
    [
        ("IF NEW.kw < 0 THEN RAISE EXCEPTION 'kw is negative' USING ERRCODE = 'MY001'; END IF;", "kw is negative"),
        ("ASSERT NEW.kw > 0, 'kw is negative';", "kw is negative"),
        ("SELECT soc INTO STRICT NEW.soc FROM meter WHERE NEW.kw > 0 OR soc = 99 LIMIT 1;", "query returned no rows"),
    ],
)
async def test_a_row_that_a_trigger_refuses_is_rejected(postgresql_url: str, body: str, match: str) -> None:
    execute(
        postgresql_url,
        "DROP TABLE IF EXISTS meter",
        f"CREATE TABLE meter ({COLUMNS})",
        "INSERT INTO meter VALUES ('first', 0, 0)",
        f"CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} RETURN NEW; END $$",
        "CREATE TRIGGER refuse BEFORE INSERT ON meter FOR EACH ROW EXECUTE FUNCTION refuse()",
    )
    try:
        await refuses(postgresql_url, match=match)
    finally:
        execute(postgresql_url, "DROP TABLE meter", "DROP FUNCTION refuse")


# -- what is said before the first row -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("server", "statements"),
    [
        ("postgresql_url", ["ALTER TABLE meter ADD UNIQUE (station) DEFERRABLE"]),
        ("postgresql_url", ["ALTER TABLE meter ADD PRIMARY KEY (station) DEFERRABLE INITIALLY DEFERRED"]),
        ("postgresql_url", ["CREATE UNIQUE INDEX meter_half ON meter (station) WHERE kw > 0"]),
        ("postgresql_url", ["CREATE UNIQUE INDEX meter_lower ON meter (lower(station))"]),
        ("mariadb_url", ["CREATE UNIQUE INDEX meter_prefix ON meter (station(3))"]),
    ],
)
async def test_a_unique_index_that_is_no_key_is_none(
    request: pytest.FixtureRequest, server: str, statements: list[str]
) -> None:
    """With the prefix, rows of one station would change those of another that begins alike."""
    url = request.getfixturevalue(server)
    execute(url, "DROP TABLE IF EXISTS meter", f"CREATE TABLE meter ({COLUMNS})", *statements)
    sink = make(url, write="upsert", key=("station",))
    with pytest.raises(Unavailable, match=r"no primary key or unique index on \(station\).*CREATE UNIQUE INDEX"):
        await sink.check()
    await sink.close()


async def test_a_view_that_takes_no_rows_is_said_before_the_first_row(url: str) -> None:
    execute(
        url,
        "DROP TABLE IF EXISTS meter",
        f"CREATE TABLE whole ({COLUMNS})",
        "CREATE VIEW meter AS SELECT station, sum(kw) AS kw, max(soc) AS soc FROM whole GROUP BY station",
    )
    try:
        sink = make(url)
        with pytest.raises(Unavailable, match=r"(cannot insert into view|not insertable-into)"):
            await sink.check()
        await sink.close()
    finally:
        execute(url, "DROP VIEW meter", "DROP TABLE whole")


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("INSERT INTO mysql.user (host, user) VALUES (:station, :kw)", r"(denied|not insertable)"),
        ("INSERT INTO meter VALUES (:station, nix(:kw), 1)", "FUNCTION ci.nix does not exist"),
    ],
)
async def test_a_statement_that_mariadb_can_never_run_is_said_before_the_first_row(
    mariadb_url: str, statement: str, message: str
) -> None:
    execute(mariadb_url, "DROP TABLE IF EXISTS meter", f"CREATE TABLE meter ({COLUMNS})")
    sink = make(mariadb_url, table=None, statement=statement)
    with pytest.raises(Unavailable, match=f"the database refuses the statement: .*{message}"):
        await sink.check()


@pytest.mark.parametrize(
    ("config", "grant", "missing"),
    [
        ({"write": "upsert", "key": ("station",)}, "INSERT, UPDATE", "GRANT SELECT ON meter"),
        ({"write": "ignore", "key": ("station",)}, "INSERT", "GRANT SELECT ON meter"),
        ({}, "INSERT (station, kw)", "permission denied for table meter"),
    ],
)
async def test_a_permission_that_is_missing_in_part_is_said_before_the_first_row(
    postgresql_url: str, config: dict[str, object], grant: str, missing: str
) -> None:
    execute(
        postgresql_url,
        "DROP TABLE IF EXISTS meter",
        f"CREATE TABLE meter ({COLUMNS}, PRIMARY KEY (station))",
        "DROP ROLE IF EXISTS writer",
        "CREATE ROLE writer LOGIN PASSWORD 'writer'",
        f"GRANT {grant} ON meter TO writer",
    )
    try:
        sink = make(postgresql_url.replace("ci:ci", "writer:writer"), **config)
        with pytest.raises(Unavailable, match=missing):
            await sink.check()
        execute(postgresql_url, "GRANT SELECT, INSERT ON meter TO writer")
        await sink.check()
    finally:
        execute(postgresql_url, "DROP TABLE meter", "DROP ROLE writer")


async def test_a_table_that_may_not_be_made_is_said_before_the_first_row(postgresql_url: str) -> None:
    execute(postgresql_url, "DROP TABLE IF EXISTS meter", "DROP ROLE IF EXISTS maker")
    execute(postgresql_url, "CREATE ROLE maker LOGIN PASSWORD 'maker'")
    sink = make(postgresql_url.replace("ci:ci", "maker:maker"), create_table=True)
    try:
        with pytest.raises(Unavailable, match=r"GRANT CREATE ON SCHEMA public TO the user of the connection"):
            await sink.check()
        execute(postgresql_url, "GRANT CREATE ON SCHEMA public TO maker")
        await sink.check()
        execute(postgresql_url, "REVOKE CREATE ON SCHEMA public FROM maker")
    finally:
        execute(postgresql_url, "DROP ROLE maker")


async def test_names_of_another_case_are_those_of_the_table(mariadb_url: str) -> None:
    """To MySQL those of columns are the same; those of tables only on some systems."""
    execute(
        mariadb_url,
        "DROP TABLE IF EXISTS meter",
        "CREATE TABLE meter (Station VARCHAR(9) PRIMARY KEY, KW DOUBLE, soc INT)",
    )
    sink = make(mariadb_url, write="upsert", key=("station",))
    await sink.open()
    try:
        await sink.write(batch(("a", 1.0, 1), ("a", 2.0, 2)))
    finally:
        await sink.close()
    assert [tuple(row.values()) for row in execute(mariadb_url, "SELECT * FROM meter")] == [("a", 2.0, 2)]


async def test_the_way_out_can_be_typed_as_it_is(postgresql_url: str) -> None:
    execute(
        postgresql_url, 'DROP TABLE IF EXISTS "Meter Values"', 'CREATE TABLE "Meter Values" ("Cp Id" TEXT, kw REAL)'
    )
    schema = Schema(("Cp Id", "kw"), (Type.TEXT, Type.DOUBLE))
    sink = make(postgresql_url, (schema,), table="Meter Values", write="upsert", key=("Cp Id",))
    try:
        with pytest.raises(Unavailable) as caught:
            await sink.check()
        execute(postgresql_url, str(caught.value).rpartition("needs: ")[2])
        await sink.check()
        lower = make(postgresql_url, (schema,), table="meter values")
        with pytest.raises(Unavailable, match=r"meter values does not exist \(did you mean 'Meter Values'\?\)"):
            await lower.check()
    finally:
        execute(postgresql_url, 'DROP TABLE "Meter Values"')


async def test_a_time_of_day_is_no_instant(url: str) -> None:
    execute(url, "DROP TABLE IF EXISTS meter", "CREATE TABLE meter (at TIME)")
    instants, texts = Schema(("at",), (Type.TIMESTAMP,)), Schema(("at",), (Type.TEXT,))
    sink = make(url, (instants,))
    with pytest.raises(Unavailable, match=r"has 'at' as TIME.*, and the rule yields 'at' as TIMESTAMP"):
        await sink.check()
    sink = make(url, (texts,))
    await sink.open()
    try:
        await sink.write(batch(("12:34:56",), schema=texts))
    finally:
        await sink.close()
    [row] = execute(url, "SELECT CAST(at AS CHAR(8)) AS at FROM meter")
    assert row["at"] == "12:34:56"


async def test_a_domain_takes_what_its_type_takes(postgresql_url: str) -> None:
    execute(
        postgresql_url,
        "DROP TABLE IF EXISTS meter",
        "DROP DOMAIN IF EXISTS moment, half, percent",
        "CREATE DOMAIN percent AS INTEGER CHECK (VALUE BETWEEN 0 AND 100)",
        "CREATE DOMAIN half AS percent CHECK (VALUE <= 50)",
        "CREATE DOMAIN moment AS TIMESTAMP WITH TIME ZONE",
        "CREATE TABLE meter (at moment, soc half)",
    )
    schema = Schema(("at", "soc"), (Type.BIGINT, Type.DOUBLE))
    for config in ({}, {"write": "ignore"}):
        sink = make(postgresql_url, (schema,), **config)
        await sink.open()
        try:
            await sink.write(batch((1_767_225_600_000, 50.0), schema=schema))
            with pytest.raises(Rejected, match="violates check constraint"):
                await sink.write(batch((1_767_225_600_000, 101.0), schema=schema))
        finally:
            await sink.close()
    rows = execute(postgresql_url, "SELECT at::text AS at, soc FROM meter")
    assert [tuple(row.values()) for row in rows] == [("2026-01-01 00:00:00+00", 50)] * 2
