"""The reference pages say what the code says."""

from core.events import EVENTS
from headrace.reference import PAGES, stale


def test_the_pages_are_fresh() -> None:
    assert stale() == [], "python -m headrace.reference --write"


def test_every_setting_command_and_metric_is_there() -> None:
    config, metrics, cli = PAGES["config.md"](), PAGES["metrics.md"](), PAGES["cli.md"]()
    for text in ('`[sinks.<name>]` with `type = "sql"`', "`[auth.password_file]`", "| `max_rows` |", "`[[acl]]`"):
        assert text in config
    for command in ("run", "check", "eval", "explain", "users add", "users del", "users list", "version"):
        assert f"## `headrace {command}`" in cli
    for name in ("headrace_sink_rows_delivered_total", "headrace_rule_matched_total", "headrace_broker_connections"):
        assert f"`{name}`" in metrics


def test_every_setting_says_what_it_means() -> None:
    assert [line for line in PAGES["config.md"]().splitlines() if line.endswith("|  |")] == []


def test_every_event_is_there_with_its_columns() -> None:
    page = PAGES["events.md"]()
    for event in EVENTS:
        assert f"`{event.topic}`" in page
        section = page.partition(f"## `{event.topic}`\n")[2].partition("\n## ")[0]
        assert bool(section) == bool(event.raised)
        if event.raised:
            assert f"`$events/{event.legacy}`" in page or event.legacy is None
            assert [line.split("`")[1] for line in section.splitlines() if line.startswith(("| `", "| *`"))] == list(
                event.columns
            )
