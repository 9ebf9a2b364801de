"""The serving process: its socket, the loading of models, signals, and the drain at the end.

The port opens at once, so that liveness is answered while models load; `/readyz` and ranking say 503 until they are
there. A model that cannot be loaded at start ends the process: nobody is left with a server that serves half.
"""

from __future__ import annotations

import gc
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Final

import uvicorn

from recserve.errors import ConfigError, InvariantError, RecserveError
from recserve.serving.contract import OpenRanker, RecordSink
from recserve.serving.http import HttpApp
from recserve.serving.http_protocol import bounded_protocol
from recserve.serving.messages import Limits
from recserve.serving.rank_threads import RankThreads
from recserve.serving.registry import Registry
from recserve.serving.service import RankService

BACKLOG: Final = 2048
"""Connections that the system keeps until the event loop accepts them."""

_log: Final = logging.getLogger("recserve.serving")


@dataclass(frozen=True)
class ServeOptions:
    """How to serve.

    Attributes:
        bundles: directories of the bundles.
        host: address to listen on.
        port: 0 for a free one.
        rank_threads: requests that are ranked at once; 0 ranks on the event loop.
        max_waiting: requests that may wait for a rank thread.
        drain_s: seconds that running requests have to end after SIGTERM or SIGINT.
        limits: what one request may ask for.
    """

    bundles: Sequence[str]
    host: str = "127.0.0.1"
    port: int = 8501
    rank_threads: int = 1
    max_waiting: int = 256
    drain_s: float = 10.0
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not self.bundles:
            raise ConfigError("no bundle to serve", hint="Name at least one bundle directory.")
        minimums = {
            "rank_threads": (self.rank_threads, 0),
            "max_waiting": (self.max_waiting, 1),
            "drain_s": (self.drain_s, 0),
            "max_candidates": (self.limits.max_candidates, 1),
            "max_body_bytes": (self.limits.max_body_bytes, 1),
            "max_head_bytes": (self.limits.max_head_bytes, 1),
        }
        for name, (value, least) in minimums.items():
            if not value >= least:
                raise ConfigError(f"{name} is {value}", hint=f"It is at least {least}.")
        for name in ("body_timeout_s", "head_timeout_s"):
            if not (seconds := getattr(self.limits, name)) > 0:
                raise ConfigError(f"{name} is {seconds}", hint="It is above 0.")


class ServerProcess:
    """One serving process. `run` blocks until a signal or `stop`.

    Args:
        options: how to serve.
        open_ranker: opens and warms the ranker of a bundle.
        records: where served records go; closed at the end.
        on_ready: called with the address (`http://host:port`) once all models are served.
    """

    def __init__(
        self,
        options: ServeOptions,
        open_ranker: OpenRanker,
        *,
        records: RecordSink | None = None,
        on_ready: Callable[[str], None] | None = None,
    ) -> None:
        self._options = options
        self._open_ranker = open_ranker
        self._records = records
        self._on_ready = on_ready
        self._registry = Registry()
        self._failure: RecserveError | None = None
        self._server: _Server | None = None

    def run(self) -> None:
        """Serve until a signal or `stop`, then drain and close.

        Raises:
            ConfigError: the address cannot be listened on, or a bundle cannot be loaded.
        """
        options = self._options
        listener = bind(options.host, options.port)
        for bundle in options.bundles:
            self._registry.expect(bundle)
        threads = RankThreads(options.rank_threads, options.max_waiting)
        service = RankService(self._registry, self._records)
        self._server = server = _Server(
            HttpApp(service, threads, options.limits, readiness=self._is_ready), options.limits, options.drain_s
        )
        loading = threading.Thread(target=self._load, args=(address_of(listener),), name="recserve-load", daemon=True)
        loading.start()
        try:
            server.run([listener])
        finally:
            listener.close()
            self._close(threads)
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Begin the drain; from any thread."""
        if self._server is not None:
            self._server.should_exit = True

    def _is_ready(self) -> bool:
        return self._registry.is_ready() and self._server is not None and not self._server.should_exit

    def _load(self, address: str) -> None:
        try:
            for bundle in self._options.bundles:
                ranker = self._open_ranker(bundle)
                try:
                    self._registry.publish(ranker, bundle)
                except ConfigError:
                    ranker.close()
                    raise
        except RecserveError as error:
            self._failure = error
        except Exception as error:
            _log.exception("A bundle could not be loaded")
            self._failure = InvariantError(f"a bundle could not be loaded: {type(error).__name__}: {error}")
        if self._failure is not None:
            self.stop()
            return
        # What is alive now stays: the collector need not walk it again at every pass.
        gc.collect()
        gc.freeze()
        if self._on_ready is not None:
            self._on_ready(address)

    def _close(self, threads: RankThreads) -> None:
        if not threads.close(self._options.drain_s):
            # Its maps must stay: closing a ranker under a running request would crash the process.
            _log.warning("A request still runs after %g s; it is abandoned", self._options.drain_s)
        elif not self._registry.close(self._options.drain_s):
            _log.warning("A model could not be closed within %g s", self._options.drain_s)
        if self._records is not None:
            self._records.close()


class _Server(uvicorn.Server):
    """Uvicorn, but a signal that ends it cleanly is not raised again: the exit code says how it ended."""

    def __init__(self, app: HttpApp, limits: Limits, drain_s: float) -> None:
        config = uvicorn.Config(
            app,
            http=bounded_protocol(limits),
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


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens on the address.

    Raises:
        ConfigError: the host is unknown, or the port taken, forbidden or out of range.
    """
    where = f"{host}:{port}"
    if not 0 <= port <= 65535:
        raise ConfigError(f"port {port} is out of range", where=where, hint="Give 1 to 65535, or 0 for a free one.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            # At once, so that a client that sees "ready" before the event loop runs waits and is not refused.
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"cannot listen: {error}", code="cannot_listen", where=where, hint="Choose another --host or --port."
        ) from None
    return listener


def address_of(listener: socket.socket) -> str:
    """The URL of a bound socket."""
    name: Any = listener.getsockname()
    host = f"[{name[0]}]" if listener.family == socket.AF_INET6 else name[0]
    return f"http://{host}:{name[1]}"
