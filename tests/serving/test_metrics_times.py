from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.serving.metrics_times import BOUNDS_S, BOUNDS_US, EXAMPLE_BOUNDS, Histogram, Moments, split_stages
from recserve.serving.observation import Observation

BOUNDS_NS = tuple(50_000 * 2**n for n in range(len(BOUNDS_S)))


@settings(max_examples=100)
@given(
    st.sampled_from([BOUNDS_NS, BOUNDS_US, EXAMPLE_BOUNDS]),
    st.lists(st.integers(-5, 10**11) | st.sampled_from(BOUNDS_NS)),
)
def test_a_value_falls_into_the_bucket_that_comparing_finds(bounds: tuple[float, ...], values: list[int]) -> None:
    times = Histogram(bounds)
    for part in (values[:3], values[3:]):
        times.add(np.array(part, np.int64))
    slow = [0] * (len(bounds) + 1)
    for value in values:
        slow[next((n for n, bound in enumerate(bounds) if value <= bound), len(bounds))] += 1
    assert times.buckets == slow
    assert times.total == pytest.approx(sum(values))


def test_the_buckets_of_nanoseconds_are_those_told_in_seconds() -> None:
    times = Histogram.of_ns()
    times.add(np.array([50_000, 50_001, 10**12]))
    assert [n for n, count in enumerate(times.buckets) if count] == [0, 1, len(BOUNDS_S)]


@settings(max_examples=100)
@given(st.lists(st.tuples(*[st.booleans()] * 5, st.integers(0, 9)), min_size=1, max_size=20))
def test_the_stages_of_many_calls_are_those_of_each(calls: list[tuple[bool, bool, bool, bool, bool, int]]) -> None:
    rows: list[Moments] = []
    slow: dict[str, list[int]] = defaultdict(list)
    for number, (has_received, has_work, has_run, has_end, _, count) in enumerate(calls):
        seen = Observation("tfs", "POST /", "1")
        seen.received_ns = (seen.began_ns + 10 + number) if has_received else 0
        seen.work_began_ns = (seen.began_ns + 200) if has_work else 0
        seen.run_began_ns, seen.run_ended_ns = (seen.began_ns + 3000, seen.began_ns + 40000) if has_run else (0, 0)
        seen.work_ended_ns = (seen.began_ns + 500000 + number) if has_end else 0
        for name, begin, end in seen.stages():
            slow[name].append(end - begin)
        inner = (seen.run_began_ns, seen.run_ended_ns, seen.work_ended_ns)
        rows.append((seen.began_ns, seen.received_ns, seen.work_began_ns, *inner, seen.began_ns + 600000, count))
    found = {name: taken.tolist() for name, taken in split_stages(np.array(rows, np.int64))}
    assert found == slow
