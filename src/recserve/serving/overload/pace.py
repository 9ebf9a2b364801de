"""How long calls take, learnt from those that ran."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from recserve.serving.overload.turn import Turn

_WEIGHT: Final = 0.1
"""Of the newest call in the mean."""

QUICK_S: Final = 250e-6
"""A call whose kind takes less than this on the processor loses more by being handed to another thread (two wake-ups,
each some tens of microseconds, and cold caches) than others lose by waiting for it."""

_SLOW_S: Final = 2e-3
_WAITING_S: Final = 50e-3
"""A call that lasts so long waits for something, or the machine gave the processor to somebody else in between."""

_HANGING_S: Final = 0.5
"""A call that lasts so long waits for something."""

_AGAIN: Final = 256
"""A call that lasted long within so many calls of another one was not the machine's fault."""

_SMALL_BYTES: Final = 4096
_ENOUGH: Final = 32
_BACK_OFF: Final = 64
"""Calls that a kind stays on the threads after a slow one; four times as many after each further one."""

_MAX_BACK_OFF: Final = 4096
_FORGIVEN: Final = 10_000
"""Quick calls in a row after which earlier slow ones count no more: they were the machine's fault."""

_SAMPLED: Final = 8
"""Of the calls of a quick kind, every so many are measured on the processor's clock."""

_MAX_KINDS: Final = 1024


@dataclass
class _Kind:
    cpu_s: float = 0.0
    calls: int = 0
    back_off: int = _BACK_OFF
    doubted: int = 0
    """Calls for which one that lasts long is a second one."""

    def is_slow(self, taken_s: float, cpu_s: float | None) -> bool:
        """Whether a call shows that the kind is none for the event loop."""
        if taken_s > _HANGING_S or (cpu_s is not None and cpu_s > _SLOW_S):
            return True
        was_doubted = self.doubted > 0
        if taken_s > _WAITING_S:
            self.doubted = _AGAIN
            return was_doubted
        self.doubted -= was_doubted
        return False


@dataclass
class Pace:
    """Mean times of calls, over all and by kind. Threads may share it: a lost update does no harm.

    Attributes:
        mean_s: exponentially weighted mean of the seconds that a call takes on a thread; 0 before the first.
    """

    mean_s: float = 0.0
    _kinds: dict[str, _Kind] = field(default_factory=dict)

    def wants_sample(self, turn: Turn) -> bool:
        """Whether `learn` is to be told the processor's time of this call: always, but of kinds known as quick."""
        kind = self._kinds.get(turn.kind)
        return kind is None or kind.calls < _ENOUGH or kind.calls % _SAMPLED == 0

    def learn(self, turn: Turn, taken_s: float, cpu_s: float | None) -> None:
        """Count a call that took so long, so much of it on the processor; None where that was not measured."""
        self.mean_s = taken_s if not self.mean_s else self.mean_s + _WEIGHT * (taken_s - self.mean_s)
        if not turn.kind or turn.size_bytes is None or turn.size_bytes > _SMALL_BYTES:
            return
        kind = self._kinds.get(turn.kind)
        if kind is None:
            if len(self._kinds) >= _MAX_KINDS:  # paths are the callers' to choose
                self._kinds.clear()
            kind = self._kinds[turn.kind] = _Kind(cpu_s or 0.0)
        if cpu_s is not None:
            kind.cpu_s += _WEIGHT * (cpu_s - kind.cpu_s)
        if kind.is_slow(taken_s, cpu_s):
            kind.calls = -kind.back_off
            kind.back_off = min(4 * kind.back_off, _MAX_BACK_OFF)
        else:
            kind.calls += 1
            if kind.calls == _FORGIVEN:
                kind.back_off = _BACK_OFF

    def expected_s(self, turn: Turn) -> float:
        """Seconds that a call will take: as its kind does where that is known, else as calls do."""
        kind = self._kinds.get(turn.kind)
        return self.mean_s if kind is None or kind.calls < _ENOUGH else min(kind.cpu_s, self.mean_s)

    def is_quick(self, turn: Turn) -> bool:
        """Whether the call is small and its kind has long been quick: it may run where it arrives."""
        if turn.size_bytes is None or turn.size_bytes > _SMALL_BYTES:
            return False
        kind = self._kinds.get(turn.kind)
        return kind is not None and kind.calls >= _ENOUGH and kind.cpu_s < QUICK_S
