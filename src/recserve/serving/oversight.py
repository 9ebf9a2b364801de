"""What watches over the requests of a process, whatever their protocol: tokens, metrics, logs and traces."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from recserve.errors import RecserveError
from recserve.serving.access_log import AccessLog, AccessLogOptions, LogFormat, QueuedLogs
from recserve.serving.metrics import RequestMetrics
from recserve.serving.metrics_pool import MetricsPool
from recserve.serving.metrics_text import Family, Sample, write_text
from recserve.serving.observation import Observation, draw_request_id
from recserve.serving.security.guard import Guard, read_guard
from recserve.serving.security.targets import Target
from recserve.serving.security.tls import HttpTls, SslConfigFile, TlsFiles
from recserve.serving.tracing import Tracer

POLL_S: Final = 10.0
"""Seconds between two looks at the access file and the certificates."""

MAX_REQUEST_ID_LENGTH: Final = 256
_log: Final = logging.getLogger("recserve.serving")


@dataclass(frozen=True)
class Operations:
    """How a process is watched and guarded.

    Attributes:
        access_file: tokens and rules, see `security.guard`; None lets everybody call everything.
        tls: certificate files of all ports; None for ports without TLS.
        grpc_tls: those of gRPC ports, where they differ.
        users_directory: where users are kept, for requests by id; None keeps none.
        metrics_path: of the metrics page, beside its usual ones; empty for none.
        access_log: which requests are logged.
        log_format: of the process's log, from INFO on; None leaves logging as it is.
        traces: whether requests are traced with OpenTelemetry.
        metrics_directory: where the workers of a server share their metrics; None for a process on its own.
        triton_metrics: whether metrics are told under Triton's names too.
    """

    access_file: str | None = None
    tls: TlsFiles | None = None
    grpc_tls: TlsFiles | SslConfigFile | None = None
    users_directory: str | None = None
    metrics_path: str = ""
    access_log: AccessLogOptions = field(default_factory=AccessLogOptions)
    log_format: LogFormat | None = None
    traces: bool = False
    metrics_directory: str | None = None
    triton_metrics: bool = False


class Oversight:
    """Begins and ends the observation of each request. Threads may share it.

    Args:
        options: what to watch.
        metrics: where requests are counted.
        protocols: names that access rules may name.
        tracer: in place of the one that `options.traces` asks for.

    Attributes:
        metrics: as given.
        http_tls: the context of the HTTP ports, or None.

    Raises:
        ConfigError: the access file or a certificate is wrong, or OpenTelemetry is not installed.
    """

    def __init__(
        self,
        options: Operations | None = None,
        metrics: RequestMetrics | None = None,
        protocols: Sequence[str] = (),
        tracer: Tracer | None = None,
    ) -> None:
        self.options = options or Operations()
        self.metrics = metrics or RequestMetrics()
        self._protocols = [*protocols]
        self._guard: Guard | None = None
        self._guard_stamp: object = None
        self._read_guard()
        self.http_tls = HttpTls(self.options.tls) if self.options.tls else None
        self._tracer = tracer or (Tracer() if self.options.traces else None)
        wants_log = bool(self.options.access_log.rate) or self.options.access_log.slow_ms is not None
        self._access_log = AccessLog(self.options.access_log) if wants_log else None
        self._logs = QueuedLogs(self.options.log_format) if self.options.log_format else None
        self.metrics.add_source(self._families)
        directory = self.options.metrics_directory
        self._pool = MetricsPool(directory, self.metrics.families) if directory else None
        self._ended = threading.Event()
        if self.http_tls is not None or self._guard is not None:
            threading.Thread(target=self._refresh_always, name="recserve-refresh", daemon=True).start()

    def begin(self, protocol: str, route: str, request_id: str = "", traceparent: str = "") -> Observation:
        """Observe a request that has arrived; whoever calls it makes it current."""
        seen = Observation(protocol, route, request_id if is_request_id(request_id) else draw_request_id())
        if self._tracer is not None:
            self._tracer.begin(seen, traceparent)
        return seen

    @property
    def is_guarded(self) -> bool:
        """Whether callers need tokens."""
        return self._guard is not None

    def admit(self, seen: Observation, target: Target, authorization: str) -> None:
        """Let the request pass, or refuse it.

        Raises:
            UnauthenticatedError, ForbiddenError: as `Guard.admit`.
        """
        if self._guard is None:
            return
        try:
            seen.allows_model = self._guard.admit(seen.protocol, target, authorization)
        except RecserveError as error:
            seen.refusal = error.code
            raise

    def finish(self, seen: Observation) -> None:
        """The request is answered: count, log and trace it."""
        self.metrics.finish(seen)
        if self._access_log is not None:
            self._access_log.finish(seen)
        if self._tracer is not None:
            self._tracer.finish(seen)

    def metrics_text(self) -> str:
        """The metrics of all workers, as Prometheus reads them."""
        return write_text(self.metrics.families() if self._pool is None else self._pool.families())

    def refresh(self) -> None:
        """Read the access file, its token files and the certificates again, if they have changed.

        Files that are wrong leave what was read before in force, and are logged.
        """
        for read in (self._read_guard, self.http_tls.refresh if self.http_tls else None):
            try:
                if read is not None and read():
                    _log.warning("The access file or a certificate has changed; the new one is in force")
            except RecserveError as error:
                _log.error("What was read before stays in force: %s", error)

    def close(self) -> None:
        """Write what waits; logs go where they went before."""
        self._ended.set()
        if self._pool is not None:
            self._pool.close()
        if self._tracer is not None:
            self._tracer.close()
        if self._logs is not None:
            self._logs.close()

    def _read_guard(self) -> bool:
        """Read the access file; True where what it says has changed. Token files may change without it."""
        if self.options.access_file is None:
            return False
        guard, digest = read_guard(self.options.access_file, self._protocols)
        is_new = digest != self._guard_stamp and self._guard is not None
        self._guard, self._guard_stamp = guard, digest
        return is_new

    def _refresh_always(self) -> None:
        while not self._ended.wait(POLL_S):
            self.refresh()

    def _families(self) -> Iterable[Family]:
        if self._logs is not None:
            dropped: list[Sample] = [("", {}, float(self._logs.dropped))]
            yield Family("recserve_log_lines_dropped_total", "counter", "Log lines that did not fit.", dropped)
        if self._access_log is not None:
            slow: list[Sample] = [("", {}, float(self._access_log.slow))]
            yield Family("recserve_slow_requests_total", "counter", "Requests over the limit of the slow log.", slow)


def is_request_id(text: str) -> bool:
    """Whether a caller's id of a request is taken: 1 to 256 printable characters."""
    return 0 < len(text) <= MAX_REQUEST_ID_LENGTH and text.isprintable()
