"""Tables inside a network become tables of their own, and the network takes rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto

from recserve.errors import ConfigError
from recserve.network.embedded_tables import lift_tables
from recserve.network.model import Network
from recserve.network.session import Session
from recserve.rates import Rate

USER, ITEM = Rate.REQUEST, Rate.ITEM
INT64 = TensorProto.INT64


def pooled_model(g: Any) -> Network:
    """A user of one column, an item, a history of items that shares the item's table, and a linear part."""
    user, item = g.input("user", USER, 1, dtype=INT64), g.input("item", ITEM, dtype=INT64)
    hist = g.input("hist", USER, "L", dtype=INT64)
    items, users = g.weight(9, 4), g.weight(6, 3)
    linear = g.weight(9, 1)
    u = g.op("Reshape", g.op("Gather", users, user, axis=0), g.ints(-1, 3))
    i = g.op("Gather", items, g.op("Cast", item, to=TensorProto.INT32), axis=0)
    steps = g.op("Gather", items, g.op("Reshape", hist, g.ints(-1)), axis=0)
    shape = g.op("Concat", g.op("Shape", hist), g.ints(4), axis=0)
    h = g.op("ReduceMean", g.op("Reshape", steps, shape), g.ints(1), keepdims=0)
    deep = g.linear(g.op("Concat", u, i, h, axis=1), 11, 1)
    g.output(g.op("Add", deep, g.op("Gather", linear, item, axis=0)))
    done: Network = g.network()
    return done


TABLES = {"user": "user_emb", "item": "item_emb", "hist": "item_emb"}


def test_lookups_become_inputs_of_rows_and_shared_tables_stay_one(sketch: Any) -> None:
    lifted = lift_tables(pooled_model(sketch()), TABLES)
    assert {n: (s.dtype, s.dims) for n, s in lifted.network.inputs.items()} == {
        "user": ("float32", ("N", 3)),
        "item": ("float32", ("N", 5)),
        "hist": ("float32", ("N", "L", 5)),
    }
    assert {name: rows.shape for name, rows in lifted.tables.items()} == {"user_emb": (6, 3), "item_emb": (9, 5)}
    assert all("Gather" not in n.op_type for n in onnx.load_model_from_string(lifted.network.to_bytes()).graph.node)
    assert lifted.network.outputs["ctr"].dims == ("N", 1)


@given(st.integers(0, 2**31), st.integers(1, 5), st.integers(1, 4))
def test_the_network_of_rows_answers_as_the_network_of_ids(sketch: Any, seed: int, rows: int, steps: int) -> None:
    network = pooled_model(sketch())
    lifted = lift_tables(network, TABLES)
    rng = np.random.default_rng(seed)
    ids = {"user": rng.integers(0, 6, (rows, 1)), "item": rng.integers(0, 9, rows)}
    ids["hist"] = rng.integers(0, 9, (rows, steps))
    taken = {name: lifted.tables[TABLES[name]][values] for name, values in ids.items()}
    taken["user"] = taken["user"][:, 0]
    want = Session(network.to_bytes()).run(ids)["ctr"]
    np.testing.assert_allclose(Session(lifted.network.to_bytes()).run(taken)["ctr"], want, rtol=1e-6, atol=1e-6)


def test_other_inputs_stay_as_they_are(sketch: Any) -> None:
    network = pooled_model(sketch())
    assert lift_tables(network, {}).network is network
    lifted = lift_tables(network, {"user": "user_emb", "nobody": "x"})
    assert lifted.network.inputs["item"].dtype == "int64"
    assert lifted.network.inputs["user"].dtype == "float32"


@pytest.mark.parametrize("view", ["Squeeze", "Unsqueeze"])
def test_views_of_ids_are_views_of_rows(view: str, sketch: Any) -> None:
    g = sketch()
    item = g.input("item", ITEM, 1, dtype=INT64)
    seen = g.op("Squeeze", item, g.ints(1)) if view == "Squeeze" else g.op("Unsqueeze", item, g.ints(-1))
    rows = g.op("Gather", g.weight(5, 3), seen, axis=0)
    g.output(g.op("Reshape", rows, g.ints(-1, 3)), dims=(3,))
    lifted = lift_tables(g.network(), {"item": "item_emb"})
    assert lifted.network.inputs["item"].dims == ("N", 3)


def masked(g: Any) -> None:
    hist = g.input("hist", USER, "L", dtype=INT64)
    mask = g.op("Cast", g.op("Greater", hist, g.constant(0, np.int64)), to=TensorProto.FLOAT)
    rows = g.op("Mul", g.op("Gather", g.weight(5, 3), hist, axis=0), g.op("Unsqueeze", mask, g.ints(2)))
    g.output(g.op("ReduceSum", rows, g.ints(1), keepdims=0), dims=(3,))


def computed(g: Any) -> None:
    table = g.op("Add", g.weight(5, 3), g.op("ReduceSum", g.input("price", ITEM, 1), keepdims=0))
    g.output(g.op("Gather", table, g.input("hist", ITEM, dtype=INT64), axis=0), dims=(3,))


def flat_table(g: Any) -> None:
    g.output(g.op("Gather", g.weight(5), g.input("hist", ITEM, dtype=INT64), axis=0), dims=())


def unused(g: Any) -> None:
    g.input("hist", ITEM, dtype=INT64)
    g.output(g.linear(g.input("price", ITEM, 1), 1, 1))


def unequal(g: Any) -> None:
    left = g.op("Gather", g.weight(5, 3), g.input("hist", ITEM, dtype=INT64), axis=0)
    g.output(g.op("Add", left, g.op("Gather", g.weight(6, 3), "hist", axis=0)), dims=(3,))


@pytest.mark.parametrize(
    ("write", "text"),
    [
        (masked, "its ids are read by Greater"),
        (computed, "is computed, not a weight"),
        (flat_table, r"is float\[5\], expected float32\[rows, width\]"),
        (unused, "holds ids but addresses no table"),
        (unequal, "tables of 5 and of 6 rows for 'item_emb'"),
    ],
)
def test_what_cannot_be_lifted_is_told(write: Any, text: str, sketch: Any) -> None:
    g = sketch()
    write(g)
    with pytest.raises(ConfigError, match=text) as caught:
        lift_tables(g.network(), {"hist": "item_emb"})
    assert caught.value.code == "embedded_table"


def test_a_wrong_lift_is_caught(sketch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recserve.network.embedded_tables._Table.columns", lambda _table, _place: (1, 5))
    g = sketch()
    item = g.input("item", ITEM, dtype=INT64)
    pair = [g.op("Gather", g.weight(5, 4), item, axis=0), g.op("Gather", g.weight(5, 4), item, axis=0)]
    g.output(g.op("Sub", *pair), dims=(4,))
    with pytest.raises(ConfigError, match="changes where the tables are lifted out"):
        lift_tables(g.network(), {"item": "item_emb"})
