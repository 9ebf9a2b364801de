"""HTTP, blocking: a pool of connections that stay open, safe for threads."""

from __future__ import annotations

import http.client
import queue
import ssl
from collections.abc import Mapping
from time import monotonic
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from recserve.client.calls import Answer, Call
from recserve.client.failures import http_failure, no_answer, not_understood, too_late
from recserve.errors import ConfigError

MAX_IDLE: Final = 32
"""Open connections that are kept for later calls."""

_CHUNK: Final = 1 << 16


def parse_url(url: str, scheme: str) -> SplitResult:
    """The parts of a server's URL.

    Raises:
        ConfigError: no host, or a port that is none.
    """
    parts = urlsplit(url)
    try:
        is_good = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        is_good = False
    if not is_good:
        raise ConfigError(f"{url!r} is no server's URL", hint=f"Write {scheme}://host:port.")
    return parts


class HttpTransport:
    """Sends calls over HTTP. Threads may share it.

    Args:
        url: `http://host:port` or `https://host:port`; a path is put in front of every call's.
        headers: sent with every call, such as `Authorization`.
        tls: of https; the system's certificates if None.

    Raises:
        ConfigError: the URL is none.
    """

    def __init__(self, url: str, headers: Mapping[str, str], tls: ssl.SSLContext | None = None) -> None:
        self._url = parse_url(url, "http")
        self._headers = dict(headers)
        self._tls = tls
        self._idle: queue.LifoQueue[http.client.HTTPConnection] = queue.LifoQueue(MAX_IDLE)

    def send(self, call: Call[Any], timeout_s: float) -> Answer:
        """The answer to a call.

        Raises:
            CallFailedError: the server refuses it, does not answer in time, or is not there.
        """
        until_s = monotonic() + timeout_s
        where = f"{self._url.netloc}{call.path}"
        while True:
            connection, is_fresh = self._connection()
            try:
                return self._exchange(connection, call, until_s)
            except TimeoutError:
                connection.close()
                raise too_late(where, timeout_s) from None
            except (http.client.HTTPException, OSError) as error:
                connection.close()
                # The server may have closed an idle connection just now; a fresh one tells whether it is there.
                if is_fresh:
                    raise no_answer(where, f"{type(error).__name__}: {error}") from None

    def close(self) -> None:
        """End the connections."""
        while True:
            try:
                self._idle.get_nowait().close()
            except queue.Empty:
                return

    def _connection(self) -> tuple[http.client.HTTPConnection, bool]:
        try:
            return self._idle.get_nowait(), False
        except queue.Empty:
            pass  # a new one, then
        host, port = self._url.hostname or "", self._url.port
        if self._url.scheme == "https":
            return http.client.HTTPSConnection(host, port, context=self._tls), True
        return http.client.HTTPConnection(host, port), True

    def _exchange(self, connection: http.client.HTTPConnection, call: Call[Any], until_s: float) -> Answer:
        _set_timeout(connection, until_s)
        connection.request(
            call.method, self._url.path + call.path, call.body or None, {**self._headers, **call.headers}
        )
        response = connection.getresponse()
        parts = []
        while part := response.read1(_CHUNK):
            parts.append(part)
            _set_timeout(connection, until_s)
        response.read()  # nothing is left, and the connection learns it
        headers = {name.lower(): value for name, value in response.getheaders()}
        if response.will_close:
            connection.close()
        else:
            try:
                self._idle.put_nowait(connection)
            except queue.Full:
                connection.close()
        if not 200 <= response.status < 300:
            if 300 <= response.status < 400:
                raise not_understood(call.path, f"HTTP {response.status}: redirects are not followed")
            raise http_failure(response.status, headers, b"".join(parts))
        return Answer(b"".join(parts), headers)


def _set_timeout(connection: http.client.HTTPConnection, until_s: float) -> None:
    """Let the next step of the exchange take no longer than what is left."""
    remaining_s = until_s - monotonic()
    if remaining_s <= 0:
        raise TimeoutError
    connection.timeout = remaining_s
    if connection.sock is not None:
        connection.sock.settimeout(remaining_s)
