"""What spans say of a block of a mask holds for each number of steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.network.canonical import canonical
from recserve.network.draft import Draft
from recserve.network.rewrites.spans import Bound, Span, Spans
from recserve.rates import Rate

L = Bound(0, ((("L@request",), 1),))
ROWS, ITEM = Span(Bound(0), L - Bound(1)), Span(L, L)


def value_of(bound: Bound, steps: int) -> float:
    return bound.whole + sum(factor * steps ** len(names) for names, factor in bound.terms)


def mask_of(g: Any, compare: str, shift: int) -> str:
    """`i + shift ∘ j` for positions i and j of L + 1 steps."""
    g.input("hist", Rate.REQUEST, "L", 4)
    count = g.op("Add", g.op("Squeeze", g.op("Shape", "hist", start=1, end=2), g.ints(0)), g.constant(1, np.int64))
    at = g.op("Range", g.constant(0, np.int64), count, g.constant(1, np.int64))
    rows = g.op("Add", g.op("Unsqueeze", at, g.ints(1)), g.constant(shift, np.int64))
    mask: str = g.op(compare, rows, g.op("Unsqueeze", at, g.ints(0)))
    g.output(g.op("Mul", "hist", g.op("Slice", g.op("Cast", mask, to=1), g.ints(0), g.ints(1), g.ints(1))), dims=(4,))
    return mask


COMPARISONS = {
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Equal": np.equal,
}


@pytest.mark.parametrize("compare", COMPARISONS)
@pytest.mark.parametrize("rows", [ROWS, ITEM], ids=["history", "item"])
@pytest.mark.parametrize("columns", [ROWS, ITEM], ids=["history", "item"])
@pytest.mark.parametrize("shift", [-1, 0, 1])
def test_a_block_that_spans_call_uniform_is_so(
    compare: str, rows: Span, columns: Span, shift: int, sketch: Any
) -> None:
    g = sketch()
    name = mask_of(g, compare, shift)
    draft = Draft.of(canonical(g.network()), g.rates)
    value = next(v for n in draft.model.graph for v in n.outputs if v.name == name)
    found = Spans(draft).span(value, (rows, columns)).value
    for steps in range(1, 9):
        at = np.arange(steps + 1)
        whole = COMPARISONS[compare](at[:, None] + shift, at[None, :])
        bounds = [(p.low, p.high) for p in (rows, columns)]
        cut = [slice(int(value_of(a, steps)), int(value_of(b, steps)) + 1) for a, b in bounds if a and b]
        block = whole[cut[0], cut[1]]
        assert found is None or bool(np.all(block == found))


def test_the_history_of_a_causal_mask_hides_the_item(sketch: Any) -> None:
    g = sketch()
    name = mask_of(g, "GreaterOrEqual", 0)
    draft = Draft.of(canonical(g.network()), g.rates)
    spans = Spans(draft)
    value = next(v for n in draft.model.graph for v in n.outputs if v.name == name)
    assert spans.span(value, (ROWS, ITEM)).value == 0
    assert spans.span(value, (ITEM, ROWS)).value == 1
    assert spans.span(value, (ROWS, ROWS)).value is None
    assert spans.uniform(value) is None


bounds = st.builds(lambda whole, factor: Bound(whole) + L * factor, st.integers(-5, 5), st.integers(-3, 3))


@settings(max_examples=100, deadline=None)
@given(bounds, bounds, st.integers(0, 20))
def test_a_bound_that_is_no_less_for_certain_is_no_less_for_each_size(a: Bound, b: Bound, steps: int) -> None:
    assert not a.is_no_less(b) or value_of(a, steps) >= value_of(b, steps)
    assert not a.is_more(b) or value_of(a, steps) > value_of(b, steps)
    assert value_of(a - b, steps) == value_of(a, steps) - value_of(b, steps)
