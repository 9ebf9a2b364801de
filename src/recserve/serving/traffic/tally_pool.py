"""What all workers of a server saw of the versions of a rollout, so that one of them judges for all.

Each worker writes its counts to a file of its own, and reads those of the others. Files of workers that are gone count
on, as long as their rollout does. One worker at a time holds a lock, and is the judge; the system frees the lock when
the worker ends, however it ends.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import IO, Final

import orjson

from recserve.serving.traffic.tally import Seen

_LOCK: Final = "judge.lock"
_FILES: Final = "worker-*.json"


@dataclass(frozen=True)
class Report:
    """What one worker saw of one rollout.

    Attributes:
        rollout: as JSON; only reports of the very same one are added.
        began_s: when it began in this worker, by `monotonic`, which all processes of a host share.
        at_s: when this was written, by the same clock.
        seen: version → counts.
    """

    rollout: str
    began_s: float
    at_s: float
    seen: Mapping[int, Seen]


class TallyPool:
    """The shared directory of a server's workers.

    Args:
        directory: made where it is missing; None for a process on its own, which hears of nobody and always judges.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._file = None if directory is None else directory / f"worker-{os.getpid()}.json"
        self._lock: IO[bytes] | None = None
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)

    def publish(self, reports: Mapping[str, Report]) -> None:
        """Write what this worker saw, by model; it stands in place of what it wrote before."""
        if self._file is None:
            return
        document = {
            name: [report.rollout, report.began_s, report.at_s, {str(v): s.as_json() for v, s in report.seen.items()}]
            for name, report in reports.items()
        }
        draft = self._file.with_suffix(".part")
        draft.write_bytes(orjson.dumps(document))
        draft.replace(self._file)

    def read(self, name: str, rollout: str, window_s: float) -> list[Report]:
        """What the other workers saw of a model's rollout; what a report is too old for has an empty window.

        Args:
            name: of the model.
            rollout: as JSON.
            window_s: age in seconds after which the window of a report is over.
        """
        found = []
        for file in self._others():
            report = _read(file).get(name)
            if report is None or report.rollout != rollout:
                continue
            if not 0 <= monotonic() - report.at_s <= window_s:  # a worker that is gone, or a clock of another boot
                seen = {version: counts.without_window() for version, counts in report.seen.items()}
                report = Report(report.rollout, report.began_s, report.at_s, seen)
            found.append(report)
        return found

    def is_judge(self) -> bool:
        """Whether this process judges; it stays the judge until `leave`, or its end."""
        if self._directory is None or self._lock is not None:
            return True
        file = (self._directory / _LOCK).open("wb")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return False
        self._lock = file
        return True

    def leave(self) -> None:
        """Let another worker judge."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def clean(self, rollouts: Mapping[str, str]) -> None:
        """Remove the files of workers that are gone and saw nothing of these rollouts (model → JSON)."""
        for file in self._others():
            is_of_use = any(rollouts.get(name) == report.rollout for name, report in _read(file).items())
            if not is_of_use and not _is_alive(file):
                file.unlink(missing_ok=True)

    def _others(self) -> Iterable[Path]:
        return [] if self._directory is None else [f for f in self._directory.glob(_FILES) if f != self._file]


def _is_alive(file: Path) -> bool:
    try:
        os.kill(int(file.stem.removeprefix("worker-")), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:  # it is alive, and somebody else's
        return True
    return True


def _read(file: Path) -> dict[str, Report]:
    """What a worker wrote; nothing where it cannot be read."""
    try:
        document = orjson.loads(file.read_bytes())
        return {
            name: Report(rollout, began_s, at_s, {int(v): Seen.from_json(counts) for v, counts in seen.items()})
            for name, (rollout, began_s, at_s, seen) in document.items()
        }
    except (OSError, ValueError, TypeError, AttributeError):  # it goes away this moment, or is of another version
        return {}
