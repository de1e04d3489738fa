"""Wills: when they are published, when not, and when later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from broker.packets import Connect, Disconnect, ReasonCode
from core.clock import SECOND
from tests.broker.pair import Broker, Client, will


@pytest.fixture
def broker() -> Broker:
    return Broker(connect_timeout=600 * SECOND)


@pytest.fixture
def watcher(broker: Broker) -> Client:
    client = broker.connect("watcher")
    client.subscribe("gone", 2)
    return client


def _protocol_error(broker: Broker, client: Client) -> None:
    client.send(Connect("c", client.version))


def _garbage(broker: Broker, client: Client) -> None:
    client.send_bytes(b"\x00\x00")


ENDINGS: dict[str, Callable[[Broker, Client], object]] = {
    "line cut": lambda broker, client: client.drop(),
    "protocol error": _protocol_error,
    "garbage": _garbage,
    "keep-alive": lambda broker, client: broker.sleep(15),
    "take-over": lambda broker, client: broker.connect("c", client.version),
    "shutdown": lambda broker, client: broker.router.disconnect_all(broker.now),
    "closed by us": lambda broker, client: client.connection.close(ReasonCode.SERVER_BUSY, broker.now),
}


@pytest.mark.parametrize("version", [3, 4, 5])
@pytest.mark.parametrize("ending", ENDINGS)
def test_an_end_without_goodbye_publishes_the_will(broker: Broker, ending: str, version: int) -> None:
    client = broker.connect("c", version, keep_alive=10, will=will("rules/gone", qos=1, retain=True))
    ENDINGS[ending](broker, client)
    assert client.closed
    [message] = broker.inbox.take()
    assert (message.topic, message.payload, message.qos, message.retain) == ("rules/gone", b"bye", 1, True)
    assert message.publisher.client_id == "c"
    assert message.received_ns == broker.now
    assert len(broker.router.retained) == 1


@pytest.mark.parametrize("version", [3, 4, 5])
def test_a_goodbye_takes_the_will_along(broker: Broker, watcher: Client, version: int) -> None:
    client = broker.connect("c", version, will=will())
    client.send(Disconnect())
    client.drop()
    assert watcher.messages() == []


def test_a_goodbye_with_will(broker: Broker, watcher: Client) -> None:
    broker.connect("c", will=will()).send(Disconnect(ReasonCode.DISCONNECT_WITH_WILL))
    assert watcher.payloads() == [b"bye"]


def test_properties_of_the_will(broker: Broker, watcher: Client) -> None:
    mine: dict[str, Any] = {"content_type": "text", "user_properties": [("a", "b")]}
    wanted = will()
    wanted.properties = {**mine, "will_delay_interval": 0}
    broker.connect("c", will=wanted).drop()
    [message] = watcher.messages()
    assert message.properties == mine


def test_the_delay(broker: Broker, watcher: Client) -> None:
    broker.connect("c", will=will(delay=5), session_expiry_interval=60).drop()
    broker.sleep(4)
    assert watcher.messages() == []
    broker.sleep(2)
    assert watcher.payloads() == [b"bye"]
    broker.sleep(100)
    assert watcher.messages() == []


def test_coming_back_in_time_cancels_the_will(broker: Broker, watcher: Client) -> None:
    broker.connect("c", will=will(delay=5), session_expiry_interval=60).drop()
    broker.sleep(3)
    client = broker.connect("c", clean_start=False, session_expiry_interval=60)
    broker.sleep(30)
    assert watcher.messages() == []
    client.drop()
    broker.sleep(100)
    assert watcher.messages() == []


def test_taking_over_cancels_a_delayed_will(broker: Broker, watcher: Client) -> None:
    broker.connect("c", will=will(delay=5), session_expiry_interval=60)
    broker.connect("c", clean_start=False, session_expiry_interval=60)
    broker.sleep(30)
    assert watcher.messages() == []


def test_a_clean_start_ends_the_session_and_so_publishes(broker: Broker, watcher: Client) -> None:
    broker.connect("c", will=will(delay=50), session_expiry_interval=60).drop()
    broker.connect("c", clean_start=True)
    assert watcher.payloads() == [b"bye"]


@pytest.mark.parametrize(("expiry", "wait"), [(3, 5), (0, 0)])
def test_the_end_of_the_session_comes_first(broker: Broker, watcher: Client, expiry: int, wait: int) -> None:
    broker.connect("c", will=will(delay=50), session_expiry_interval=expiry).drop()
    broker.sleep(wait)
    assert watcher.payloads() == [b"bye"]


@pytest.mark.parametrize(("version", "code"), [(4, 5), (5, 0x87)])
def test_a_will_needs_the_right_to_publish(broker: Broker, watcher: Client, version: int, code: int) -> None:
    broker.rights.denied.append(("publish", "gone"))
    client = broker.connect("c", version, accept=False, will=will())
    assert client.accept().reason_code == code
    assert client.closed
    assert watcher.messages() == []


def test_a_client_that_never_got_in_leaves_no_will(broker: Broker, watcher: Client) -> None:
    client = broker.connect("c", accept=False, will=will())
    client.connection.refuse(broker.now)
    broker.connect("d", accept=False, will=will()).drop()
    assert watcher.messages() == []
