"""Windows in the whole service: they close in time, and go on over a stop and a reload."""

import json
import signal
from collections.abc import Callable

import pytest

from headrace.states import FILE_NAME
from tests.headrace.live import Client, Folder, Headrace, wait_until

Start = Callable[..., Headrace]
Connect = Callable[..., Client]

pytestmark = pytest.mark.integration

SOURCE = """
CREATE SOURCE meter (
  station TEXT, power DOUBLE NOT NULL, ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts - INTERVAL '1 second'
) WITH (topic = 'cp/{station}/meter');
"""
MINUTES = """
CREATE VIEW minutes AS
SELECT station, window_start, sum(power) AS total, count(*) AS n FROM TUMBLE(meter, ts, INTERVAL '1 minute')
GROUP BY station;
INSERT INTO meter SELECT * FROM minutes;
"""


def publish(client: Client, second: int, power: float = 1.0, station: str = "a") -> None:
    client.publish(f"cp/{station}/meter", json.dumps({"power": power, "ts": second * 1000}))


def connected(service: Headrace, client: Connect) -> Client:
    one = client(service.ports["mqtt"])
    one.connect()
    return one


def test_a_window_goes_on_after_a_restart(folder: Folder, headrace: Start, client: Connect) -> None:
    folder.rule(SOURCE + MINUTES)
    service = headrace().ready()
    one = connected(service, client)
    publish(one, 10, 5)
    publish(one, 20, 7)
    one.close()
    assert service.stop() == 0
    assert (folder.path / "data" / FILE_NAME).exists()
    service = headrace().ready()
    assert "the windows of 1 queries go on" in service.text
    assert not (folder.path / "data" / FILE_NAME).exists()
    one = connected(service, client)
    publish(one, 30, 1)
    publish(one, 70, 100)
    wait_until(lambda: folder.rows("station, total, n") == [("a", 13.0, 3)])
    assert service.stop() == 0


def test_windows_are_saved_also_where_a_sink_does_not_take_its_rows(
    folder: Folder, headrace: Start, client: Connect
) -> None:
    folder.rule(SOURCE + MINUTES)
    folder.rule("INSERT INTO dead SELECT station FROM meter;", "dead.sql")
    folder.replace("[admin]", '[sinks.dead]\ntype = "http"\nurl = "http://127.0.0.1:1/"\n[admin]')
    folder.replace('shutdown_timeout = "20s"', 'shutdown_timeout = "200ms"')
    service = headrace().ready()
    one = connected(service, client)
    publish(one, 10, 5)
    one.close()
    assert service.stop() != 0, "a row was lost"
    assert (folder.path / "data" / FILE_NAME).exists()


def test_a_query_that_changed_over_a_restart_is_named(folder: Folder, headrace: Start, client: Connect) -> None:
    folder.rule(SOURCE + MINUTES)
    service = headrace().ready()
    one = connected(service, client)
    publish(one, 10, 5)
    one.close()
    assert service.stop() == 0
    folder.rule(SOURCE + MINUTES.replace("sum(power)", "max(power)"))
    service = headrace().ready()
    assert "windows begin anew, as their queries have changed: minutes" in service.text
    assert service.stop() == 0


def test_a_damaged_file_is_kept_aside(folder: Folder, headrace: Start) -> None:
    folder.rule(SOURCE + MINUTES)
    data = folder.path / "data"
    data.mkdir()
    (data / FILE_NAME).write_bytes(b"\x93\x01nonsense")
    service = headrace().ready()
    assert "the states of windows cannot be read, they begin anew" in service.text
    assert (data / FILE_NAME).with_suffix(".unreadable").read_bytes() == b"\x93\x01nonsense"
    assert service.stop() == 0


def test_without_a_folder_windows_give_what_they_hold(folder: Folder, headrace: Start, client: Connect) -> None:
    folder.replace('data_dir = "data"\n', "")
    (folder.path / "data").mkdir()
    folder.rule(SOURCE + MINUTES)
    service = headrace().ready()
    publish(connected(service, client), 10, 5)
    assert service.stop() == 0
    assert folder.rows("station, total, n") == [("a", 5.0, 1)]


def test_a_reload_keeps_the_windows_of_what_has_not_changed(folder: Folder, headrace: Start, client: Connect) -> None:
    folder.rule(SOURCE + MINUTES)
    service = headrace().ready()
    one = connected(service, client)
    publish(one, 10, 5)
    folder.rule('INSERT INTO meter SELECT payload.station AS station, 0 AS total, 0 AS n FROM "x"', "other.sql")
    service.process.send_signal(signal.SIGHUP)
    wait_until(lambda: service.metric('headrace_reloads_total{result="ok"}') == 1)
    publish(one, 20, 7)
    publish(one, 70)
    wait_until(lambda: folder.rows("station, total, n") == [("a", 12.0, 2)])
    assert service.stop() == 0


def test_what_is_made_of_a_window_may_change_while_it_is_open(folder: Folder, headrace: Start, client: Connect) -> None:
    folder.rule(SOURCE + MINUTES)
    service = headrace().ready()
    one = connected(service, client)
    publish(one, 10, 5)
    folder.rule(SOURCE + MINUTES.replace("sum(power)", "1000 * sum(power)"))
    service.process.send_signal(signal.SIGHUP)
    wait_until(lambda: service.metric('headrace_reloads_total{result="ok"}') == 1)
    publish(one, 20, 7)
    publish(one, 70)
    wait_until(lambda: folder.rows("station, total, n") == [("a", 12000.0, 2)])
    assert service.stop() == 0


@pytest.mark.parametrize(("option", "first"), [("drain", [("a", 5.0, 1)]), ("drop", [])])
def test_a_reload_closes_the_windows_of_what_has_changed(
    folder: Folder, headrace: Start, client: Connect, option: str, first: list[object]
) -> None:
    minutes = MINUTES.replace("minutes AS", f"minutes WITH (on_end = '{option}') AS")
    folder.rule(SOURCE + minutes)
    service = headrace().ready()
    one = connected(service, client)
    publish(one, 10, 5)
    folder.rule(SOURCE + minutes.replace("sum(power)", "sum(2 * power)"))
    service.process.send_signal(signal.SIGHUP)
    wait_until(lambda: service.metric('headrace_reloads_total{result="ok"}') == 1)
    publish(one, 20, 7)
    publish(one, 70)
    wait_until(lambda: folder.rows("station, total, n") == [*first, ("a", 14.0, 1)])
    assert service.stop() == 0


def test_a_window_closes_when_its_time_is_over(folder: Folder, headrace: Start, client: Connect) -> None:
    folder.rule(
        "INSERT INTO meter SELECT clientid, count(*) AS n FROM TUMBLE(\"cp/+/meter\", INTERVAL '1 second') "
        "GROUP BY clientid"
    )
    service = headrace().ready()
    publish(connected(service, client), 10)
    wait_until(lambda: folder.rows("clientid, n") == [("cp-1", 1)])
    assert service.stop() == 0


def test_rows_that_come_too_late_are_told(folder: Folder, headrace: Start, client: Connect) -> None:
    late = "INSERT INTO meter SELECT row.station AS station, rule, reason, row.ts AS ts FROM system.late_rows"
    folder.rule(SOURCE + MINUTES.replace("INSERT INTO meter", "INSERT INTO other") + late)
    folder.replace("[admin]", '[sinks.other]\ntype = "null"\n[admin]')
    service = headrace().ready()
    one = connected(service, client)
    publish(one, 100)
    publish(one, 10)
    wait_until(lambda: folder.rows("station, rule, reason, ts") == [("a", "minutes", "late", "1970-01-01T00:00:10Z")])
    assert service.metric('headrace_window_rows_refused_total{reason="late",rule="minutes"}') == 1
    assert service.stop() == 0


def test_a_sink_that_a_reload_takes_away_gets_the_windows_that_are_closed_with_it(
    folder: Folder, headrace: Start, client: Connect
) -> None:
    folder.rule("INSERT INTO kept SELECT station FROM meter;", "kept.sql")
    folder.rule(SOURCE + MINUTES)
    folder.replace("[admin]", '[sinks.kept]\ntype = "null"\n\n[admin]')
    service = headrace().ready()
    publish(connected(service, client), 10, 5)
    text = folder.config.read_text()
    meter = text[text.index("[sinks.meter]") : text.index("[sinks.kept]")]
    folder.replace(meter, "")
    folder.rule(SOURCE)
    service.process.send_signal(signal.SIGHUP)
    service.wait_for("sink meter was removed$")
    assert folder.rows("station, total, n") == [("a", 5.0, 1)]
    assert service.stop() == 0
