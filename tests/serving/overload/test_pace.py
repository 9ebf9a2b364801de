from __future__ import annotations

import pytest

from recserve.serving.overload.pace import QUICK_S, Pace
from recserve.serving.overload.turn import Turn


def test_a_kind_is_quick_once_enough_small_calls_were() -> None:
    pace, turn = Pace(), Turn(kind="/a", size_bytes=10)
    assert not pace.is_quick(turn)
    for _ in range(32):
        pace.learn(turn, 0.001, QUICK_S / 2)
    assert pace.is_quick(turn)
    assert not pace.is_quick(Turn(kind="/b", size_bytes=10))
    assert not pace.is_quick(Turn(kind="/a", size_bytes=1 << 20))
    assert not pace.is_quick(Turn(kind="/a"))
    assert not pace.is_quick(Turn())


@pytest.mark.parametrize(("taken_s", "cpu_s"), [(0.003, 0.003), (0.1, 1e-5)])
def test_one_slow_call_sends_its_kind_back_to_the_threads(taken_s: float, cpu_s: float) -> None:
    pace, turn = Pace(), Turn(kind="/a", size_bytes=10)
    for _ in range(32):
        pace.learn(turn, 0.001, QUICK_S / 2)
    pace.learn(turn, taken_s, cpu_s)
    for _ in range(1000):
        pace.learn(turn, 0.001, QUICK_S / 2)
    assert not pace.is_quick(turn)


def test_the_mean_follows_the_calls() -> None:
    pace = Pace()
    pace.learn(Turn(), 1.0, 0.5)
    assert pace.mean_s == 1.0
    for _ in range(200):
        pace.learn(Turn(), 3.0, 0.5)
    assert abs(pace.mean_s - 3.0) < 1e-6


def test_callers_that_invent_paths_cost_bounded_memory() -> None:
    pace = Pace()
    for n in range(3000):
        pace.learn(Turn(kind=f"/{n}", size_bytes=1), 1e-5, 1e-5)
    assert len(pace._kinds) <= 1024


def test_calls_of_a_quick_kind_are_measured_now_and_then() -> None:
    pace, turn = Pace(), Turn(kind="/a", size_bytes=10)
    measured = []
    for _ in range(64):
        measured.append(pace.wants_sample(turn))
        pace.learn(turn, 1e-4, 1e-5 if measured[-1] else None)
    assert all(measured[:32])
    assert sum(measured[32:]) == 4
    assert pace.is_quick(turn)
    for _ in range(8):
        pace.learn(turn, 1e-2, 1e-2 if pace.wants_sample(turn) else None)
    assert not pace.is_quick(turn)
