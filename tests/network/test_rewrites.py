"""Each rewrite fires where it should, keeps the scores, and is caught when it is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from recserve.bundle import Bundle
from recserve.errors import ConfigError
from recserve.features.feature_set import FeatureSet
from recserve.network.draft import Draft
from recserve.network.rewrites import PASSES, Rewrite
from recserve.network.split import split_network
from recserve.rates import Rate

USER, ITEM = Rate.REQUEST, Rate.ITEM
NAMES = [p.__name__ for p in PASSES]


def both(g: Any, axis: int = 1) -> str:
    value: str = g.op("Concat", g.input("user", USER, 4), g.input("item", ITEM, 6), axis=axis)
    return value


def fields(g: Any) -> str:
    parts = [g.input("u", USER, 1, 4), g.input("i", ITEM, 2, 4), g.input("v", USER, 1, 4)]
    value: str = g.op("Concat", *parts, axis=1)
    return value


def sequence(g: Any) -> tuple[str, str]:
    return g.input("hist", USER, "L", 4), g.op("Unsqueeze", g.input("item", ITEM, 4), g.ints(1))


def spread(g: Any, x: str) -> str:
    shape = g.op("Concat", g.ints(1), g.op("Shape", "hist", start=1, end=2), g.ints(1), axis=0)
    value: str = g.op("Expand", x, shape)
    return value


def norm(g: Any, x: str, width: int) -> str:
    spread_of = g.constant(g.rng.uniform(0.5, 2, width).astype(np.float32))
    value: str = g.op("BatchNormalization", x, g.weight(width), g.weight(width), g.weight(width), spread_of)
    return value


def total(g: Any, x: str) -> str:
    value: str = g.op("ReduceSum", x, g.ints(1), keepdims=0)
    return value


def gemm(g: Any) -> None:
    g.output(g.op("Gemm", both(g), g.weight(3, 10), g.weight(3), transB=1, alpha=0.5, beta=2.0), dims=(3,))


def batch_norm(g: Any) -> None:
    g.output(norm(g, both(g), 10), dims=(10,))


def many_sum(g: Any) -> None:
    g.output(g.op("Sum", g.input("user", USER, 4), g.input("item", ITEM, 4), g.input("other", ITEM, 4)), dims=(4,))


def tile(g: Any) -> None:
    hist = g.input("hist", USER, 3, 4)
    tiled = g.op("Tile", g.op("Unsqueeze", g.input("item", ITEM, 4), g.ints(1)), g.ints(1, 3, 1))
    g.output(g.op("Mul", tiled, hist), dims=(3, 4))


def squeeze(g: Any) -> None:
    g.output(g.op("Squeeze", g.linear(both(g), 10, 1)), dims=())


def scale(g: Any) -> None:
    g.output(g.op("Mul", g.weight(3), g.linear(both(g), 10, 3)), dims=(3,))


def merged(g: Any) -> None:
    hist, item = sequence(g)
    pairs = g.op("Concat", spread(g, item), hist, axis=2)
    hidden = g.op(
        "Relu", g.op("Add", g.op("MatMul", g.op("Reshape", pairs, g.ints(-1, 8)), g.weight(8, 3)), g.weight(3))
    )
    shape = g.op("Concat", g.op("Shape", hist, start=0, end=2), g.ints(3), axis=0)
    g.output(total(g, g.op("Reshape", hidden, shape)), dims=(3,))


def nested(g: Any) -> None:
    outer = g.op("Concat", both(g), g.input("more", USER, 2), axis=1)
    g.output(g.linear(outer, 12, 3), dims=(3,))


def split(g: Any) -> None:
    left, right = g.op("Split", both(g), g.ints(5, 5), outputs=2, axis=1)
    g.output(g.op("Mul", left, g.op("Exp", right)), dims=(5,))


def gather(g: Any) -> None:
    g.output(g.op("Gather", both(g), g.constant(5, np.int64), axis=1), dims=())


def elementwise(g: Any) -> None:
    g.output(g.linear(g.op("Mul", g.op("Relu", both(g)), g.weight(10)), 10, 3), dims=(3,))


def reduction(g: Any) -> None:
    g.output(g.op("ReduceMean", fields(g), g.ints(1), keepdims=0), dims=(4,))


def expanded(g: Any) -> None:
    _, item = sequence(g)
    g.output(g.op("Exp", g.op("MatMul", spread(g, g.op("Relu", item)), g.weight(4, 3))), dims=("L", 3))


def broadcasting(g: Any) -> None:
    hist, item = sequence(g)
    g.output(total(g, g.op("Max", spread(g, item), hist)), dims=(4,))


def dot(g: Any) -> None:
    g.output(total(g, g.op("Mul", g.input("user", USER, 4), g.input("item", ITEM, 4))), dims=())


def column(g: Any) -> None:
    hist = g.input("hist", USER, "L", 4)
    g.output(g.op("MatMul", hist, g.op("Unsqueeze", g.input("item", ITEM, 4), g.ints(2))), dims=("L", 1))


def neighbours(g: Any) -> None:
    parts = [g.input("u", USER, 2), g.input("v", USER, 3), g.input("i", ITEM, 2), g.input("j", ITEM, 1)]
    g.output(g.op("Softmax", g.op("Concat", *parts, axis=1), axis=1), dims=(8,))


def sums(g: Any) -> None:
    u, i = (g.input("u", USER, 4), g.input("v", USER, 4)), (g.input("i", ITEM, 4), g.input("j", ITEM, 4))
    g.output(g.op("Add", g.op("Sub", u[0], i[0]), g.op("Sub", g.op("Add", i[1], g.weight(4)), u[1])), dims=(4,))


def products(g: Any) -> None:
    u, i = (g.input("u", USER, 4), g.input("v", USER, 4)), (g.input("i", ITEM, 4), g.input("j", ITEM, 4))
    g.output(g.op("Mul", g.op("Mul", u[0], i[0]), g.op("Mul", i[1], u[1])), dims=(4,))


def stack(g: Any, axis: int = 1) -> str:
    parts = [g.input("u", USER, 4), g.input("i", ITEM, 4), g.input("v", USER, 4), g.input("j", ITEM, 4)]
    value: str = g.op("Concat", *[g.op("Unsqueeze", p, g.ints(axis)) for p in parts], axis=axis)
    return value


def gram(g: Any) -> str:
    v = stack(g)
    value: str = g.op("MatMul", v, g.op("Transpose", v, perm=[0, 2, 1]))
    return value


def einsum(g: Any) -> None:
    g.output(g.op("Relu", g.op("Einsum", both(g), g.weight(3, 10, 2), equation="nd,edh->neh")), dims=(3, 2))


def gather_nd(g: Any) -> None:
    turned = g.op("Transpose", gram(g), perm=[1, 2, 0])
    pairs = g.constant([[1, 0], [2, 0], [2, 1], [3, 0], [3, 1], [3, 2]], np.int64)
    chosen = g.op("Transpose", g.op("GatherND", turned, pairs), perm=[1, 0])
    g.output(g.linear(chosen, 6, 3), dims=(3,))


def weight_on_the_left(g: Any) -> None:
    column = g.op("Unsqueeze", both(g), g.ints(2))
    g.output(g.op("MatMul", g.weight(3, 10), column), dims=(3, 1))


def stacked_weights(g: Any) -> None:
    experts = g.op("MatMul", both(g), g.weight(3, 10, 2))
    g.output(g.op("Transpose", g.op("Relu", experts), perm=[1, 0, 2]), dims=(3, 2))


def outer(g: Any) -> None:
    user, item = g.input("user", USER, 4, 1), g.input("item", ITEM, 1, 3)
    g.output(g.op("MatMul", user, item), dims=(4, 3))


def weighted_pairs(g: Any) -> None:
    weighted = g.op("Mul", gram(g), g.weight(4, 4))
    g.output(g.op("ReduceSum", weighted, g.ints(1, 2), keepdims=0), dims=())


def tiled(g: Any) -> None:
    hist = g.input("hist", USER, "L", 4)
    count = g.op("Shape", hist, start=1, end=2)
    wide = g.op("Tile", g.input("item", ITEM, 4), g.op("Concat", g.ints(1), count, axis=0))
    rows = g.op("Reshape", wide, g.op("Concat", g.ints(-1), count, g.ints(4), axis=0))
    g.output(total(g, g.op("Tanh", g.op("Sub", rows, hist))), dims=(4,))


def channels(g: Any) -> None:
    hist, item = sequence(g)
    pairs = g.op("Concat", spread(g, item), hist, axis=2)
    normed = norm(g, g.op("Transpose", pairs, perm=[0, 2, 1]), 8)
    back = g.op("Transpose", normed, perm=[0, 2, 1])
    g.output(total(g, g.op("Relu", g.op("MatMul", back, g.weight(8, 3)))), dims=(3,))


def views(g: Any) -> None:
    wide = g.op("Unsqueeze", both(g), g.ints(2))
    g.output(g.linear(g.op("Flatten", wide), 10, 3), dims=(3,))


def choices(g: Any) -> None:
    once = g.op("Gather", both(g), g.constant([7, 1, 8, 2, 3], np.int64), axis=1)
    again = g.op("Gather", g.op("Relu", once), g.constant([4, 0, 2, 2], np.int64), axis=1)
    g.output(g.linear(again, 4, 3), dims=(3,))


def chosen_twice(g: Any) -> None:
    once = g.op("Gather", both(g), g.constant([7, 1, 8, 2, 3], np.int64), axis=1)
    g.output(g.linear(g.op("Gather", once, g.constant([4, 0, 2, 2], np.int64), axis=1), 4, 3), dims=(3,))


def reshaped_twice(g: Any) -> None:
    pairs = g.op("Softmax", g.op("Unsqueeze", both(g), g.ints(2)), axis=1)
    twice = g.op("Reshape", g.op("Squeeze", pairs), g.ints(-1, 2, 5))
    g.output(g.op("Softmax", twice, axis=2), dims=(2, 5))


def merged_rows(g: Any) -> None:
    steps = g.op("Transpose", g.op("Relu", both(g, axis=1)), perm=(1, 0))
    wide = g.op("Mul", g.op("Unsqueeze", steps, g.ints(2)), g.weight(10, 1, 4))
    rows = g.op(
        "Reshape", wide, g.op("Concat", g.op("Mul", g.op("Shape", "user", end=1), g.ints(10)), g.ints(4), axis=0)
    )
    shape = g.op("Concat", g.ints(10), g.op("Shape", "user", end=1), g.ints(3), axis=0)
    apart = g.op("Reshape", g.op("Sigmoid", g.linear(rows, 4, 3)), shape)
    g.output(g.op("Transpose", apart, perm=(1, 0, 2)), dims=(10, 3))


def listed_products(g: Any) -> None:
    v = stack(g)
    left, right = (g.op("Gather", v, g.constant(p, np.int64), axis=1) for p in ([0, 0, 2, 1], [1, 2, 3, 3]))
    width = 4
    turned = g.op("Squeeze", g.op("MatMul", g.op("Unsqueeze", left, g.ints(2)), g.weight(4, width, width)), g.ints(2))
    g.output(g.linear(g.op("Flatten", g.op("Mul", turned, right)), 4 * width, 3), dims=(3,))


def first_row(g: Any) -> None:
    user, item = g.input("user", USER, 4), g.input("item", ITEM, 6)
    one = g.op("Relu", g.linear(g.op("Slice", user, g.ints(0), g.ints(1), g.ints(0)), 4, 6))
    wide = g.op("Expand", one, g.op("Shape", item))
    score = g.op("MatMul", item, g.op("Transpose", one, perm=(1, 0)))
    g.output(g.op("Add", g.op("Mul", g.op("Tanh", g.op("Mul", item, one)), wide), score), dims=(6,))


def retrieved(g: Any) -> None:
    hist, item = g.input("hist", USER, 6, 4), g.input("item", ITEM, 4)
    scores = g.op("Squeeze", g.op("MatMul", hist, g.op("Unsqueeze", item, g.ints(2))), g.ints(2))
    _, index = g.op("TopK", scores, g.ints(2), outputs=2, axis=1)
    wide = g.op("Expand", g.op("Unsqueeze", index, g.ints(2)), g.ints(1, 1, 4))
    taken = g.op("GatherElements", hist, wide, axis=1)
    g.output(g.op("Relu", g.op("MatMul", taken, g.weight(4, 3))), dims=(2, 3))


def merged_choice(g: Any) -> None:
    turned = g.op("Transpose", g.op("Unsqueeze", both(g), g.ints(2)), perm=(1, 0, 2))
    taken = g.op("Gather", g.op("Flatten", g.op("Relu", g.op("Mul", turned, g.weight(10, 1, 3)))), g.ints(1, 8, 4))
    shape = g.op("Concat", g.ints(3), g.op("Shape", "user", end=1), g.ints(3), axis=0)
    g.output(g.op("Transpose", g.op("Reshape", taken, shape), perm=(1, 0, 2)), dims=(3, 3))


def listed_pairs(g: Any) -> None:
    v = stack(g)
    left, right = (g.op("Gather", v, g.constant(p, np.int64), axis=1) for p in ([0, 0, 0, 1, 1, 2], [1, 2, 3, 2, 3, 3]))
    sums = g.op("ReduceSum", g.op("Mul", left, right), g.ints(2), keepdims=0)
    g.output(g.linear(sums, 6, 1))


def interleaved(g: Any) -> None:
    flat = g.op("Reshape", stack(g, 2), g.ints(-1, 16))
    g.output(g.linear(flat, 16, 3), dims=(3,))


def joined_sequence(g: Any) -> None:
    """The item asks [history; item]; the keys and the values are the same."""
    hist, item = sequence(g)
    whole = g.op("Concat", hist, item, axis=1)
    keys = g.op("MatMul", whole, g.weight(4, 3))
    values = g.op("MatMul", whole, g.weight(4, 5))
    scores = g.op("MatMul", g.op("MatMul", item, g.weight(4, 3)), g.op("Transpose", keys, perm=[0, 2, 1]))
    g.output(total(g, g.op("MatMul", g.op("Softmax", scores, axis=-1), values)), dims=(5,))


def repeated_by_ones(g: Any) -> None:
    hist, item = sequence(g)
    ones = g.op("ConstantOfShape", g.op("Concat", g.op("Shape", hist, start=0, end=2), g.ints(1), axis=0),
                value=numpy_helper.from_array(np.ones(1, np.float32)))  # fmt: skip
    pairs = g.op("Concat", g.op("Mul", item, ones), hist, axis=2)
    g.output(total(g, g.op("Relu", g.op("MatMul", pairs, g.weight(8, 3)))), dims=(3,))


def last_row(g: Any) -> None:
    """Of a layer over [history; item] the item's row is read."""
    whole = g.op("Concat", *sequence(g), axis=1)
    hidden = g.op("Softmax", g.op("MatMul", whole, g.weight(4, 3)), axis=-1)
    g.output(g.op("Gather", hidden, g.constant(-1, np.int64), axis=1), dims=(3,))


def causal(g: Any) -> None:
    """Attention over [history; item] in which no row sees a later one; all rows are read."""
    whole = g.op("Concat", g.input("hist", USER, 3, 4), g.input("item", ITEM, 1, 4), axis=1)
    q, k, v = (g.op("MatMul", whole, g.weight(4, 3)) for _ in range(3))
    scores = g.op("MatMul", q, g.op("Transpose", k, perm=[0, 2, 1]))
    later = g.constant(np.triu(np.ones((4, 4)), 1), bool)
    seen = g.op("Where", later, g.constant(-np.inf, np.float32), scores)
    g.output(total(g, g.op("MatMul", g.op("Softmax", seen, axis=-1), v)), dims=(3,))


def hidden(g: Any) -> None:
    x = g.op("Mul", g.input("user", USER, 4), g.input("item", ITEM, 4))
    filled = g.op("Where", g.constant(np.ones(4), bool), g.constant(2, np.float32), x)
    zeros = g.constant(np.zeros(4), np.float32)
    some = g.op("Add", g.op("Add", g.op("Relu", x), zeros), g.op("Mul", g.op("Exp", x), zeros))
    g.output(g.op("Mul", some, filled), dims=(4,))


GRAPHS: dict[str, Callable[[Any], None]] = {
    "spell_out_gemm": gemm,
    "spell_out_batch_norm": batch_norm,
    "spell_out_sum": many_sum,
    "spell_out_tile": tile,
    "spell_out_squeeze": squeeze,
    "fold_scale": scale,
    "lift_merging_reshapes": merged,
    "take_rows_apart": merged_rows,
    "spread_first_row": first_row,
    "project_before_retrieval": retrieved,
    "gather_before_merge": merged_choice,
    "group_choices": listed_products,
    "join_reshapes": reshaped_twice,
    "flatten_concats": nested,
    "split_to_slices": split,
    "gather_to_slice": gather,
    "push_into_concats": elementwise,
    "split_reductions": reduction,
    "split_affine": gemm,
    "push_through_expands": expanded,
    "drop_expands": broadcasting,
    "sums_of_products": dot,
    "request_on_the_right": column,
    "group_pieces": neighbours,
    "regroup_sums": sums,
    "regroup_products": products,
    "spell_out_einsum": einsum,
    "spell_out_gather_nd": gather_nd,
    "weights_on_the_right": weight_on_the_left,
    "join_stacked_weights": stacked_weights,
    "unit_products": outer,
    "weighted_sums": weighted_pairs,
    "repeat_by_tile": tiled,
    "join_transposes": channels,
    "lift_transposes": channels,
    "drop_views": views,
    "join_selections": chosen_twice,
    "lift_selections": choices,
    "pairs_as_product": listed_pairs,
    "split_pair_products": weighted_pairs,
    "flatten_by_piece": interleaved,
    "select_from_pieces": choices,
    "expand_last": repeated_by_ones,
    "split_products": joined_sequence,
    "split_contractions": joined_sequence,
    "pick_early": last_row,
    "softmax_by_rows": causal,
    "fill_masked": hidden,
}


def off_by_one_percent(draft: Draft, new: ir.Value, node: ir.Node) -> ir.Value:
    return draft.emit("Mul", [new, draft.constant(np.asarray(1.01, np.float32))], node)


def wrong_sign(draft: Draft, new: ir.Value, node: ir.Node) -> ir.Value:
    """And half the size, so that two of them do not cancel."""
    return draft.emit("Mul", [new, draft.constant(np.asarray(-0.5, np.float32))], node)


def dropped(draft: Draft, new: ir.Value, node: ir.Node) -> ir.Value:
    """The last element of the last axis is lost."""
    size = draft.dims(new)[-1]
    keep = np.ones(size.factor if size.is_static else 1, np.float32)
    keep[-1] = 0
    return draft.emit("Mul", [new, draft.constant(keep)], node)


def once_for_all(draft: Draft, new: ir.Value, node: ir.Node) -> ir.Value:
    """Computed for the first row only, as if the value had request rate."""
    row = draft.fact(new).row
    bounds = [draft.axis_constant([x]) for x in (0, 1, row or 0)]
    first = draft.emit("Slice", [new, *bounds], node)
    return draft.emit("Expand", [first, draft.emit("Shape", [new], node)], node)


MUTATIONS = (off_by_one_percent, wrong_sign, dropped, once_for_all)


def broken(rewrite: Rewrite, mutate: Callable[[Draft, ir.Value, ir.Node], ir.Value]) -> Rewrite:
    """The rewrite with each of its results mutated."""

    def apply(draft: Draft) -> None:
        good = draft.replace

        def replace(old: ir.Value, new: ir.Value, *note: str) -> None:
            node = new.producer()
            nodes = draft.nodes()
            after = next((n for n in nodes if any(v is old for v in n.outputs)), nodes[0])
            assert node is None or node in nodes
            is_opaque = draft.fact(new).is_opaque
            good(old, new if is_opaque else mutate(draft, new, after), *note)

        draft.replace = replace  # type: ignore[method-assign]
        try:
            rewrite(draft)
        finally:
            del draft.replace

    return apply


@pytest.mark.parametrize("name", NAMES)
def test_a_rewrite_fires_and_keeps_the_scores(name: str, sketch: Any, prove: Any) -> None:
    g = sketch()
    GRAPHS[name](g)
    done = prove(g.network(), g.rates)
    assert name in {change.rewrite for change in done.report.changes}


@pytest.mark.parametrize("mutate", MUTATIONS)
@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_rewrite_is_caught(
    name: str, mutate: Callable[[Draft, ir.Value, ir.Node], ir.Value], sketch: Any, prove: Any
) -> None:
    g = sketch()
    GRAPHS[name](g)
    passes = [broken(p, mutate) if p.__name__ == name else p for p in PASSES]
    with pytest.raises(AssertionError):
        prove(g.network(), g.rates, passes)


def test_every_pass_has_a_graph_where_it_fires() -> None:
    assert sorted(GRAPHS) == sorted(NAMES)
    assert len(set(NAMES)) == len(NAMES)


def test_the_page_lists_every_pass_in_order() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "network_rewrites.md").read_text()
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == NAMES


def test_a_bundle_with_a_wrong_rewrite_is_refused(sketch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    g = sketch()
    g.output(g.linear(g.op("Relu", g.linear(both(g), 10, 3)), 3, 1))
    (tmp_path / "network.onnx").write_bytes(g.network().to_bytes())
    sides = {"user": 4, "item": 6}
    features = FeatureSet.from_fg_json(
        {
            "features": [
                {"feature_type": "raw_feature", "feature_name": s, "expression": f"{s}:{s}_v", "value_dim": width}
                for s, width in sides.items()
            ]
        }
    )
    passes = [broken(p, wrong_sign) if p.__name__ == "split_affine" else p for p in PASSES]
    monkeypatch.setattr("recserve.bundle.split_network", partial(split_network, passes=passes))
    with pytest.raises(ConfigError, match="staged"):
        Bundle.build(features=features, tables={}, network=tmp_path / "network.onnx", out=tmp_path / "m" / "1")
    assert not (tmp_path / "m" / "1").exists()


def test_rewriting_ends(sketch: Any, prove: Any) -> None:
    g = sketch()
    merged(g)
    done = prove(g.network(), g.rates)
    assert len(done.report.changes) < 40
