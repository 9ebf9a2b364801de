"""What costs the quality most for what it saves is the first to stay in floating-point."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recserve.network.quantise import RangeObserver, quantisable
from recserve.network.sensitivity import Relief, Sensitivity, measure_sensitivity
from recserve.rates import Rate


def feeds(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=(40, 64)).astype(np.float32) for name in ("quiet", "loud")}


def net(g: Any) -> bytes:
    """One output of two products, of which one counts a hundred times as much, and one beside a twin."""
    quiet, loud = (g.input(name, Rate.ITEM, 64) for name in ("quiet", "loud"))
    small, large = (g.op("MatMul", x, g.weight(64, 32)) for x in (quiet, loud))
    twin = g.op("MatMul", quiet, g.weight(64, 32))
    hundred = g.constant(np.float32(100))
    both = g.op("Add", g.op("Add", small, twin), g.op("Mul", large, hundred))
    g.output(g.linear(both, 32, 1))
    return g.network().to_bytes()


def test_the_error_is_that_of_one_rounded_tensor_and_the_work_of_all_its_products(sketch: Any) -> None:
    model = net(sketch())
    observer = RangeObserver(model)
    requests = [feeds(seed) for seed in range(3)]
    for request in requests:
        observer.observe(request)
    quiet, loud = measure_sensitivity(model, observer.ranges, requests)
    assert (quiet.range[0], loud.range[0]) == quantisable(model) == ("quiet", "loud")
    assert (quiet.work, loud.work) == (3 * 40 * 2 * 64 * 32, 3 * 40 * 64 * 32)
    assert loud.error > 10 * quiet.error > 0
    relief = Relief([quiet, loud])
    assert relief.next_set(0.5) == (quiet.range,)
    assert relief.next_set(0.5) == ()


def found(errors: list[float], works: list[int]) -> list[Sensitivity]:
    return [Sensitivity((f"t{n}", 0.0, 1.0), e, w) for n, (e, w) in enumerate(zip(errors, works, strict=True))]


@given(
    st.lists(st.tuples(st.floats(0, 10), st.integers(1, 1000)), min_size=1, max_size=8),
    st.lists(st.floats(0, 1), min_size=1, max_size=4),
)
def test_sets_shrink_and_stay_within_what_is_admitted(entries: list[tuple[float, int]], shares: list[float]) -> None:
    every = found(*(list(column) for column in zip(*entries, strict=True)))
    relief = Relief(every)
    before = [entry.range for entry in every]
    for share in shares:
        after = list(relief.next_set(share))
        assert set(after) < set(before) or not before
        assert [r for r in before if r in after] == after
        error = {entry.range: entry.error for entry in every}
        most = share * np.sqrt(sum(error[r] ** 2 for r in before))
        assert np.sqrt(sum(error[r] ** 2 for r in after)) <= most * (1 + 1e-9)
        cost = {entry.range: entry.error**2 / entry.work for entry in every}
        for r in set(before) - set(after):
            spent = sum(error[kept] ** 2 for kept in after if cost[kept] <= cost[r])
            assert spent + error[r] ** 2 >= most**2 * (1 - 1e-9) or cost[r] == max(cost[b] for b in before)
        before = after


def test_as_much_is_rounded_as_is_admitted() -> None:
    relief = Relief(found([8, 4, 1, 0.1], [1, 1, 1, 1]))
    assert [name for name, _, _ in relief.next_set(0.5)] == ["t1", "t2", "t3"]
    assert [name for name, _, _ in relief.next_set(0.02)] == []


def test_outputs_that_are_no_number_count_as_wholly_wrong(sketch: Any) -> None:
    model = net(sketch())
    request = feeds(1)
    request["loud"][:] = np.nan
    ranges = [("quiet", -1.0, 1.0), ("loud", -1.0, 1.0)]
    assert measure_sensitivity(model, ranges, [request])[1].error == 1
