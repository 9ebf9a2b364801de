"""Bytes that nobody reads."""

from __future__ import annotations

import socket
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recserve.serving.overload import discard as module
from recserve.serving.overload.discard import descriptor_of, discard

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux throws bytes away unread")


class Transport:
    """What asyncio tells of a connection."""

    def __init__(self, **told: Any) -> None:
        self._told = told

    def get_extra_info(self, name: str) -> Any:
        return self._told.get(name)


def pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        sender = socket.create_connection(server.getsockname())
        return sender, server.accept()[0]


@given(st.binary(min_size=1, max_size=3000), st.lists(st.integers(-1, 1000), max_size=6))
def test_what_is_left_is_what_reading_and_forgetting_leaves(sent: bytes, counts: list[int]) -> None:
    sender, receiver = pair()
    with sender, receiver:
        sender.sendall(sent)
        receiver.recv(len(sent), socket.MSG_PEEK | socket.MSG_WAITALL)
        left = sent
        for count in counts:
            assert discard(receiver.fileno(), count) == min(max(count, 0), len(left))
            left = left[max(count, 0) :]
        receiver.setblocking(False)
        assert (receiver.recv(4000) if left else b"") == left


def test_nothing_is_gone_where_nothing_has_arrived_or_the_connection_has_ended() -> None:
    sender, receiver = pair()
    with receiver:
        assert discard(receiver.fileno(), 10) == 0
        sender.close()
        assert receiver.recv(1) == b""
        assert discard(receiver.fileno(), 10) == 0
        assert discard(-1, 10) == 0


def test_only_plain_connections_have_bytes_to_throw_away(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as plain:
        transport: Any = Transport(socket=plain)
        assert descriptor_of(transport) == plain.fileno()
        encrypted: Any = Transport(socket=plain, sslcontext=object())
        assert descriptor_of(encrypted) == -1
        unknown: Any = Transport()
        assert descriptor_of(unknown) == -1
        monkeypatch.setattr(module, "_CAN_SKIP", False)
        assert descriptor_of(transport) == -1
