"""Throws away what a client sends and nobody reads, without copying it.

A refused request's body has to be taken off its connection all the same: a client that still sends would see a reset
connection in place of the refusal. Linux takes bytes off without handing them over.
"""

from __future__ import annotations

import ctypes
import socket
import sys
from asyncio import BaseTransport
from typing import Any, Final

_CAN_SKIP: Final = sys.platform == "linux"
_FLAGS: Final = socket.MSG_TRUNC | socket.MSG_DONTWAIT

_receive: Any = ctypes.CDLL(None).recv
_receive.restype = ctypes.c_ssize_t
_receive.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def descriptor_of(transport: BaseTransport) -> int:
    """The file descriptor of a connection whose bytes may be thrown away unread; -1 where there is none, as in TLS."""
    if not _CAN_SKIP or transport.get_extra_info("sslcontext") is not None:
        return -1
    connection = transport.get_extra_info("socket")
    number: int = -1 if connection is None else connection.fileno()
    return number


def discard(descriptor: int, count: int) -> int:
    """Throw away up to `count` bytes that have arrived.

    Args:
        descriptor: as `descriptor_of` gives it; -1 throws nothing away.
        count: of bytes; nothing is thrown away where it is not above 0.

    Returns:
        How many are gone; 0 too where none have arrived, or the connection has ended: whoever reads it sees that.
    """
    if descriptor < 0 or count <= 0:
        return 0
    gone: int = _receive(descriptor, None, count, _FLAGS)
    return max(0, gone)
