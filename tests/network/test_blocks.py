"""Blocks and padding change nothing but the time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recserve.errors import InvariantError
from recserve.network.blocks import BlockRunner, can_pad, make_feeds, step_axes
from recserve.network.engines import EngineChoice, rising_buckets
from recserve.network.model import TensorSpec
from recserve.network.parts import SIZE_PREFIX
from recserve.network.session import Session
from recserve.network.split import Part, split_network
from recserve.rates import Rate


class Recorder:
    """A session that notes the rows of its calls."""

    def __init__(self, part: Part) -> None:
        self.session = Session(part.model)
        self.inputs, self.outputs = self.session.inputs, self.session.outputs
        self.tall = next(name for name, spec in part.inputs.items() if spec.dims[0] == "N")
        self.rows: list[int] = []

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        self.rows.append(len(feeds[self.tall]))
        return self.session.run(feeds)


@pytest.fixture(scope="module")
def part(sketch: Any) -> Part:
    g = sketch()
    both = g.op("Mul", g.input("user", Rate.REQUEST, 4), g.input("item", Rate.ITEM, 4))
    g.output(g.op("Relu", g.linear(both, 4, 3)), dims=(3,))
    g.output(g.op("ReduceSum", both, g.ints(1), keepdims=0), name="cvr", dims=())
    return split_network(g.network(), g.rates).candidate


@given(rows=st.integers(1, 70), block=st.integers(0, 40), is_padded=st.booleans())
def test_any_block_gives_what_one_call_gives(part: Part, rows: int, block: int, is_padded: bool) -> None:
    buckets = rising_buckets(block) if is_padded and block else ()
    engine = Recorder(part)
    runner = BlockRunner(part, engine, EngineChoice(block=block, buckets=buckets))
    feeds = make_feeds(part, {"N": rows}, np.random.default_rng(rows))
    found, expected = runner.run(feeds | {"more": np.ones(1)}, rows), Session(part.model).run(feeds)
    for name, want in expected.items():
        assert found[name].shape == want.shape
        np.testing.assert_allclose(found[name], want, rtol=1e-5, atol=1e-6)
    assert max(engine.rows) <= (block or rows)
    assert not buckets or set(engine.rows) <= set(buckets)
    assert sum(engine.rows) == runner.padded_rows(rows)


@given(rows=st.integers(1, 70), block=st.integers(1, 40))
def test_inputs_with_rows_to_pad_with_are_read_in_place(part: Part, rows: int, block: int) -> None:
    read: list[np.ndarray[Any, Any]] = []

    class Watcher(Recorder):
        def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
            read.append(feeds[self.tall])
            return super().run(feeds)

    runner = BlockRunner(part, Watcher(part), EngineChoice(block=block, buckets=rising_buckets(block)))
    feeds = make_feeds(part, {"N": runner.padded_rows(rows)}, np.random.default_rng(rows))
    tall = [name for name, spec in part.inputs.items() if spec.dims[0] == "N"]
    exact = feeds | {name: feeds[name][:rows] for name in tall}
    found, expected = runner.run(feeds, rows), Session(part.model).run(exact)
    for name, want in expected.items():
        assert found[name].shape == want.shape
        np.testing.assert_allclose(found[name], want, rtol=1e-5, atol=1e-6)
    assert all(any(np.shares_memory(one, feeds[name]) for name in tall) for one in read)


class Short(Recorder):
    """An engine that answers no rows."""

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        return {name: answer[:0] for name, answer in super().run(feeds).items()}


def test_an_engine_that_answers_too_few_rows_is_caught(part: Part) -> None:
    feeds = make_feeds(part, {"N": 9})
    with pytest.raises(InvariantError, match="output 'ctr' has 0 rows for 4 candidates"):
        BlockRunner(part, Short(part), EngineChoice(block=4)).run(feeds, 9)


def test_warming_meets_every_padded_shape(sketch: Any) -> None:
    g = sketch()
    steps, item = g.input("clicks", Rate.REQUEST, "L", 4), g.input("item", Rate.ITEM, 4)
    scores = g.op("MatMul", steps, g.op("Unsqueeze", item, g.ints(2)))
    g.output(g.op("ReduceSum", scores, g.ints(1, 2), keepdims=0), dims=())
    part = split_network(g.network(), g.rates, ()).candidate
    engine = Recorder(part)
    choice = EngineChoice(block=8, buckets=(1, 4, 8), step_buckets=(0, 3))
    assert len(step_axes(part)) == 1
    assert can_pad(part)
    assert BlockRunner(part, engine, choice).warm() == 6
    assert sorted(engine.rows) == [1, 1, 4, 4, 8, 8]
    with pytest.raises(InvariantError, match="no size for the axis"):
        make_feeds(part, {"N": 1})


def test_a_part_of_unknown_axes_is_not_padded(sketch: Any) -> None:
    g = sketch()
    g.output(g.op("ReduceSum", g.input("own", Rate.CANDIDATE, 4, 4), g.ints(1, 2), keepdims=0), dims=())
    part = split_network(g.network(), g.rates).candidate
    assert can_pad(part)
    (spec,) = part.inputs.values()
    assert not can_pad(replace(part, inputs={spec.name: replace(spec, dims=("N", None, 4))}))


def test_sizes_that_are_handed_over_are_those_of_the_axes(part: Part) -> None:
    sized = replace(part, inputs={SIZE_PREFIX + "L": TensorSpec(SIZE_PREFIX + "L", "int64", (1, 1))})
    assert make_feeds(sized, {"N": 2, "L": 7})[SIZE_PREFIX + "L"].tolist() == [[7]]


def test_an_observer_sees_the_inputs_of_each_run_whole(part: Part) -> None:
    runner = BlockRunner(part, Session(part.model), EngineChoice(block=2))
    feeds = make_feeds(part, {"N": 5} | dict.fromkeys(step_axes(part), 3), np.random.default_rng(0))
    seen: list[Any] = []
    runner.observe = seen.append
    runner.run(feeds, 5)
    runner.observe = None
    runner.run(feeds, 5)
    assert len(seen) == 1
    assert seen[0] is feeds
