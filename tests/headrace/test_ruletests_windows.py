"""``headrace test`` with windows: time that passes, rows that come late, what the report says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.headrace.test_ruletests import Bench, Capture

RULES = """
CREATE SOURCE meter (station TEXT, power DOUBLE NOT NULL, ts TIMESTAMP NOT NULL,
  WATERMARK FOR ts AS ts - INTERVAL '5 seconds') WITH (topic = 'cp/{station}/meter', idle_timeout = '30 seconds');
CREATE VIEW minutes AS SELECT station, window_start, avg(power) AS power, count(*) AS n
FROM TUMBLE(meter, ts, INTERVAL '1 minute') GROUP BY station ORDER BY station;
INSERT INTO warehouse SELECT * FROM minutes;
INSERT INTO hours SELECT window_start, sum(n) AS n FROM TUMBLE(minutes, window_start, INTERVAL '1 hour');
INSERT INTO late SELECT rule, reason, row.station AS station, row.ts AS ts FROM system.late_rows;
"""
TEST = """
[[test]]
name = "minutes"
start = "2025-01-01T00:00:00Z"
given = [
  { topic = "cp/b/meter", payload = { power = 1, ts = "2025-01-01T00:00:01Z" } },
  { topic = "cp/a/meter", payload = { power = 5, ts = "2025-01-01T00:00:59Z" } },
  { at = "65s", topic = "cp/a/meter", payload = { power = 7, ts = "2025-01-01T00:01:05Z" } },
  { topic = "cp/a/meter", payload = { power = 9, ts = "2025-01-01T00:00:30Z" } },
  { advance = "2h" },
]
[[test.expect]]
sink = "warehouse"
rows = [
  { station = "a", window_start = "2025-01-01T00:00:00Z", power = 5.0, n = 1 },
  { station = "b", window_start = "2025-01-01T00:00:00Z", power = 1.0, n = 1 },
  { station = "a", window_start = "2025-01-01T00:01:00Z", power = 7.0, n = 1 },
]
[[test.expect]]
sink = "hours"
rows = [{ window_start = "2025-01-01T00:00:00Z", n = 3 }]
[[test.expect]]
sink = "late"
rows = [{ rule = "minutes", reason = "late", station = "a", ts = "2025-01-01T00:00:30Z" }]
"""


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> Bench:
    monkeypatch.chdir(tmp_path)
    made = Bench(tmp_path, capsys)
    made.rules(RULES)
    return made


def test_windows_close_as_time_passes(bench: Bench) -> None:
    bench.file(TEST)
    assert bench.run() == 0, bench.output


def test_without_time_windows_stay_open(bench: Bench) -> None:
    bench.file(TEST.replace('  { advance = "2h" },\n', ""))
    assert bench.run() == 1
    assert "hours" in bench.output


def test_a_value_that_is_no_power_is_an_error_of_its_source(bench: Bench) -> None:
    bench.one(
        '{ topic = "cp/a/meter", payload = { power = "x", ts = 0 } }',
        '[[test.error]]\nrule = "meter"\ncode = "bad_column"\ntext = "column \'power\'"',
    )
    assert bench.run() == 0, bench.output
