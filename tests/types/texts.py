"""What arrives where all is text: the row as JSON over five ways, a ``${column}`` of a template, a field of CSV."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from connections.http import HttpConnection
from connections.mqtt.connection import MqttConnection
from sinks.base import SinkContext
from sinks.console import ConsoleSink
from sinks.file.sink import FileSink
from sinks.http.sink import HttpSink
from sinks.mqtt.sink import MqttSink
from tests.connections.test_http_client import serving
from tests.servers import Kafka, Mosquitto
from tests.types.sending import SECONDS, arrived, code, connect, make, send

Pair = tuple[int, str]


def member(document: bytes) -> Pair:
    """Position and value of ``{"id":7,"v":...}``: the value as it stands there, in a document that is JSON."""
    found = msgspec.json.decode(document, type=dict[str, msgspec.Raw])
    assert list(found) == ["id", "v"]
    return int(bytes(found["id"])), code(bytes(found["v"]).decode())


async def kafka(server: Kafka, folder: Path) -> dict[str, str]:
    ck = pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")
    from connections.kafka.connection import KafkaConnection
    from sinks.kafka.sink import KafkaSink

    connection = connect(KafkaConnection, bootstrap_servers=[server.bootstrap])
    refused = await send(make(KafkaSink, folder, connection, topic="types", create_topic={}), "v")
    consumer = ck.Consumer({"bootstrap.servers": server.bootstrap, "group.id": "types", "enable.partition.eof": True})
    found: list[Pair] = []
    try:
        consumer.assign([ck.TopicPartition("types", 0, 0)])
        while (message := consumer.poll(SECONDS)) is not None and message.error() is None:
            found.append(member(message.value()))
    finally:
        consumer.close()
    return arrived(dict(found), refused)


async def http(_: None, folder: Path) -> dict[str, str]:
    bodies: list[bytes] = []

    async def take(request: web.Request) -> web.Response:
        if request.method == "POST":
            bodies.append(await request.read())
        return web.Response()

    async with serving(take) as url:
        connection = connect(HttpConnection, base_url=str(url))
        refused = await send(make(HttpSink, folder, connection, url="rows"), "v")
    return arrived(dict(map(member, bodies)), refused)


async def console(_: None, folder: Path) -> dict[str, str]:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as terminal, os.fdopen(writing, "wb") as stdout:
        context = SinkContext(name="types", base_dir=folder, stdout=stdout)
        refused = await send(ConsoleSink(ConsoleSink.Config(), context), "v")
        stdout.close()
        lines = terminal.read().splitlines()
    return arrived(dict(map(member, lines)), refused)


async def ndjson(_: None, folder: Path) -> dict[str, str]:
    refused = await send(make(FileSink, folder, path="types.ndjson"), "v")
    return arrived(dict(map(member, (folder / "types.ndjson").read_bytes().splitlines())), refused)


async def csv_file(_: None, folder: Path) -> dict[str, str]:
    context = SinkContext(name="types", base_dir=folder)
    sink = FileSink(msgspec.convert({"path": "types.csv"}, FileSink.Config), context)
    refused = await send(sink, "v")
    found: dict[int, str] = {}
    for line in (folder / "types.csv").read_text().splitlines()[1:]:
        position, field = line.split(",", 1)
        [[_position, text]] = csv.reader(io.StringIO(line))
        # Readers in general see no difference; those that do have the empty text in quotes.
        found[int(position)] = (code(text) if text else '`""`') if field else "empty field"
    return arrived(found, refused)


async def mqtt(server: Mosquitto, folder: Path) -> dict[str, str]:
    return await _mqtt(server, folder, member)


async def template(server: Mosquitto, folder: Path) -> dict[str, str]:
    def split(payload: bytes) -> Pair:
        position, _, text = payload.partition(b" ")
        try:
            return int(position), code(text.decode())
        except UnicodeDecodeError:
            return int(position), f"the bytes {code(text.hex(' ').upper())}"

    return await _mqtt(server, folder, split, payload="${id} ${v}")


async def _mqtt(server: Mosquitto, folder: Path, read: Callable[[bytes], Pair], **settings: str) -> dict[str, str]:
    paho = pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is not installed")
    payloads: list[bytes] = []
    subscribed, ended = threading.Event(), threading.Event()
    reader = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    reader.on_connect = lambda client, *_: client.subscribe("types/#", 1)
    reader.on_subscribe = lambda *_: subscribed.set()

    def take(_client: Any, _data: Any, message: Any) -> None:
        if message.topic == "types/end":
            ended.set()
        else:
            payloads.append(message.payload)

    reader.on_message = take
    reader.connect("127.0.0.1", server.port)
    reader.loop_start()
    try:
        assert await asyncio.to_thread(subscribed.wait, SECONDS)
        connection = connect(MqttConnection, host="127.0.0.1", port=server.port)
        refused = await send(make(MqttSink, folder, connection, topic="types/row", qos=1, **settings), "v")
        reader.publish("types/end", b"", 1)
        assert await asyncio.to_thread(ended.wait, SECONDS)
    finally:
        reader.disconnect()
        reader.loop_stop()
    return arrived(dict(map(read, payloads)), refused)
