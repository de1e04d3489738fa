"""Reloads while a destination is out of reach: what waits for it is neither lost nor doubled."""

import json
import signal
from collections.abc import Callable

import pytest

from tests.headrace.live import RULE, Client, Folder, Headrace, wait_until

Start = Callable[..., Headrace]
Connect = Callable[..., Client]

pytestmark = pytest.mark.integration

PLACE = 'path = "absent/meter.ndjson"'
SINK = f"""\
[sinks.meter]
type = "file"
{PLACE}
retry = {{ initial = "10ms", max_delay = "50ms" }}
"""


def meter(number: int) -> str:
    return json.dumps({"station": f"s{number}", "power": 7_400})


def start(folder: Folder, headrace: Start, client: Connect) -> tuple[Headrace, Client]:
    """A service whose only sink cannot write: a file stands where it wants a folder."""
    (folder.path / "absent").touch()
    text = folder.config.read_text()
    folder.config.write_text(text[: text.index("[sinks.meter]")] + SINK + text[text.index("[admin]") :])
    folder.replace('shutdown_timeout = "20s"', 'shutdown_timeout = "10ms"')
    service = headrace().ready()
    one = client(service.ports["mqtt"])
    one.connect()
    for number in range(3):
        one.publish("cp/1/meter", meter(number))
    wait_until(lambda: service.metric('headrace_sink_rows_in_total{sink="meter"}') == 3)
    return service, one


def stations(folder: Folder, path: str) -> list[str]:
    return [line["station"] for line in folder.lines(path)]


def reload(service: Headrace) -> None:
    service.send(signal.SIGHUP)
    service.wait_for("reloaded: 1 rules, 1 sinks")


def test_a_corrected_setting_finds_the_rows_that_have_waited(folder: Folder, headrace: Start, client: Connect) -> None:
    service, one = start(folder, headrace, client)
    folder.replace(PLACE, 'path = "here/meter.ndjson"')
    reload(service)
    service.wait_for("sink meter was replaced; 3 waiting rows were handed over")
    one.publish("cp/1/meter", meter(3))
    wait_until(lambda: service.metric('headrace_sink_rows_delivered_total{sink="meter"}') == 4)
    assert stations(folder, "here/meter.ndjson") == ["s0", "s1", "s2", "s3"]
    assert service.metric('headrace_sink_rows_in_total{sink="meter"}') == 4
    assert service.metric('headrace_sink_outages_total{sink="meter"}') == 1
    assert service.stop() == 0


def test_rows_of_a_rule_that_has_changed_are_delivered_too(folder: Folder, headrace: Start, client: Connect) -> None:
    service, one = start(folder, headrace, client)
    folder.rule(RULE.replace("payload.station AS station", "payload.station AS station, 'new' AS version"))
    reload(service)
    one.publish("cp/1/meter", meter(3))
    wait_until(lambda: service.metric('headrace_sink_rows_queued{sink="meter"}') == 4)
    (folder.path / "absent").unlink()
    wait_until(lambda: service.metric('headrace_sink_rows_delivered_total{sink="meter"}') == 4)
    assert sorted(stations(folder, "absent/meter.ndjson")) == ["s0", "s1", "s2", "s3"]
    assert service.stop() == 0


def test_rows_of_a_sink_that_is_gone_are_reported(folder: Folder, headrace: Start, client: Connect) -> None:
    service, _ = start(folder, headrace, client)
    text = folder.config.read_text()
    folder.config.write_text(text.replace(SINK, '[sinks.other]\ntype = "null"\n'))
    folder.rule(RULE.replace("INTO meter", "INTO other"))
    reload(service)
    service.wait_for("sink meter was removed before 3 rows could be delivered")
    assert service.stop() == 1
    assert "stopped with losses: 3 rows for meter" in service.text
