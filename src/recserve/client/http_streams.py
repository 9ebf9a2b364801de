"""HTTP on asyncio streams: a pool of connections that stay open, for one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httptools

from recserve.client.calls import Answer, Call
from recserve.client.failures import http_failure, no_answer, not_understood, too_late
from recserve.client.http_transport import MAX_IDLE, parse_url

_CHUNK: Final = 1 << 16


@dataclass
class _Response:
    """What the parser has seen so far; its methods are the parser's callbacks."""

    headers: dict[str, str] = field(default_factory=dict)
    parts: list[bytes] = field(default_factory=list)
    is_complete: bool = False
    stays_open: bool = False
    parser: Any = None

    def on_headers_complete(self) -> None:
        self.stays_open = self.parser.should_keep_alive()  # it knows no longer once the message is complete

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self.parts.append(body)

    def on_message_complete(self) -> None:
        self.is_complete = True


@dataclass(frozen=True)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def close(self) -> None:
        self.writer.close()


class HttpStreams:
    """Sends calls over HTTP on asyncio; used on one event loop.

    Args:
        url: `http://host:port` or `https://host:port`; a path is put in front of every call's.
        headers: sent with every call, such as `Authorization`.
        tls: of https; the system's certificates if None.

    Raises:
        ConfigError: the URL is none.
    """

    def __init__(self, url: str, headers: Mapping[str, str], tls: ssl.SSLContext | None = None) -> None:
        self._url = parse_url(url, "http")
        is_secure = self._url.scheme == "https"
        self._tls = (tls or ssl.create_default_context()) if is_secure else None
        self._port = self._url.port or (443 if is_secure else 80)
        lines = {"Host": self._url.netloc.rpartition("@")[2], **headers}
        self._headers = "".join(f"{name}: {_one_line(value)}\r\n" for name, value in lines.items())
        self._idle: list[_Connection] = []

    async def send(self, call: Call[Any], timeout_s: float) -> Answer:
        """The answer to a call.

        Raises:
            CallFailedError: the server refuses it, does not answer in time, or is not there.
        """
        where = f"{self._url.netloc}{call.path}"
        try:
            async with asyncio.timeout(timeout_s):
                return await self._send(call, where)
        except TimeoutError:
            raise too_late(where, timeout_s) from None

    async def close(self) -> None:
        """End the connections."""
        while self._idle:
            connection = self._idle.pop()
            connection.close()
            with contextlib.suppress(OSError):
                await connection.writer.wait_closed()

    async def _send(self, call: Call[Any], where: str) -> Answer:
        while True:
            is_fresh = not self._idle
            try:
                connection = await self._open() if is_fresh else self._idle.pop()
            except OSError as error:
                raise no_answer(where, f"{type(error).__name__}: {error}") from None
            try:
                return await self._exchange(connection, call)
            except (OSError, httptools.HttpParserError, asyncio.IncompleteReadError) as error:
                connection.close()
                # The server may have closed an idle connection just now; a fresh one tells whether it is there.
                if is_fresh:
                    raise no_answer(where, f"{type(error).__name__}: {error}") from None
            except BaseException:  # cancelled or out of time: the rest of the answer is still on its way
                connection.close()
                raise

    async def _open(self) -> _Connection:
        return _Connection(*await asyncio.open_connection(self._url.hostname, self._port, ssl=self._tls))

    async def _exchange(self, connection: _Connection, call: Call[Any]) -> Answer:
        own = "".join(f"{name}: {_one_line(value)}\r\n" for name, value in call.headers.items())
        head = f"{call.method} {self._url.path}{call.path} HTTP/1.1\r\n{self._headers}{own}"
        connection.writer.write(f"{head}Content-Length: {len(call.body)}\r\n\r\n".encode("latin-1") + call.body)
        await connection.writer.drain()
        response = _Response()
        response.parser = parser = httptools.HttpResponseParser(response)
        while not response.is_complete:
            data = await connection.reader.read(_CHUNK)
            if not data:
                raise asyncio.IncompleteReadError(b"", None)
            parser.feed_data(data)
        status = parser.get_status_code()
        if response.stays_open and len(self._idle) < MAX_IDLE:
            self._idle.append(connection)
        else:
            connection.close()
        body = b"".join(response.parts)
        if 200 <= status < 300:
            return Answer(body, response.headers)
        if 300 <= status < 400:
            raise not_understood(call.path, f"HTTP {status}: redirects are not followed")
        raise http_failure(status, response.headers, body)


def _one_line(value: str) -> str:
    """A header's value, without line ends that would begin another header."""
    return value.replace("\r", "").replace("\n", "")
