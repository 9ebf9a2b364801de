"""The HTTP server of a process: Uvicorn's, with a drain that loses no request, and all ports behind one application."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

import uvicorn

from recserve.serving.body import Receive, Scope, Send
from recserve.serving.dialects import Companion
from recserve.serving.gate import Gate
from recserve.serving.http_protocol import bounded_protocol
from recserve.serving.messages import Limits
from recserve.serving.workers.crew import Crew

BACKLOG: Final = 2048
"""Connections that the system keeps until the event loop accepts them."""

LINGER_S: Final = 1.0
"""Seconds after its last answer, or its begin, in which a connection may bring one more request when a server ends."""

_LINGERING: Final = 0.8
"""The same as a share of the drain time where another process takes the new connections."""


class Ports:
    """One ASGI application for all ports: each port's own answers what comes in on it.

    Args:
        gates: of the applications, by port number.
    """

    def __init__(self, gates: dict[int, Gate]) -> None:
        self.gates = gates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request to the port that it came in on."""
        await self.gates[scope["server"][1]](scope, receive, send)


class HttpServer(uvicorn.Server):
    """Uvicorn, but a signal that ends it cleanly is not raised again: the exit code says how it ended.

    Attributes:
        has_successor: whether another process takes the new connections when this one ends.
    """

    has_successor = False

    def __init__(self, app: Ports, limits: Limits, drain_s: float, companions: list[Companion], crew: Crew) -> None:
        self._limits, self._companions, self._drain_s, self._crew = limits, companions, drain_s, crew
        config = uvicorn.Config(
            app,
            http=bounded_protocol(limits, app.gates),
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            backlog=BACKLOG,
            server_header=False,
            proxy_headers=False,
            # Longer than the idle time of common client pools, so that the client closes first and loses no request.
            timeout_keep_alive=75,
            timeout_graceful_shutdown=max(1, round(drain_s)),
        )
        super().__init__(config)

    def use_tls(self, context: ssl.SSLContext) -> None:
        """Let every connection begin with a TLS handshake."""
        self.config.load()
        self.config.ssl = context

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and show signs of life from now on. A TLS handshake has the time of a head."""
        loop, config = asyncio.get_running_loop(), self.config
        self._crew.watch(loop)
        await self.lifespan.startup()

        def make() -> asyncio.Protocol:
            kind: Any = config.http_protocol_class
            made: asyncio.Protocol = kind(config, self.server_state, self.lifespan.state)
            return made

        timeout_s = None if config.ssl is None else self._limits.head_timeout_s
        options: Any = {"ssl": config.ssl, "ssl_handshake_timeout": timeout_s, "ssl_shutdown_timeout": timeout_s}
        self.servers = [
            await loop.create_server(make, sock=listener, backlog=config.backlog, **options)
            for listener in sockets or ()
        ]
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain HTTP and the companions at once, so that all have the same time."""
        connections: Any = self.config.http_protocol_class
        connections.linger_s = _LINGERING * self._drain_s if self.has_successor else min(LINGER_S, self._drain_s)
        draining = asyncio.to_thread(stop_companions, self._companions, self._drain_s)
        await asyncio.gather(super().shutdown(sockets), draining)
        for connection in list(self.server_state.connections):  # their time is over
            connection.abandon()  # type: ignore[union-attr] # they are of our class
        await asyncio.sleep(0)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle SIGINT and SIGTERM while serving, where this is the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - Uvicorn's signature
        """The first signal begins the drain, a second one ends it."""
        self.force_exit = self.should_exit
        self.should_exit = True


def stop_companions(companions: list[Companion], drain_s: float) -> None:
    """Stop servers of other transports, all at the same time, and take them off the list."""
    stopping = [threading.Thread(target=companion.stop, args=(drain_s,), daemon=True) for companion in companions]
    companions.clear()
    for thread in stopping:
        thread.start()
    for thread in stopping:
        thread.join()
