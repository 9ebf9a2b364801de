"""Writes served records to rolling files, off the hot path.

`RecordWriter.write` puts a record into a bounded queue and returns; one background thread encodes and writes. A full
queue drops the record and counts it: logging must never slow or stop an answer.

A file is written as `<name>.part` and renamed when it is complete, so a reader that skips `.part` files sees only whole
ones. NDJSON is flushed to the operating system whenever the queue runs empty: a crash of the process loses the queue
and at most one torn line. Parquet is smaller, but a crash loses the file that is open.
"""

from __future__ import annotations

import io
import logging
import os
import queue
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Protocol

import pyarrow.parquet as pq

from recserve.errors import ConfigError, suggest
from recserve.samples.records import RECORD_SCHEMA, LogRow, ServedRecord, encode_record, rows_to_table

_LOG = logging.getLogger(__name__)
_ROW_GROUP: Final = 1_000
_FORMATS: Final = ("ndjson", "parquet")

Format = Literal["ndjson", "parquet"]


class _Sink(Protocol):
    """One open file."""

    def write(self, row: LogRow) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...


class _NdjsonSink:
    def __init__(self, path: Path) -> None:
        self._file: io.BufferedWriter = path.open("wb")

    def write(self, row: LogRow) -> None:
        self._file.write(row.line())

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()


class _ParquetSink:
    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._writer = pq.ParquetWriter(self._file, RECORD_SCHEMA, compression="zstd")
        self._rows: list[LogRow] = []

    def write(self, row: LogRow) -> None:
        self._rows.append(row)
        if len(self._rows) >= _ROW_GROUP:
            self._write_group()

    def flush(self) -> None:
        """Nothing: a row group per flush would be many tiny ones, and the file is unreadable before its end."""

    def close(self) -> None:
        self._write_group()
        self._writer.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def _write_group(self) -> None:
        if self._rows:
            self._writer.write_table(rows_to_table(self._rows))
            self._rows = []


class RecordWriter:
    """Appends records to rolling files in a folder. Use it as a context manager, or call `close`.

    Args:
        folder: is made if missing; several writers, of several processes, may share it.
        format: "ndjson" or "parquet".
        queue_size: records that may wait; beyond that they are dropped.
        roll_records: records after which a file is complete.
        roll_seconds: age after which a file is complete, checked at least once per second.

    Raises:
        ConfigError: an argument is wrong, or the folder cannot be made.

    Attributes:
        written: records in files, complete or not.
        dropped: records that found the queue full, or came after `close`.
        failed: records that could not be encoded or written; each reason is logged.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        format: Format = "ndjson",  # noqa: A002 - the word every reader looks for
        queue_size: int = 10_000,
        roll_records: int = 50_000,
        roll_seconds: float = 300.0,
    ) -> None:
        if format not in _FORMATS:
            raise ConfigError(f"the format of records is {format!r}", hint=suggest(format, _FORMATS) or "Use 'ndjson'.")
        for name, value in (("queue_size", queue_size), ("roll_records", roll_records), ("roll_seconds", roll_seconds)):
            if value <= 0:
                raise ConfigError(f"{name} is {value}", hint="Give a number above 0.")
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"records cannot be kept: {error.strerror}", where=str(folder)) from None
        self.written = self.dropped = self.failed = 0
        self._format = format
        self._roll_records = roll_records
        self._roll_seconds = roll_seconds
        self._queue: queue.Queue[ServedRecord | None] = queue.Queue(queue_size)
        self._stem = f"records-{time.time_ns() // 1_000_000:013d}-{uuid.uuid4().hex[:8]}"
        self._files = 0
        self._sink: _Sink | None = None
        self._part = Path()
        self._opened = 0.0
        self._in_file = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="record-writer", daemon=True)
        self._thread.start()

    def write(self, record: ServedRecord) -> bool:
        """Queue a record; False if it was dropped. Never blocks."""
        if self._closed:
            self.dropped += 1
            return False
        try:
            self._queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1
            return False
        return True

    def flush(self) -> None:
        """Wait until every queued record is handed to the operating system (Parquet: to the open file's buffer)."""
        self._queue.join()

    def close(self) -> None:
        """Write what is queued, complete the file and end the thread. A second call does nothing."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            self._thread.join()
            # A `write` in another thread may have slipped in behind the end mark.
            while not self._queue.empty():
                self._queue.get_nowait()
                self.dropped += 1

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        running = True
        while running:
            try:
                record = self._queue.get(timeout=1.0)
            except queue.Empty:
                self._attempt(self._roll_if_due)
                continue
            if record is None:
                self._attempt(self._complete)
                running = False
            else:
                self._append(record)
            self._queue.task_done()

    def _append(self, record: ServedRecord) -> None:
        try:
            row = encode_record(record)
            if self._sink is None:
                self._open()
            assert self._sink is not None
            self._sink.write(row)
            self.written += 1
            self._in_file += 1
            if self._queue.empty():
                self._sink.flush()
            self._roll_if_due()
        except Exception as error:  # whatever a record holds, the thread must live on
            self.failed += 1
            _LOG.warning("a served record was not written: %s", error)

    def _attempt(self, action: Callable[[], None]) -> None:
        """Run a step on files; a full disk is logged, and the writer lives on."""
        try:
            action()
        except OSError as error:
            _LOG.warning("a file of served records could not be completed: %s", error)

    def _open(self) -> None:
        name = f"{self._stem}-{self._files:06d}.{self._format}.part"
        self._part = self.folder / name
        self._sink = _NdjsonSink(self._part) if self._format == "ndjson" else _ParquetSink(self._part)
        self._files += 1
        self._opened = time.monotonic()
        self._in_file = 0

    def _roll_if_due(self) -> None:
        if self._in_file >= self._roll_records or time.monotonic() - self._opened >= self._roll_seconds:
            self._complete()

    def _complete(self) -> None:
        """Close the open file and give it its final name."""
        if self._sink is None:
            return
        sink, self._sink = self._sink, None
        sink.close()
        os.replace(self._part, self._part.with_suffix(""))
