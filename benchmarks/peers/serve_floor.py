"""No server at all: what a request of HTTP costs before anybody reads its body. Run by `serving.py`.

Usage: serve_floor.py MODELS PORT. uvloop reads and writes, httptools parses, and every request gets one answer, that of
model A. No server on the same libraries can be quicker, so a figure of a server is best read beside it.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Final

import httptools
import uvloop

_BODY: Final = b'{"outputs": [2.5, 3.0, 4.5]}'
_ANSWER: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(_BODY)
) + _BODY


class _Constant(asyncio.Protocol):
    """A connection that answers every request alike."""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)
        self._headers: list[tuple[bytes, bytes]] = []

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_message_complete(self) -> None:
        self._transport.write(_ANSWER)


async def serve(port: int) -> None:
    """Answer for ever."""
    server = await asyncio.get_running_loop().create_server(_Constant, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[2])))
