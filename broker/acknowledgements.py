"""PUBACK, PUBREC, PUBREL and PUBCOMP of one client: what they mean for its session, and the answers they ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.encode import encode, encode_pubcomp, encode_pubrel
from broker.packets import PubAck, PubComp, PubRec, PubRel, ReasonCode

if TYPE_CHECKING:
    from broker.connection import Connection


def on_puback(connection: Connection, packet: PubAck, now: int) -> None:
    if connection.session is not None:
        connection.session.acknowledged(packet.packet_id, now, packet.properties)


def on_pubrec(connection: Connection, packet: PubRec, now: int) -> None:
    session = connection.session
    if session is None:
        return
    failed = packet.reason_code >= 0x80
    if session.received(packet.packet_id, failed, now):
        connection.send(encode_pubrel(packet.packet_id))
    elif not failed:
        # Nothing of ours: let the client come to an end with it.
        answer = PubRel(packet.packet_id, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND)
        connection.send(encode(answer, connection.version))


def on_pubrel(connection: Connection, packet: PubRel, now: int) -> None:  # noqa: ARG001 - the table's signature
    inbound = connection.session.inbound if connection.session is not None else None
    if inbound and packet.packet_id in inbound:
        inbound.discard(packet.packet_id)
        connection.send(encode_pubcomp(packet.packet_id))
        return
    answer = PubComp(packet.packet_id, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND)
    connection.send(encode(answer, connection.version))


def on_pubcomp(connection: Connection, packet: PubComp, now: int) -> None:
    if connection.session is not None:
        connection.session.completed(packet.packet_id, now, packet.properties)
