"""The serving process: its ports, the loading of models, signals, and the drain at the end.

The port opens at once, so that liveness is answered while models load; `/readyz` and ranking say 503 until they are
there. A model that cannot be loaded at start ends the process: nobody is left with a server that serves half.
"""

from __future__ import annotations

import gc
import logging
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from recserve.errors import ConfigError, InvariantError, RecserveError
from recserve.serving.batching.model import BatchedModel
from recserve.serving.batching.parameters import BatchingParameters
from recserve.serving.batching.queue import BatchQueue
from recserve.serving.contract import OpenModel, RecordSink, ServedModel
from recserve.serving.dialects import DEFAULT_DIALECT, DIALECTS, Companion, Port, Serving, unserved_default
from recserve.serving.gate import Gate, gate
from recserve.serving.http_server import BACKLOG, HttpServer, Ports, stop_companions
from recserve.serving.inference import tensor_model
from recserve.serving.lifecycle.lifecycle import Lifecycle
from recserve.serving.lifecycle.options import LifecycleOptions
from recserve.serving.lifecycle.warmup import WarmUp
from recserve.serving.messages import Limits
from recserve.serving.metrics import RequestMetrics
from recserve.serving.metrics_sources import watch_process
from recserve.serving.overload.stuck import STUCK_S, Post, StuckWatch
from recserve.serving.oversight import Operations, Oversight
from recserve.serving.rank_threads import RankThreads
from recserve.serving.registry import Registry
from recserve.serving.repository import Repository
from recserve.serving.service import RankService
from recserve.serving.statistics import Statistics
from recserve.serving.traffic.rollouts import Rollouts
from recserve.serving.users import UserStore
from recserve.serving.workers.crew import Crew
from recserve.serving.workers.seat import Seat

_BATCHED_CALLS: Final = 32
"""Calls that may wait for batches at once."""

_log: Final = logging.getLogger("recserve.serving")


@dataclass(frozen=True)
class ServeOptions:
    """How to serve.

    Attributes:
        bundles: directories of the versions to serve: bundles of rankers and plain models. None only where every port
            speaks a dialect whose clients load the models.
        host: address to listen on.
        port: 0 for a free one.
        ports: what to listen on; if empty, one port, `port`, in recserve's own dialect.
        rank_threads: requests that are ranked at once; 0 ranks on the event loop.
        max_waiting: requests that may wait for a rank thread.
        max_wait_s: seconds that one may wait; one that would wait longer is refused at once.
        stuck_s: seconds that a thread may work on after nobody waits for it; then the process is not ready. 0 for ever.
        drain_s: seconds that running requests have to end after SIGTERM or SIGINT.
        allows_cross_origin: whether web pages of other origins may call the TensorFlow Serving routes.
        limits: what one request may ask for.
        batching: how predict calls share batches; None where each runs by itself.
        lifecycle: models whose versions come and go; None where `bundles` is all there is.
        warm_up: what a version answers before it serves; None for nothing.
        state_dir: where rollouts are kept for the next start and for other workers; None keeps them in memory.
        answers_tensor_content: whether gRPC answers TensorFlow's tensors as `tensor_content`.
        operations: how requests are guarded, counted, logged and traced; certificates.
    """

    bundles: Sequence[str]
    host: str = "127.0.0.1"
    port: int = 8501
    ports: Sequence[Port] = ()
    rank_threads: int = 1
    max_waiting: int = 256
    max_wait_s: float = 2.0
    stuck_s: float = STUCK_S
    drain_s: float = 10.0
    allows_cross_origin: bool = False
    limits: Limits = field(default_factory=Limits)
    batching: BatchingParameters | None = None
    lifecycle: LifecycleOptions | None = None
    state_dir: Path | None = None
    warm_up: WarmUp | None = field(default_factory=WarmUp)
    answers_tensor_content: bool = False
    operations: Operations = field(default_factory=Operations)

    def __post_init__(self) -> None:
        may_start_empty = bool(self.ports) and all(port.kind.starts_empty for port in self.ports)
        if not self.bundles and self.lifecycle is None and not may_start_empty:
            raise ConfigError(
                "no model to serve", hint="Name directories of models, or give --base or --model-config-file."
            )
        minimums = {
            "rank_threads": (self.rank_threads, 0),
            "max_waiting": (self.max_waiting, 1),
            "max_wait_s": (self.max_wait_s, 0),
            "stuck_s": (self.stuck_s, 0),
            "drain_s": (self.drain_s, 0),
            "max_candidates": (self.limits.max_candidates, 1),
            "max_body_bytes": (self.limits.max_body_bytes, 1),
            "max_head_bytes": (self.limits.max_head_bytes, 1),
        }
        for name, (value, least) in minimums.items():
            if not value >= least:
                raise ConfigError(f"{name} is {value}", hint=f"It is at least {least}.")
        dialects = [port.dialect for port in self.ports]
        if repeated := sorted({name for name in dialects if dialects.count(name) > 1}):
            raise ConfigError(f"dialect {repeated[0]!r} has two ports", hint="Give each dialect one port.")
        for name in ("body_timeout_s", "head_timeout_s"):
            if not (seconds := getattr(self.limits, name)) > 0:
                raise ConfigError(f"{name} is {seconds}", hint="It is above 0.")

    def listeners(self) -> Sequence[Port]:
        """What to listen on."""
        return self.ports or (Port(DEFAULT_DIALECT, self.port),)


class ServerProcess:
    """One serving process. `run` blocks until a signal or `stop`.

    Args:
        options: how to serve.
        open_model: opens and warms the model in the directory of a version.
        records: where served records go; closed at the end.
        on_ready: called with the address of the first port (`http://host:port`) once all models are served.
        seat: of a worker among others; None for a process that serves alone.
        crew: the fellow workers; None for a process that serves alone.

    Attributes:
        addresses: dialect → address, once the ports are open.
    """

    def __init__(
        self,
        options: ServeOptions,
        open_model: OpenModel,
        *,
        records: RecordSink | None = None,
        on_ready: Callable[[str], None] | None = None,
        seat: Seat | None = None,
        crew: Crew | None = None,
    ) -> None:
        self.addresses: dict[str, str] = {}
        self._crew = crew or Crew()
        self._seat = seat or Seat(is_complete=True)
        self._is_complete = self._seat.is_complete
        self._is_stopping = False
        self._options = options
        self._oversight = Oversight(options.operations, RequestMetrics(), list(DIALECTS))
        shared = options.operations.metrics_directory
        self._statistics = Statistics(None if shared is None else Path(shared) / "statistics")
        self._records = records
        kept = options.operations.users_directory
        self._users = None if kept is None else UserStore(kept)
        self._on_ready = on_ready
        self._registry = Registry()
        self._open_model = open_model
        warm_up = options.warm_up
        if warm_up is not None:
            warm_up = replace(warm_up, observe=self._oversight.metrics.observe_warmup)
        self._repository = Repository(self._registry, self._open, warm_up, self._crew)
        self._threads: RankThreads | None = None
        self._stuck = StuckWatch(self._posts, options.stuck_s, self._crew.complain)
        self._batches = None if options.batching is None else BatchQueue(options.batching)
        if self._batches is not None:
            self._oversight.metrics.add_source(self._batches.metrics.families)
        watched = options.lifecycle
        wait_s = 0.0 if watched is None else 60.0
        self._rollouts = Rollouts(self._registry, options.state_dir, wait_s=wait_s, crew=self._crew)
        self._oversight.metrics.add_source(self._rollouts.collect)
        self._lifecycle: Lifecycle | None = None
        if watched is not None:
            self._lifecycle = Lifecycle(self._repository, watched, self._rollouts.held, self._crew)
            self._rollouts.may_come = self._lifecycle.may_come
        self._failure: RecserveError | None = None
        self._has_successor = False
        self._server: HttpServer | None = None

    def run(self) -> None:
        """Serve until a signal or `stop`, then drain and close.

        Raises:
            ConfigError: an address cannot be listened on, or a model cannot be loaded.
        """
        options = self._options
        self._rollouts.start()
        for bundle in options.bundles:
            self._registry.expect(bundle)
        # With batches a call holds its thread while it waits for others.
        count = options.rank_threads if options.batching is None else max(options.rank_threads, _BATCHED_CALLS)
        threads = self._threads = RankThreads(count, options.max_waiting, options.max_wait_s)
        listeners: list[socket.socket] = []
        companions: list[Companion] = []
        try:
            is_late = self._seat.listens_late
            if is_late and not self._load():
                raise self._failure or ConfigError("the server was stopped while it loaded", code="stopped")
            app = self._open_ports(threads, listeners, companions)
            self._server = server = HttpServer(app, options.limits, options.drain_s, companions, self._crew)
            if (tls := self._oversight.http_tls) is not None:
                server.use_tls(tls.context)
            server.should_exit, server.has_successor = self._is_stopping, self._has_successor
            if is_late:
                self._announce()
            else:
                threading.Thread(target=self._load_and_announce, name="recserve-load", daemon=True).start()
            self._stuck.start()
            server.run(listeners)
        finally:
            self._stuck.stop()
            stop_companions(companions, options.drain_s)
            for listener in listeners:
                listener.close()
            self._close(threads)
        if self._failure is not None:
            raise self._failure

    def _open_ports(self, threads: RankThreads, listeners: list[socket.socket], companions: list[Companion]) -> Ports:
        """Listen on every port; what is opened goes into the lists, also where a later port fails."""
        service = RankService(self._registry, self._records, users=self._users, metrics=self._oversight.metrics)
        gates: dict[int, Gate] = {}
        for port in self._options.listeners():
            serving = Serving(
                service=service,
                registry=self._registry,
                repository=self._repository,
                threads=threads,
                limits=self._options.limits,
                readiness=self._is_ready,
                statistics=self._statistics,
                metrics=self._oversight.metrics,
                oversight=self._oversight,
                allows_cross_origin=self._options.allows_cross_origin,
                answers_tensor_content=self._options.answers_tensor_content,
                reload_config=None if self._lifecycle is None else self._lifecycle.reload_config,
                rollouts=self._rollouts,
                crew=self._crew,
                shares_ports=bool(self._seat.ports),
                model=port.model,
            )
            build = port.kind.load_builder()
            if port.kind.transport == "grpc":
                number = self._seat.ports.get(port.dialect, port.number)
                companions.append(companion := build(serving, self._options.host, number))
                self.addresses[port.dialect] = f"{self._options.host}:{companion.port}"
                continue
            listener = self._seat.listeners.get(port.dialect) or bind(self._options.host, port.number)
            listeners.append(listener)
            gates[listener.getsockname()[1]] = gate(build(serving), serving, port.dialect)
            self.addresses[port.dialect] = address_of(listener, has_tls=self._oversight.http_tls is not None)
        watch_process(self._oversight, serving)
        return Ports(gates)

    def stop(self) -> None:
        """Begin the drain; from any thread."""
        self._is_stopping = True
        if self._server is not None:
            self._server.should_exit = True
        elif self._lifecycle is not None:
            self._lifecycle.stop(0)  # nobody is served yet, and loading may last

    def retire(self) -> None:
        """Begin the drain; another process takes all new connections, so that there is time to empty these."""
        self._has_successor = True
        if self._server is not None:
            self._server.has_successor = True
        self.stop()

    def complete(self) -> None:
        """Know that every worker has been ready: from now on the server is ready whenever this process is."""
        self._is_complete = True

    def _is_ready(self) -> bool:
        is_loaded = self._registry.is_ready() if self._options.bundles else not self._registry.loading()
        if self._lifecycle is not None:
            is_loaded = is_loaded and self._lifecycle.is_ready()
        is_open = self._server is not None and not self._server.should_exit
        return is_loaded and is_open and self._is_complete and not self._stuck.is_stuck()

    def _posts(self) -> list[Post]:
        return [post for source in (self._threads, self._batches) if source is not None for post in source.posts]

    def _load(self) -> bool:
        """Load the models; whether all of them are served now."""
        try:
            for bundle in self._options.bundles:
                self._repository.load_version(bundle, bundle)
        except RecserveError as error:
            self._failure = error
        except Exception as error:
            _log.exception("A bundle could not be loaded")
            self._failure = InvariantError(f"a bundle could not be loaded: {type(error).__name__}: {error}")
        if self._failure is None and self._lifecycle is None:
            self._failure = unserved_default(self._options.ports, self._registry.names())
        if self._failure is not None:
            return False
        if self._lifecycle is not None:
            self._lifecycle.start()
            if not self._lifecycle.wait_until_ready():
                return False
        if not self._catch_up():
            return False
        # What is alive now stays: the collector need not walk it again at every pass.
        gc.collect()
        gc.freeze()
        return True

    def _catch_up(self) -> bool:
        """Do what the other workers have done before; whether that went well."""
        if self._lifecycle is not None and self._seat.orders:
            self._lifecycle.wait_until_settled()  # else a version that loads now would be there again after its unload
        try:
            self._crew.begin(self._seat.orders)
        except RecserveError as error:
            self._failure = error.at("what the other workers have done")
        return self._failure is None

    def _load_and_announce(self) -> None:
        if self._load():
            self._announce()
        elif self._failure is not None:
            self.stop()

    def _announce(self) -> None:
        if self._on_ready is not None:
            self._on_ready(next(iter(self.addresses.values())))

    def _open(self, *arguments: str) -> ServedModel:
        """Open a model that lets others go first where it works for long."""
        model = self._open_model(*arguments)
        if self._threads is not None and hasattr(model, "pause"):
            model.pause = self._threads.let_others_go_first
        if self._batches is not None and hasattr(model, "signatures"):
            return BatchedModel(tensor_model(model), self._batches)
        return model

    def _close(self, threads: RankThreads) -> None:
        self._rollouts.stop(self._options.drain_s)
        if self._lifecycle is not None:
            self._lifecycle.stop(self._options.drain_s)
        if not threads.close(self._options.drain_s):
            # Its maps must stay: closing a ranker under a running request would crash the process.
            _log.warning("A request still runs after %g s; it is abandoned", self._options.drain_s)
        elif not self._registry.close(self._options.drain_s):
            _log.warning("A model could not be closed within %g s", self._options.drain_s)
        if self._batches is not None:
            self._batches.close()
        if self._records is not None:
            self._records.close()
        if self._users is not None:
            self._users.close()
        self._statistics.close()
        self._oversight.close()


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


def address_of(listener: socket.socket, *, has_tls: bool = False) -> str:
    """The URL of a bound socket."""
    name: Any = listener.getsockname()
    host = f"[{name[0]}]" if listener.family == socket.AF_INET6 else name[0]
    return f"{'https' if has_tls else 'http'}://{host}:{name[1]}"
