"""mosquitto, with any configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.servers.base import Server, find


class Mosquitto(Server):
    """``lines`` are added to a configuration with one plain listener, anonymous clients and persistence."""

    name = "mosquitto"
    user = "nobody"

    def __init__(self, folder: Path, *lines: str) -> None:
        super().__init__(folder)
        self._lines = lines

    def prepare(self) -> None:
        settings = [
            f"listener {self.port} 127.0.0.1",
            *(() if any(line.startswith("allow_anonymous") for line in self._lines) else ("allow_anonymous true",)),
            "persistence true",
            f"persistence_location {self.folder}/",
            "autosave_interval 1",
            "max_queued_messages 0",
            "max_inflight_messages 1000",
            *self._lines,
        ]
        (self.folder / "mosquitto.conf").write_text("\n".join(settings) + "\n")

    def command(self) -> Sequence[str]:
        return [find(self.name, "mosquitto"), "-c", str(self.folder / "mosquitto.conf")]
