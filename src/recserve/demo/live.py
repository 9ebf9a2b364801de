"""The server of the demo, a process of its own, and a client that asks it.

Axes: N candidates of a request, K of them returned.
"""

from __future__ import annotations

import http.client
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from recserve.errors import ConfigError, RequestError

_MAIN: Final = "from recserve.cli import main; main()"
_READY: Final = "Serving on "
_STOP_S: Final = 15.0


@dataclass(frozen=True)
class LiveRequest:
    """A request as a shop would send it.

    Attributes:
        request_id: names it in the log.
        user: columns of the user.
        context: columns of the request.
        candidates: N item ids.
        top_k: K.
    """

    request_id: str
    user: Mapping[str, Any]
    context: Mapping[str, Any]
    candidates: Sequence[str]
    top_k: int

    def body(self) -> bytes:
        """The JSON to POST."""
        document = {
            "request_id": self.request_id,
            "user": self.user,
            "context": self.context,
            "candidates": self.candidates,
            "top_k": self.top_k,
            "timings": True,
        }
        return orjson.dumps(document)


@dataclass(frozen=True)
class LiveAnswer:
    """What the server said.

    Attributes:
        item_ids: K ids, best first.
        scores: K.
        outputs: {goal: K probabilities}.
        timings_us: {stage: microseconds}, measured by the server.
        unknown_items: candidates that the server does not hold.
        missing_columns: columns that the features read and the request lacked.
    """

    item_ids: list[str]
    scores: list[float]
    outputs: dict[str, list[float]]
    timings_us: dict[str, float]
    unknown_items: list[str]
    missing_columns: list[str]


@dataclass(eq=False)
class Server:
    """`recserve serve` in a process of its own; a context manager that stops it.

    Args:
        bundle: its directory.
        items: Parquet file of the items.
        records: folder of the served records.
        log: file for what the process says on standard error.
        port: 0 for a free one.
    """

    bundle: Path
    items: Path
    records: Path
    log: Path
    port: int = 0
    url: str = field(default="", init=False)
    _process: subprocess.Popen[str] | None = field(default=None, init=False)

    @property
    def arguments(self) -> list[str]:
        """Those of `recserve`."""
        return [
            "serve",
            str(self.bundle),
            "--items",
            str(self.items),
            "--port",
            str(self.port),
            "--log-records",
            str(self.records),
        ]

    @property
    def command(self) -> str:
        """The command line, for people."""
        return shlex.join(["recserve", *self.arguments])

    def __enter__(self) -> Server:
        """Start, and wait until models are loaded.

        Raises:
            ConfigError: the process ended before; the message ends with what it said last.
        """
        with self.log.open("wb") as errors:
            command = [sys.executable, "-c", _MAIN, *self.arguments]
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)  # noqa: S603 - ours
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(_READY):
                self.url = line.removeprefix(_READY).strip()
                return self
        code = self._process.wait()
        self._process.stdout.close()
        said = self.log.read_text(errors="replace").strip().splitlines()[-1:] or ["nothing"]
        raise ConfigError(f"the server ended with {code} before it was ready; it said: {said[0]}", where=str(self.log))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ask the process to drain and end; kill it where it does not."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def wait(self) -> None:
        """Block until the process ends, or Ctrl-C."""
        if self._process is not None:
            try:
                self._process.wait()
            except KeyboardInterrupt:
                return


class RankClient:
    """Asks one model over one kept connection; a context manager."""

    def __init__(self, url: str, model: str) -> None:
        """Of a server at `url`."""
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
        self._path = f"/v1/models/{model}:rank"

    def __enter__(self) -> RankClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def rank(self, request: LiveRequest) -> LiveAnswer:
        """Send one request.

        Raises:
            RequestError: the server refused it.
        """
        self._connection.request("POST", self._path, request.body(), {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        body = response.read()
        if response.status != http.client.OK:
            raise RequestError(f"the server answered {response.status}: {body.decode(errors='replace')[:500]}")
        answer = orjson.loads(body)
        return LiveAnswer(
            item_ids=answer["item_ids"],
            scores=answer["scores"],
            outputs=answer["outputs"],
            timings_us=answer["timings_us"],
            unknown_items=answer["unknown_items"],
            missing_columns=answer["missing_columns"],
        )
