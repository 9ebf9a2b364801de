"""The process's log as JSON lines or text; a sampled access log, and every slow request with its stages.

Lines are written by a thread of their own behind a bounded queue, so that a full disk or a slow terminal holds no
request up; what does not fit is dropped and counted.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import queue
import random
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter_ns
from typing import Any, Final, Literal

import orjson

from recserve.errors import ConfigError
from recserve.serving import observation
from recserve.serving.observation import Observation

MAX_WAITING: Final = 4096
"""Lines that wait to be written."""

_ACCESS: Final = logging.getLogger("recserve.access")
_FIELDS: Final = "recserve_fields"
_FAILED: Final = "5"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, process, logger, message, the request's id, and what the record brings."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": record.process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        request_id = getattr(record, "request_id", None)
        if request_id is not None:
            fields["request_id"] = request_id
        fields |= getattr(record, _FIELDS, {})
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        elif record.exc_text:
            fields["exception"] = record.exc_text
        try:
            return orjson.dumps(fields).decode()
        except orjson.JSONEncodeError:  # text that is not Unicode
            printable = {key: str(value).encode("utf-8", "backslashreplace").decode() for key, value in fields.items()}
            return orjson.dumps(printable).decode()


class TextFormatter(logging.Formatter):
    """A line of text: time, level, process, logger and message, then as `key=value` what a JSON line would bring."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; an exception follows on lines of its own."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        request_id = getattr(record, "request_id", None)
        fields = {} if request_id is None else {"request_id": request_id}
        fields |= getattr(record, _FIELDS, {})
        said = "".join(f" {key}={_plain(value)}" for key, value in fields.items())
        message = record.getMessage().replace("\n", "\n  ")
        line = f"{time} {record.levelname} {record.process} {record.name}: {message}{said}"
        failure = self.formatException(record.exc_info) if record.exc_info else record.exc_text
        line = f"{line}\n{failure}" if failure else line
        return line.encode("utf-8", "backslashreplace").decode()


def _plain(value: object) -> str:
    """The value without quotes where no reader could be wrong, and as JSON else."""
    text = value if isinstance(value, str) else ""
    if text and not any(character in ' "=\\' or not character.isprintable() for character in text):
        return text
    return json.dumps(value, ensure_ascii=False)


LogFormat = Literal["json", "text"]
_FORMATTERS: Final[dict[LogFormat, type[logging.Formatter]]] = {"json": JsonFormatter, "text": TextFormatter}


class QueuedHandler(logging.handlers.QueueHandler):
    """Hands records to the thread that writes them; counts those that do not fit.

    Attributes:
        dropped: records that did not fit.
    """

    def __init__(self, waiting: queue.Queue[Any]) -> None:
        super().__init__(waiting)
        self.dropped = 0

    def enqueue(self, record: logging.LogRecord) -> None:
        """Queue a record, or drop it."""
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """The record as the writing thread gets it: it knows no request, so the record does."""
        seen = observation.current()
        if seen is not None and not hasattr(record, "request_id"):
            record.request_id = seen.request_id
        return record


class QueuedLogs:
    """The process's log, written by a thread of its own, from now until `close`.

    Args:
        form: of the lines.
        target: writes the lines; None for standard error.
        level: least level of recserve's own records; those of other libraries are written from WARNING on.
    """

    def __init__(
        self, form: LogFormat = "json", target: logging.Handler | None = None, level: int = logging.INFO
    ) -> None:
        self._root = logging.getLogger()
        self._own = logging.getLogger("recserve")
        self._before = (self._root.handlers[:], self._root.level, self._own.level)
        target = target or logging.StreamHandler()
        target.setFormatter(_FORMATTERS[form]())
        waiting: queue.Queue[Any] = queue.Queue(MAX_WAITING)
        self._handler = QueuedHandler(waiting)
        self._listener = logging.handlers.QueueListener(waiting, target)
        self._listener.start()
        self._root.handlers = [self._handler]
        self._root.setLevel(max(level, logging.WARNING))
        self._own.setLevel(level)

    @property
    def dropped(self) -> int:
        """Lines that were lost."""
        return self._handler.dropped

    def close(self) -> None:
        """Write what waits, and log as before."""
        self._root.handlers, level, own_level = self._before
        self._root.setLevel(level)
        self._own.setLevel(own_level)
        self._listener.stop()


@dataclass(frozen=True)
class AccessLogOptions:
    """Which requests are logged.

    Attributes:
        rate: share of the requests, 0 to 1. Requests that failed by the server's fault (5xx) are always logged where
            the rate is above 0.
        slow_ms: a request that took as long or longer is logged with its stages; None for none.
        max_slow_per_s: slow requests that are logged in a second; the rest is counted.
    """

    rate: float = 0.0
    slow_ms: float | None = None
    max_slow_per_s: int = 20

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise ConfigError(f"the rate of the access log is {self.rate}", hint="It is 0 to 1.")
        if self.slow_ms is not None and not self.slow_ms >= 0:
            raise ConfigError(f"slow_ms is {self.slow_ms}", hint="It is 0 or more.")


class AccessLog:
    """Logs requests under `recserve.access`. Threads may share it.

    Args:
        options: which requests.

    Attributes:
        slow: slow requests so far, logged or not.
    """

    def __init__(self, options: AccessLogOptions) -> None:
        self._options = options
        self._draw = random.Random().random  # noqa: S311 - it draws lines of a log
        self._second = 0
        self._in_second = 0
        self._lock = threading.Lock()
        self.slow = 0

    def finish(self, seen: Observation) -> None:
        """Log an answered request, if it is drawn, failed or slow."""
        took_ns = perf_counter_ns() - seen.began_ns
        options = self._options
        if options.slow_ms is not None and took_ns >= options.slow_ms * 1e6 and self._may_log_slow():
            _ACCESS.warning("slow request", extra={"request_id": seen.request_id, _FIELDS: _fields(seen, took_ns)})
        elif options.rate and (seen.code[:1] == _FAILED or self._draw() < options.rate):
            _ACCESS.info("request", extra={"request_id": seen.request_id, _FIELDS: _fields(seen, took_ns)})

    def _may_log_slow(self) -> bool:
        second = perf_counter_ns() // 1_000_000_000
        with self._lock:
            self.slow += 1
            if second != self._second:
                self._second, self._in_second = second, 0
            self._in_second += 1
            return self._in_second <= self._options.max_slow_per_s


def _fields(seen: Observation, took_ns: int) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "protocol": seen.protocol,
        "route": seen.route,
        "code": seen.code,
        "duration_ms": round(took_ns / 1e6, 3),
        "stages_ms": {name: round((end - begin) / 1e6, 3) for name, begin, end in seen.stages()},
    }
    if seen.model:
        fields |= {"model": seen.model, "version": seen.version, "signature": seen.signature}
    if seen.rows:
        fields["candidates"] = seen.rows
    if seen.stages_us:
        fields["rank_ms"] = {name: round(us / 1e3, 3) for name, us in seen.stages_us.items()}
    return fields | ({"trace_id": seen.trace.trace_id} if seen.trace is not None else {})
