"""The metrics of all workers of a server, whichever of them is asked.

Each worker writes its families to a file of its own, once a second and at its end; who is asked reads them all and adds
them up. Files of workers that are gone go on counting, so that no counter ever falls, but for their gauges. They are
folded into one file, so that many restarts do not make many files.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import orjson

from recserve.serving.metrics_text import Family, merge_families

INTERVAL_S: Final = 1.0
_DEAD: Final = "gone.json"
_LOCK: Final = "lock"
_log: Final = logging.getLogger("recserve.serving")


class MetricsPool:
    """The shared directory of a server's workers.

    Args:
        directory: made where it is missing. Empty it when the server starts, or its counters go on from the last run.
        collect: the families of this process.
        interval_s: seconds between two writes; 0 for none but those at a scrape and at the end.
    """

    def __init__(self, directory: str | Path, collect: Callable[[], list[Family]], interval_s: float = INTERVAL_S):
        self._directory = Path(directory)
        self._directory.mkdir(parents=True, exist_ok=True)
        self._collect = collect
        self._file = self._directory / f"worker-{os.getpid()}.json"
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        if interval_s > 0:
            self._thread = threading.Thread(
                target=self._publish_always, args=(interval_s,), name="recserve-metrics", daemon=True
            )
            self._thread.start()

    def families(self) -> list[Family]:
        """The families of all workers, those of this one as they are now."""
        own = self._collect()
        with self._locked():
            others, gone = self._read_others()
        return merge_families([own, *others, gone])

    def publish(self) -> None:
        """Write this worker's families for the others."""
        _write(self._file, self._collect())

    def close(self) -> None:
        """Write a last time, and end the thread."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(5)
        self.publish()

    def _publish_always(self, interval_s: float) -> None:
        while not self._ended.wait(interval_s):
            try:
                self.publish()
            except Exception:  # a full disk must not end the counting
                _log.exception("The metrics could not be written to %s", self._file)

    def _read_others(self) -> tuple[list[list[Family]], list[Family]]:
        """Families of the living workers, and the sum of those that are gone; their files become one."""
        living: list[Path] = []
        dead: list[Path] = []
        for file in sorted(self._directory.glob("worker-*.json")):
            if file == self._file:
                continue
            (living if _is_alive(file) else dead).append(file)
        folded = self._directory / _DEAD
        gone = _read(folded)
        if dead:
            counted = [[family for family in _read(file) if family.kind != "gauge"] for file in dead]
            gone = merge_families([gone, *counted])
            _write(folded, gone)
            for file in dead:
                file.unlink(missing_ok=True)
        return [_read(file) for file in living], gone

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._directory / _LOCK).open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _is_alive(file: Path) -> bool:
    try:
        os.kill(int(file.stem.removeprefix("worker-")), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:  # it is alive, and somebody else's
        return True
    return True


def _write(file: Path, families: Iterable[Family]) -> None:
    rows = [
        [family.name, family.kind, family.help, family.merges, [list(sample) for sample in family.samples]]
        for family in families
    ]
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    part.write_bytes(orjson.dumps(rows))
    part.replace(file)


def _read(file: Path) -> list[Family]:
    """What a worker wrote; nothing where it wrote nothing yet."""
    try:
        rows = orjson.loads(file.read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        return []
    return [
        Family(name, kind, text, [(suffix, labels, value) for suffix, labels, value in samples], merges)
        for name, kind, text, merges, samples in rows
    ]
