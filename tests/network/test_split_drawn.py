"""Split networks equal flat ones on drawn graphs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.network.canonical import canonical
from recserve.network.facts import learn
from recserve.network.frontier import Frontier, ItemGraph
from recserve.network.session import Session
from recserve.rates import Rate

UNARY = ("Relu", "Tanh", "Neg", "Sigmoid", "Abs")
BINARY = ("Add", "Sub", "Mul", "Max", "Min")


@dataclass(frozen=True)
class Value:
    """A value [N, *dims]; "L" is dynamic."""

    name: str
    dims: tuple[int | str, ...]


class Artist:
    """Draws ops onto a sketch."""

    def __init__(self, sketch: Any, draw: Any) -> None:
        self.g = sketch
        self.draw = draw
        g = sketch
        self.values = [
            Value(g.input("user", Rate.REQUEST, 4), (4,)),
            Value(g.input("context", Rate.REQUEST, 4), (4,)),
            Value(g.input("item", Rate.ITEM, 4), (4,)),
            Value(g.input("price", Rate.ITEM, 2), (2,)),
            Value(g.input("position", Rate.CANDIDATE, 4), (4,)),
            Value(g.input("hist", Rate.REQUEST, "L", 4), ("L", 4)),
            Value(g.input("tags", Rate.ITEM, 3, 4), (3, 4)),
        ]

    def pick(self, test: Callable[[Value], bool] = lambda _: True) -> Value:
        # Late values first, so that graphs are deep.
        able = [v for v in self.values if test(v)]
        return self.draw(st.sampled_from(able[::-1]))

    def add(self, name: str, *dims: int | str) -> None:
        self.values.append(Value(name, dims))

    def one_of(self, *options: Any) -> Any:
        return self.draw(st.sampled_from(options))

    def step(self) -> None:
        self.one_of(
            self.unary, self.binary, self.binary, self.scaled, self.linear, self.linear, self.concat, self.concat,
            self.concat, self.slice, self.stack, self.fold, self.unfold, self.repeat, self.reduce, self.reduce,
            self.softmax, self.norm, self.attend, self.merge, self.swap, self.split, self.like, self.unknown,
            self.crowd, self.choose, self.pairs, self.einsum, self.experts, self.prolong, self.flatten_last,
        )()  # fmt: skip

    def unary(self) -> None:
        x = self.pick()
        self.add(self.g.op(self.one_of(*UNARY), x.name), *x.dims)

    def binary(self) -> None:
        x = self.pick()
        wide = (*["L" if d == "L" else None for d in x.dims[:-1]], None)
        y = self.pick(
            lambda v: len(v.dims) == len(wide) and all(d in (1, e) for d, e in zip(v.dims, x.dims, strict=True))
        )
        pair = [x.name, y.name] if self.draw(st.booleans()) else [y.name, x.name]
        self.add(self.g.op("Tanh", self.g.op(self.one_of(*BINARY), *pair)), *x.dims)

    def scaled(self) -> None:
        x = self.pick(lambda v: v.dims[-1] != "L")
        shape = self.one_of((), (1,), (x.dims[-1],), (1, x.dims[-1]))
        weight = self.g.constant(self.g.rng.normal(size=shape).astype("float32"))
        self.add(self.g.op(self.one_of("Mul", "Add", "Sub"), x.name, weight), *x.dims)

    def linear(self) -> None:
        x = self.pick(lambda v: v.dims[-1] != "L")
        width = self.one_of(2, 4)
        if len(x.dims) == 1 and self.draw(st.booleans()):
            self.add(self.g.linear(x.name, x.dims[0], width), width)
        else:
            product = self.g.op("MatMul", x.name, self.g.weight(x.dims[-1], width))
            self.add(self.g.op("Add", self.g.weight(width), product), *x.dims[:-1], width)

    def concat(self) -> None:
        x = self.pick(lambda v: v.dims[-1] != "L" and v.dims[-1] <= 12)
        others = [
            self.pick(lambda v: v.dims[:-1] == x.dims[:-1] and v.dims[-1] != "L" and v.dims[-1] <= 12)
            for _ in range(self.one_of(1, 2, 3))
        ]
        parts = [x, *others]
        axis = self.one_of(-1, len(x.dims))
        self.add(self.g.op("Concat", *[p.name for p in parts], axis=axis), *x.dims[:-1], sum(p.dims[-1] for p in parts))

    def stack(self) -> None:
        x = self.pick(lambda v: len(v.dims) == 1)
        others = [self.pick(lambda v: v.dims == x.dims) for _ in range(self.one_of(1, 3))]
        parts = [self.g.op("Unsqueeze", p.name, self.g.ints(1)) for p in (x, *others)]
        self.add(self.g.op("Concat", *parts, axis=1), len(parts), x.dims[0])

    def slice(self) -> None:
        x = self.pick(lambda v: v.dims[-1] not in ("L", 1))
        start = self.draw(st.integers(0, x.dims[-1] - 1))
        end = self.draw(st.integers(start + 1, x.dims[-1]))
        bounds = [self.g.ints(b) for b in (start, self.one_of(end, end if end < x.dims[-1] else 2**40), -1)]
        self.add(self.g.op("Slice", x.name, *bounds), *x.dims[:-1], end - start)

    def split(self) -> None:
        x = self.pick(lambda v: v.dims[-1] != "L" and v.dims[-1] % 2 == 0)
        left, right = self.g.op("Split", x.name, outputs=2, axis=len(x.dims), num_outputs=2)
        self.add(left, *x.dims[:-1], x.dims[-1] // 2)
        self.add(right, *x.dims[:-1], x.dims[-1] // 2)

    def fold(self) -> None:
        x = self.pick(lambda v: len(v.dims) == 2 and "L" not in v.dims) if any(
            len(v.dims) == 2 and "L" not in v.dims for v in self.values
        ) else None  # fmt: skip
        if x is not None:
            width = x.dims[0] * x.dims[1]
            flat = (
                self.g.op("Flatten", x.name)
                if self.draw(st.booleans())
                else self.g.op("Reshape", x.name, self.g.ints(-1, width))
            )
            self.add(flat, width)

    def unfold(self) -> None:
        x = self.pick(lambda v: len(v.dims) == 1 and v.dims[0] % 2 == 0)
        first = self.one_of(0, -1)
        self.add(self.g.op("Reshape", x.name, self.g.ints(first, x.dims[0] // 2, 2)), x.dims[0] // 2, 2)

    def repeat(self) -> None:
        x = self.pick(lambda v: len(v.dims) == 1)
        tall = self.g.op("Unsqueeze", x.name, self.g.ints(1))
        if self.draw(st.booleans()):
            self.add(self.g.op("Tile", tall, self.g.ints(1, 3, 1)), 3, x.dims[0])
        else:
            shape = self.g.op("Shape", "hist", start=0, end=2)
            self.add(self.g.op("Expand", tall, self.g.op("Concat", shape, self.g.ints(1), axis=0)), "L", x.dims[0])

    def reduce(self) -> None:
        x = self.pick(lambda v: len(v.dims) == 2)
        op, keep, axis = (
            self.one_of("ReduceSum", "ReduceMax", "ReduceMean", "ReduceMin"),
            self.one_of(0, 1),
            self.one_of(1, 2),
        )
        dims = [1 if i == axis - 1 else d for i, d in enumerate(x.dims)]
        if not keep:
            dims.pop(axis - 1)
        if dims == ["L"]:
            return
        self.add(self.g.op(op, x.name, self.g.ints(axis), keepdims=keep), *dims)

    def softmax(self) -> None:
        x = self.pick()
        self.add(self.g.op("Softmax", x.name, axis=self.one_of(-1, 1)), *x.dims)

    def norm(self) -> None:
        x = self.pick(lambda v: v.dims[-1] != "L")
        width = x.dims[-1]
        if len(x.dims) == 1 and self.draw(st.booleans()):
            spread = self.g.constant(self.g.rng.uniform(0.5, 2, width).astype("float32"))
            weights = [self.g.weight(width), self.g.weight(width), self.g.weight(width), spread]
            self.add(self.g.op("BatchNormalization", x.name, *weights), *x.dims)
        else:
            self.add(self.g.op("LayerNormalization", x.name, self.g.weight(width), epsilon=0.1), *x.dims)

    def attend(self) -> None:
        x = self.pick(lambda v: len(v.dims) == 2 and v.dims[-1] == 4)
        q = self.pick(lambda v: len(v.dims) == 2 and v.dims[-1] == 4 and v.dims[0] != "L")
        scores = self.g.op("MatMul", q.name, self.g.op("Transpose", x.name, perm=[0, 2, 1]))
        weights = self.g.op("Softmax", scores, axis=-1)
        self.add(self.g.op("MatMul", weights, x.name), q.dims[0], 4)

    def merge(self) -> None:
        """As tf2onnx writes a dense layer on a sequence: [N, L, d] → [N·L, d] → product → [N, L, h]."""
        x = self.pick(lambda v: len(v.dims) == 2 and v.dims[-1] != "L")
        flat = self.g.op("Reshape", x.name, self.g.ints(-1, x.dims[-1]))
        product = self.g.op("MatMul", flat, self.g.weight(x.dims[-1], 2))
        shape = self.g.op("Concat", self.g.op("Shape", x.name, start=0, end=2), self.g.ints(2), axis=0)
        self.add(self.g.op("Reshape", product, shape), x.dims[0], 2)

    def swap(self) -> None:
        """Rows leave axis 0 and come back."""
        x = self.pick(lambda v: len(v.dims) == 2)
        swapped = self.g.op("Tanh", self.g.op("Transpose", x.name, perm=[1, 0, 2]))
        self.add(self.g.op("Transpose", swapped, perm=[1, 0, 2]), *x.dims)

    def like(self) -> None:
        """A constant in the shape of a value."""
        x, y = self.pick(lambda v: len(v.dims) == 1), self.pick(lambda v: len(v.dims) == 1)
        full = self.g.op("ConstantOfShape", self.g.op("Shape", x.name))
        self.add(self.g.op("Concat", full, y.name, axis=1), x.dims[0] + y.dims[0])

    def unknown(self) -> None:
        """An op without a rule."""
        x = self.pick()
        self.add(self.g.op("Einsum", x.name, equation="...d->...d"), *x.dims)

    def choose(self) -> None:
        x = self.pick(lambda v: v.dims[-1] != "L")
        index = self.draw(st.lists(st.integers(0, x.dims[-1] - 1), min_size=1, max_size=5))
        chosen = self.g.op("Gather", x.name, self.g.ints(*index), axis=len(x.dims))
        self.add(chosen, *x.dims[:-1], len(index))

    def pairs(self) -> None:
        """All products of the rows of a matrix."""
        x = self.pick(lambda v: len(v.dims) == 2 and "L" not in v.dims)
        turned = self.g.op("Transpose", x.name, perm=[0, 2, 1])
        self.add(self.g.op("MatMul", x.name, turned), x.dims[0], x.dims[0])

    def einsum(self) -> None:
        x = self.pick(lambda v: len(v.dims) == 1)
        experts = self.g.op("Einsum", x.name, self.g.weight(2, x.dims[0], 3), equation="nd,edh->neh")
        self.add(experts, 2, 3)

    def experts(self) -> None:
        x = self.pick(lambda v: len(v.dims) == 1)
        stacked = self.g.op("MatMul", x.name, self.g.weight(2, x.dims[0], 3))
        self.add(self.g.op("Transpose", stacked, perm=[1, 0, 2]), 2, 3)

    def prolong(self) -> None:
        """A row behind a sequence, and the last row of what follows."""
        x = self.pick(lambda v: len(v.dims) == 1 and v.dims[0] == 4)
        joined = self.g.op("Concat", "hist", self.g.op("Unsqueeze", x.name, self.g.ints(1)), axis=1)
        keys = self.g.op("Transpose", self.g.op("MatMul", joined, self.g.weight(4, 4)), perm=[0, 2, 1])
        scores = self.g.op("MatMul", self.g.op("Unsqueeze", x.name, self.g.ints(1)), keys)
        mixed = self.g.op("MatMul", self.g.op("Softmax", scores, axis=-1), joined)
        self.add(mixed, 1, 4)
        self.add(self.g.op("Gather", self.g.op("Relu", joined), self.g.constant(-1, "int64"), axis=1), 4)

    def flatten_last(self) -> None:
        """Columns of several values, one by one."""
        x = self.pick(lambda v: len(v.dims) == 1)
        y = self.pick(lambda v: v.dims == x.dims)
        columns = [self.g.op("Unsqueeze", v.name, self.g.ints(2)) for v in (x, y)]
        flat = self.g.op("Reshape", self.g.op("Concat", *columns, axis=2), self.g.ints(-1, 2 * x.dims[0]))
        self.add(flat, 2 * x.dims[0])

    def crowd(self) -> None:
        """A value that depends on all candidates of a request."""
        if self.draw(st.integers(0, 3)):
            return
        x = self.pick()
        mean = self.g.op("ReduceMean", x.name, self.g.ints(0), keepdims=1)
        self.add(self.g.op("Sub", x.name, mean), *x.dims)


@st.composite
def graphs(draw: Any, sketch: Any) -> Any:
    artist = Artist(sketch(draw(st.integers(0, 2**16))), draw)
    for _ in range(draw(st.integers(3, 14))):
        artist.step()
    for name, value in (("ctr", artist.values[-1]), ("cvr", artist.pick())):
        artist.g.output(value.name, name, value.dims)
    return artist.g


@given(data=st.data(), steps=st.integers(1, 5), rows=st.integers(1, 6))
def test_a_split_network_equals_the_flat_one_on_drawn_graphs(
    data: Any, steps: int, rows: int, sketch: Any, prove: Any
) -> None:
    drawn = data.draw(graphs(sketch))
    prove(drawn.network(), drawn.rates, steps=steps, rows=rows, items=3)


@pytest.mark.slow
@settings(max_examples=1000)
@given(data=st.data(), steps=st.integers(1, 5), rows=st.integers(1, 6))
def test_a_thousand_drawn_graphs_split_and_score_like_the_flat_ones(
    data: Any, steps: int, rows: int, sketch: Any, prove: Any
) -> None:
    drawn = data.draw(graphs(sketch))
    prove(drawn.network(), drawn.rates, steps=steps, rows=rows, items=3)


@given(data=st.data())
def test_cutting_alone_without_rewrites_equals_the_flat_network(data: Any, sketch: Any, prove: Any) -> None:
    drawn = data.draw(graphs(sketch))
    prove(drawn.network(), drawn.rates, passes=())


@given(data=st.data(), steps=st.integers(1, 5))
def test_any_choice_of_stored_values_scores_like_the_flat_network(
    data: Any, steps: int, sketch: Any, prove: Any
) -> None:
    drawn = data.draw(graphs(sketch))
    cheapest = ItemGraph.cheapest

    def random_frontier(graph: ItemGraph, *wishes: Any) -> Frontier | None:
        names = sorted(graph.tensors)
        kept = data.draw(st.lists(st.booleans(), min_size=len(names), max_size=len(names)))
        forbidden = frozenset(name for name, is_kept in zip(names, kept, strict=True) if not is_kept)
        return cheapest(graph, 0.0, forbidden) or cheapest(graph, *wishes)

    with patch.object(ItemGraph, "cheapest", random_frontier):
        prove(drawn.network(), drawn.rates, steps=steps, items=3)


@given(data=st.data(), steps=st.integers(2, 5))
def test_axes_and_rows_are_what_the_facts_say(data: Any, steps: int, sketch: Any, draw_feeds: Any) -> None:
    """Row-wise values of a shuffled request are the shuffled values."""
    drawn = data.draw(graphs(sketch))
    network = drawn.network()
    model = canonical(network)
    facts = learn(model, drawn.rates)
    known = [v for node in model.graph for v in node.outputs if not facts[v].is_opaque]
    model.graph.outputs.extend(v for v in known if not v.is_graph_output())
    session = Session(ir.to_proto(model).SerializeToString())
    items, once, own, index = draw_feeds(network, drawn.rates, steps=steps, rows=7)
    feeds = {k: v[index] for k, v in items.items()} | own
    feeds |= {k: np.random.default_rng(1).normal(size=(7, *v.shape[1:])).astype(v.dtype) for k, v in once.items()}
    order = np.array([3, 1, 6, 2])
    full, part = session.run(feeds), session.run({k: v[order] for k, v in feeds.items()})
    sizes = {"N": 7, "L@request": steps}
    for value in known:
        fact, result = facts[value], full[str(value.name)]
        assert fact.dims is not None
        assert len(fact.dims) == result.ndim
        for dim, actual in zip(fact.dims, result.shape, strict=True):
            if all(name in sizes for name in dim.names):
                assert dim.factor * math.prod(sizes[name] for name in dim.names) == actual
        if fact.row is not None:
            blocks = np.stack(np.split(result, 7, axis=fact.row))[order]
            expected = np.concatenate(blocks, axis=fact.row)
            np.testing.assert_allclose(part[str(value.name)], expected, rtol=1e-4, atol=1e-4)
