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


def calls_until_quick(pace: Pace, turn: Turn) -> int:
    """Quick calls until the kind counts as quick."""
    count = 0
    while not pace.is_quick(turn):
        pace.learn(turn, 0.001, QUICK_S / 2)
        count += 1
    return count


@pytest.mark.parametrize(("taken_s", "cpu_s"), [(0.003, 0.003), (0.6, 1e-5)])
def test_each_slow_call_sends_its_kind_back_to_the_threads_for_longer(taken_s: float, cpu_s: float) -> None:
    pace, turn = Pace(), Turn(kind="/a", size_bytes=10)
    waits = []
    for _ in range(6):
        waits.append(calls_until_quick(pace, turn))
        pace.learn(turn, taken_s, cpu_s)
    assert waits[0] == 32
    assert 64 <= waits[1] < 256 <= waits[2] < 1024 <= waits[3] < 4096 <= waits[4] == waits[5]
    calls_until_quick(pace, turn)
    for _ in range(10_000):
        pace.learn(turn, 0.001, QUICK_S / 2)
    pace.learn(turn, taken_s, cpu_s)
    assert calls_until_quick(pace, turn) == waits[1]


def test_one_call_that_lasts_long_may_be_the_machines_fault_and_two_are_not() -> None:
    pace, turn = Pace(), Turn(kind="/a", size_bytes=10)
    calls_until_quick(pace, turn)
    for quick_between in (256, 300, 1000):
        pace.learn(turn, 0.1, None)
        assert pace.is_quick(turn)
        for _ in range(quick_between):
            pace.learn(turn, 0.001, QUICK_S / 2)
    pace.learn(turn, 0.1, None)
    for _ in range(255):
        pace.learn(turn, 0.001, QUICK_S / 2)
    assert pace.is_quick(turn)
    pace.learn(turn, 0.1, None)
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


def test_a_known_kind_is_expected_to_take_what_it_took_and_others_the_mean() -> None:
    pace, turn = Pace(), Turn(kind="/a", size_bytes=10)
    pace.learn(Turn(), 0.5, None)
    assert pace.expected_s(turn) == 0.5
    for _ in range(32):
        pace.learn(turn, 0.001, 1e-4)
    assert pace.expected_s(turn) == pytest.approx(1e-4)
    assert pace.expected_s(Turn(kind="/b")) == pace.mean_s > 1e-3
