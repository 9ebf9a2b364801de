"""Instructions of the ops that look things up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from recserve.scoring.cells import DType
from recserve.scoring.codegen import Context, Fields, bits, emits
from recserve.scoring.graph import Node
from recserve.scoring.kernels import layout as at
from recserve.scoring.ops_tables import dtype_of

_MOST_CODES: Final = 1 << 24


def _key_part(values: Sequence[Any], dtype: DType, context: Context) -> tuple[list[int], dict[float, int]]:
    """(is of codes, address, count) of one part of a key, and the place of each of its values."""
    encoded = sorted({context.encode(value) for value in values})
    places = {x: i for i, x in enumerate(encoded)}
    if dtype != "string":
        return [0, context.constants.array(np.array(encoded, np.float64)), len(encoded)], places
    count = int(max(encoded, default=-1.0)) + 1
    table = np.full(count, -1, np.int64)
    for x, place in places.items():
        table[int(x)] = place
    return [1, context.constants.array(table), count], places


def _lookup_fields(
    keys: Sequence[Sequence[Any]], values: Sequence[Any], default: Any, missing: Any, context: Context
) -> Fields | None:
    parts, all_places, factor = [], [], 1
    for i, dtype in enumerate(context.dtypes):
        if dtype == "object":
            return None
        part, places = _key_part([key[i] for key in keys], dtype, context)
        parts += [*part, factor]
        all_places.append(places)
        factor *= max(len(places), 1)
    if factor >= 1 << 53:  # combined keys are exact as float64
        return None
    found: dict[int, float] = {}
    for key, value in zip(keys, values, strict=True):
        place = 0
        for i, item in enumerate(key):
            place += all_places[i][context.encode(item)] * parts[4 * i + 3]
        found.setdefault(place, context.encode(value))
    ordered = sorted(found)
    results = np.array([found[place] for place in ordered], np.float64)
    combined = context.constants.array(np.array(ordered, np.float64)) if len(context.dtypes) > 1 else 0
    return {
        at.P0: context.constants.array(np.array(parts, np.int64)),
        at.P1: combined,
        at.P2: len(ordered) if combined else 0,
        at.P3: context.constants.array(results),
        at.P4: bits(context.encode(default)),
        at.P5: bits(context.encode(missing)),
    }


@emits("lookup")
def _lookup(node: Node, context: Context) -> tuple[str, Fields] | None:
    params = node.params
    fields = _lookup_fields(params["keys"], params["values"], params["default"], params["missing"], context)
    return None if fields is None else ("lookup", fields)


@emits("isin")
def _isin(node: Node, context: Context) -> tuple[str, Fields] | None:
    keys = [(value,) for value in node.params["values"] if value is not None and dtype_of(value) == context.dtypes[0]]
    fields = _lookup_fields(keys, [True] * len(keys), False, None, context)
    return None if fields is None else ("lookup", fields)


@emits("one_hot")
def _one_hot(node: Node, context: Context) -> tuple[str, Fields] | None:
    values = node.params["values"]
    if any(value is None or dtype_of(value) != context.dtypes[0] for value in values) or len(set(values)) < len(values):
        return None
    part, places = _key_part(values, context.dtypes[0], context)
    order = [places[context.encode(value)] for value in values]
    if part[0] == 0 and order != list(range(len(values))):
        return None  # numbers in no order: their places are not those of the results
    if part[0] == 1:
        table = np.full(part[2], -1, np.int64)
        for i, value in enumerate(values):
            table[int(context.encode(value))] = i
        part[1] = context.constants.array(table)
    return "one_hot", {at.P0: context.constants.array(np.array([*part, 1], np.int64))}


@emits("discretize")
def _discretize(node: Node, context: Context) -> tuple[str, Fields]:
    intervals, params = node.params["intervals"], node.params
    lows = [-math.inf if low is None else low for low, _, _, _ in intervals]
    highs = [math.inf if high is None else high for _, high, _, _ in intervals]
    closed = [
        int(low_closed or low is None) + 2 * int(high_closed or high is None)
        for low, high, low_closed, high_closed in intervals
    ]
    return "discretize", {
        at.P0: context.floats(lows),
        at.P1: context.floats(highs),
        at.P2: context.constants.array(np.array(closed, np.int64)),
        at.P3: len(intervals),
        at.P4: context.floats(params["values"]),
        at.P5: bits(context.encode(params["default"])),
    }


@emits("piecewise")
def _piecewise(node: Node, context: Context) -> tuple[str, Fields]:
    outside = ("extrapolate", "clamp", "missing").index(node.params["outside"])
    xs, ys = context.constants.array(node.params["xs"]), context.constants.array(node.params["ys"])
    return "piecewise", {at.P0: xs, at.P1: ys, at.P2: len(node.params["xs"]), at.P3: outside}


@emits("gather")
def _gather(node: Node, context: Context) -> tuple[str, Fields]:
    table = node.params["table"]
    return "gather", {at.P0: context.constants.array(table), at.P1: len(table)}


@emits("pick")
def _pick(node: Node, context: Context) -> tuple[str, Fields]:
    return "gather", {at.P0: context.floats(node.params["values"]), at.P1: len(node.params["values"])}
