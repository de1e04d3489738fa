"""Charging stations that do not exist: what they would publish (`Park`), and real MQTT connections for it (`Fleet`).

`Park` is the model: stations with two connectors, vehicles that come, charge and leave, a sensor that runs hot, a
firmware that sometimes sends rubbish, and a mobile network that keeps some readings back. It is deterministic for a
seed and is told the time, so tests can run it without a network. `Fleet` gives every station one paho-mqtt
connection and drives them all from one thread.

Every station speaks two dialects, as real parks do: plain telemetry (`cp/<station>/<connector>/meter`, QoS 0) and
messages shaped like those of OCPP 1.6 (`cp/<station>/ocpp/<Action>`, QoS 1).

    python simulator.py --port 1883 --username stations --password-file data/stations.password
"""

from __future__ import annotations

import argparse
import json
import math
import random
import selectors
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final, NamedTuple

from paho.mqtt.client import MQTT_ERR_SUCCESS, Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

CONNECTORS: Final = (1, 2)
TELEMETRY_SECONDS: Final = 0.5
METER_VALUES_EVERY: Final = 6  # telemetry steps between two OCPP MeterValues
MALFORMED_SECONDS: Final = 3.0
OVERHEATING_SECONDS: Final = 4.0
OVERHEATING_STEPS: Final = 5
CUT_OFF: Final = 3  # so many stations had no network before the start
CUT_OFF_SECONDS: Final = 200.0
KEPT_BACK_EVERY: Final = 5.0
RECONNECT_SECONDS: Final = 1.0
AMBIENT_CELSIUS: Final = 31.0
CUT_OFF_PAYLOAD: Final = b'{"station": "'


class Publication(NamedTuple):
    """One message that a station wants to publish."""

    station: str
    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False


def rfc3339(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def sampled(value: float, measurand: str, unit: str) -> dict[str, str]:
    """One SampledValue of OCPP 1.6, whose values are texts."""
    return {"value": str(value), "context": "Sample.Periodic", "measurand": measurand, "unit": unit}


class Connector:
    """One outlet and the vehicle that may be plugged in. Energy in Wh, power in W, state of charge in percent."""

    def __init__(self, station: str, number: int, rng: random.Random) -> None:
        self.station = station
        self.number = number
        self._rng = rng
        self._nominal = rng.choice((11_000, 22_000, 50_000, 150_000))
        self._step = rng.randrange(METER_VALUES_EVERY)
        self._idle_until = 0.0
        self.energy = float(rng.randrange(10_000, 900_000))
        self.temperature = AMBIENT_CELSIUS
        self.hot_steps = 0
        self.soc = 0.0
        self.transaction: int | None = None

    def _publish(self, action: str, now: float, *, retain: bool = False, **fields: Any) -> Publication:
        document = {"connectorId": self.number, "timestamp": rfc3339(now), **fields}
        suffix = f"/{self.number}" if retain else ""
        topic = f"cp/{self.station}/ocpp/{action}{suffix}"
        return Publication(self.station, topic, json.dumps(document).encode(), 1, retain)

    def _status(self, now: float, status: str) -> Publication:
        return self._publish("StatusNotification", now, retain=True, status=status, errorCode="NoError")

    def begin(self, now: float, transaction: int | None) -> Iterator[Publication]:
        """What a connector says when its station comes up: some find a vehicle already plugged in."""
        if transaction is None:
            self._idle_until = now + self._rng.uniform(1, 20)
            yield self._status(now, "Available")
        else:
            yield from self.start(now, transaction)

    def start(self, now: float, transaction: int) -> Iterator[Publication]:
        self.transaction = transaction
        self.soc = self._rng.uniform(8, 70)
        self._charged_at = now + self._rng.uniform(6, 60)
        tag = f"{self._rng.randrange(16**8):08X}"
        yield self._publish(
            "StartTransaction", now, transactionId=transaction, idTag=tag, meterStart=round(self.energy)
        )
        yield self._status(now, "Charging")

    def stop(self, now: float) -> Iterator[Publication]:
        reason = "EVDisconnected" if self.soc >= 99 else "Local"
        yield self._publish(
            "StopTransaction", now, transactionId=self.transaction, meterStop=round(self.energy), reason=reason
        )
        yield self._status(now, "Available")
        self.transaction = None
        self._idle_until = now + self._rng.uniform(2, 15)

    def step(self, now: float, next_transaction: Iterator[int]) -> Iterator[Publication]:
        """One telemetry interval."""
        self._step += 1
        if self.transaction is None:
            power = 0.0
            if now >= self._idle_until:
                yield from self.start(now, next(next_transaction))
        else:
            # Batteries take less as they fill; the last fifth is slow.
            taper = 1.0 if self.soc < 80 else max(0.08, (100 - self.soc) / 20)
            power = round(self._nominal * taper * self._rng.uniform(0.93, 1.0), 1)
            self.energy += power * TELEMETRY_SECONDS / 3600
            self.soc = min(100.0, self.soc + self._nominal / 150_000 * 0.4)
        self.temperature += (AMBIENT_CELSIUS + power / 6_000 - self.temperature) * 0.3
        if self.hot_steps:
            self.hot_steps -= 1
            self.temperature = self._rng.uniform(84, 97)
        yield self.telemetry(now, power)
        if self.transaction is not None:
            if self._step % METER_VALUES_EVERY == 0:
                yield self._meter_values(now, power)
            if now >= self._charged_at or self.soc >= 100:
                yield from self.stop(now)

    def telemetry(self, now: float, power: float) -> Publication:
        """One reading, in plain JSON."""
        document = {
            "station": self.station,
            "connector": self.number,
            "power": power,
            "energy": round(self.energy, 2),
            "temperature": round(self.temperature, 1),
            "ts": int(now * 1000),
        }
        if self.transaction is not None:
            document["soc"] = round(self.soc)
        topic = f"cp/{self.station}/{self.number}/meter"
        return Publication(self.station, topic, json.dumps(document).encode())

    def _meter_values(self, now: float, power: float) -> Publication:
        values = [
            sampled(power, "Power.Active.Import", "W"),
            sampled(round(self.energy, 2), "Energy.Active.Import.Register", "Wh"),
            sampled(round(self.soc), "SoC", "Percent"),
        ]
        meter_value = [{"timestamp": rfc3339(now), "sampledValue": values}]
        return self._publish("MeterValues", now, transactionId=self.transaction, meterValue=meter_value)


class Park:
    """All stations. :meth:`advance` returns what they publish up to ``now``, seconds since the epoch."""

    def __init__(self, stations: int, seed: int, now: float) -> None:
        self._rng = random.Random(seed)
        self.names = [f"CP-{number:04d}" for number in range(1, stations + 1)]
        self._connectors = [[Connector(name, number, self._rng) for number in CONNECTORS] for name in self.names]
        self._transactions = iter(range(int(now) % 1_000_000 * 1_000, sys.maxsize))
        # Stations are spread over the interval, so that they do not all speak at once.
        self._due = [now + TELEMETRY_SECONDS * index / stations for index in range(stations)]
        self._started = [False] * stations
        self._malformed_at = now + 1.0
        self._overheating_at = now + 1.5
        self._kept_back_at = math.inf
        self._backlog = self._of_the_cut_off(now - CUT_OFF_SECONDS)

    @property
    def next_due(self) -> float:
        return min(self._due)

    def advance(self, now: float) -> list[Publication]:
        """Everything that is due at ``now``; an interval that was slept through is not made up for."""
        published, self._backlog = self._backlog, []
        if published:  # all are connected; what comes after the first readings of now is late
            self._kept_back_at = now + 1.2
        for index, due in enumerate(self._due):
            if due > now:
                continue
            for connector in self._connectors[index]:
                if self._started[index]:
                    published.extend(connector.step(now, self._transactions))
                else:
                    charging = next(self._transactions) if self._rng.random() < 0.6 else None
                    published.extend(connector.begin(now, charging))
            self._started[index] = True
            self._due[index] = max(due + TELEMETRY_SECONDS, now)
        published.extend(self._faults(now))
        return published

    def _of_the_cut_off(self, then: float) -> list[Publication]:
        """The last readings before some stations lost their network: they send them when they are back."""
        cut_off = self._connectors[-CUT_OFF:]
        times = [then + step * TELEMETRY_SECONDS for step in range(3)]
        return [one.telemetry(at, 0.0) for at in times for connectors in cut_off for one in connectors]

    def _faults(self, now: float) -> Iterator[Publication]:
        if now >= self._malformed_at:
            self._malformed_at = now + MALFORMED_SECONDS
            name = self._rng.choice(self.names)
            yield Publication(name, f"cp/{name}/1/meter", CUT_OFF_PAYLOAD + name.encode())
        if now >= self._overheating_at:
            self._overheating_at = now + OVERHEATING_SECONDS
            self._rng.choice(self._rng.choice(self._connectors)).hot_steps = OVERHEATING_STEPS
        if now >= self._kept_back_at:
            self._kept_back_at = now + KEPT_BACK_EVERY
            yield self._rng.choice(self._rng.choice(self._connectors)).telemetry(now - CUT_OFF_SECONDS, 0.0)


class Fleet:
    """One MQTT connection per station of a park, all driven by the thread that calls :meth:`run`."""

    def __init__(self, park: Park, host: str, port: int, username: str | None, password: str | None) -> None:
        self._park = park
        self._address = (host, port)
        self._selector = selectors.DefaultSelector()
        self._clients: dict[str, Client] = {}
        self._accepted: set[str] = set()
        self._retry_at: dict[str, float] = {}
        self._stop = Event()
        self._thread: Thread | None = None
        self.refused: str | None = None
        self.published = 0
        for name in park.names:
            client = Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=MQTTProtocolVersion.MQTTv311)
            if username is not None:
                client.username_pw_set(username, password)
            client.on_connect = self._on_connect
            client.on_socket_open = self._on_socket_open
            client.on_socket_close = self._on_socket_close
            client.user_data_set(name)
            self._clients[name] = client

    @property
    def connected(self) -> int:
        """How many stations the broker has accepted."""
        return len(self._accepted)

    def _on_connect(self, _client: Client, name: str, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self.refused = f"{name}: {reason}"
        else:
            self._accepted.add(name)

    def _on_socket_open(self, client: Client, _name: str, sock: Any) -> None:
        self._selector.register(sock, selectors.EVENT_READ, client)

    def _on_socket_close(self, _client: Client, name: str, sock: Any) -> None:
        self._selector.unregister(sock)
        self._accepted.discard(name)
        self._retry_at[name] = time.monotonic() + RECONNECT_SECONDS

    def _connect(self, name: str) -> None:
        try:
            self._clients[name].connect(*self._address, keepalive=30)
        except OSError:
            self._retry_at[name] = time.monotonic() + RECONNECT_SECONDS

    def start(self) -> None:
        self._thread = Thread(target=self.run, name="stations")
        self._thread.start()

    def stop(self) -> None:
        """Say goodbye on every connection and end the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def run(self) -> None:
        for name in self._clients:
            self._connect(name)
        misc_at = time.monotonic() + 1.0
        while not self._stop.is_set():
            self._publish()
            wait = min(0.1, max(0.0, self._park.next_due - time.time()))
            for key, _ in self._selector.select(wait):
                key.data.loop_read()
            now = time.monotonic()
            for name in [name for name, due in self._retry_at.items() if due <= now]:
                del self._retry_at[name]
                self._connect(name)
            if now >= misc_at:
                misc_at = now + 1.0
                for client in self._clients.values():
                    client.loop_misc()
        for client in self._clients.values():
            client.disconnect()
        self._selector.close()

    def _publish(self) -> None:
        # The model waits for the whole park: what the first stations say shall not depend on the network's order.
        if not self.published and self.connected < len(self._clients):
            return
        for publication in self._park.advance(time.time()):
            if publication.station not in self._accepted:
                continue
            client = self._clients[publication.station]
            sent = client.publish(publication.topic, publication.payload, publication.qos, retain=publication.retain)
            self.published += sent.rc == MQTT_ERR_SUCCESS
            if client.want_write():
                client.loop_write()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="simulated charging stations")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--username")
    parser.add_argument("--password-file", type=Path, help="a file with the password in its first line")
    parser.add_argument("--stations", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.0, help="0 runs until Ctrl-C")
    options = parser.parse_args(arguments)
    password = options.password_file.read_text().strip() if options.password_file else None
    park = Park(options.stations, options.seed, time.time())
    fleet = Fleet(park, options.host, options.port, options.username, password)
    fleet.start()
    started = time.monotonic()
    try:
        while not options.seconds or time.monotonic() - started < options.seconds:
            time.sleep(1.0)
            refused = f", refused: {fleet.refused}" if fleet.refused else ""
            print(f"{fleet.connected} stations connected, {fleet.published} messages published{refused}")
    except KeyboardInterrupt:
        pass
    finally:
        fleet.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
