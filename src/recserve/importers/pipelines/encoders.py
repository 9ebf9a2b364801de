"""Stages that turn categories into numbers and vectors, by the rules that Spark and MLeap share.

`handle` is what a stage does with a value that it does not know: `error` fails the row, `keep` gives it a place of its
own, and `skip`, which drops the row on the platform, fails it here, as a row without an answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from recserve.errors import ConfigError, suggest
from recserve.importers.pipelines.pieces import OneHot, Piece, Scalars
from recserve.importers.pipelines.vectors import Vector, look_up
from recserve.scoring.graph import Graph, Value

HANDLES = ("error", "keep", "skip")
_CROSS_LIMIT = 1 << 16


def check_handle(handle: str) -> str:
    """`handle`, once it is known to be one.

    Raises:
        ConfigError: "invalid_model" where it is none of `HANDLES`.
    """
    if handle not in HANDLES:
        raise ConfigError(
            f"handleInvalid is {handle!r}, none of {', '.join(HANDLES)}",
            code="invalid_model",
            hint=suggest(handle, HANDLES),
        )
    return handle


def refuse_missing(graph: Graph, value: Value, message: str) -> Value:
    """The value; the row fails where it is missing."""
    return graph.apply("fail", value, graph.apply("is_missing", value), message=message)


def index_strings(graph: Graph, text: Value, labels: Sequence[str], handle: str, column: str) -> Value:
    """The position of a text among `labels`; `keep` gives unknown and missing texts the position after the last."""
    pairs = [(label, float(i)) for i, label in enumerate(labels)]
    if check_handle(handle) == "keep":
        return look_up(graph, text, pairs, default=float(len(labels)), missing=float(len(labels)))
    found = look_up(graph, text, pairs, default=None)
    return refuse_missing(graph, found, f"column {column!r} has a value that the model has not seen")


def known_codes(graph: Graph, value: Value) -> tuple[float, ...] | None:
    """All numbers that a value can be, where it comes out of a table; None where that is not known."""
    node = graph.node_of(value.number)
    if node.op == "fail":
        return known_codes(graph, Value(graph, node.args[0], "number"))
    if node.op != "lookup" or node.params["dtype"] != "number":
        return None
    found = {*node.params["values"], node.params["default"], node.params["missing"]} - {None}
    return tuple(sorted(float(code) for code in found))


def one_hot(graph: Graph, index: Value, size: int, handle: str, *, drop_last: bool, column: str) -> Vector:
    """A vector with a 1 at the position `index`.

    Its length is `size`, plus one for unknown values where they are kept, less one where the last is dropped.

    Args:
        graph: of both.
        index: whole number from 0.
        size: number of categories.
        handle: `error` or `keep`, for an index that is `size` or more, or negative.
        drop_last: the last category, or that of unknown values, is all zeros.
        column: of the index, for messages.
    """
    keeps = check_handle(handle) == "keep"
    width = size + int(keeps) - int(drop_last)
    codes = known_codes(graph, index)
    in_range = codes is not None and all(code == int(code) and 0 <= code < size for code in codes)
    if codes is None or any(code != int(code) for code in codes):
        whole = graph.apply("is_integer", index)
        index = graph.apply(
            "fail", index, graph.apply("not", whole), message=f"column {column!r} is no whole number to encode"
        )
    if not in_range:
        inside = graph.apply("and", graph.apply("greater_equal", index, 0.0), graph.apply("less", index, float(size)))
        if keeps and (codes is None or not drop_last):
            index = graph.apply("select", inside, index, float(size))
        elif not keeps:
            outside = graph.apply("not", inside)
            index = graph.apply("fail", index, outside, message=f"column {column!r} has a category out of range")
    if not keeps:
        index = refuse_missing(graph, index, f"column {column!r} has no category to encode")
    keys = tuple(float(i) for i in range(width))
    return Vector(graph, [OneHot(index, keys, np.ones(width), np.zeros(width))])


def bucketize(graph: Graph, value: Value, splits: Sequence[float], handle: str, column: str) -> Value:
    """The number of the interval between `splits` that holds a value; the last one is closed on both sides.

    A value outside all intervals fails the row. `keep` gives NaN and missing values a bucket after the last.
    """
    keeps = check_handle(handle) == "keep"
    count = len(splits) - 1
    if count < 1 or any(not a < b for a, b in pairwise(splits)):
        raise ConfigError(f"splits {list(splits)!r} are not in ascending order", code="invalid_model")
    intervals = [
        (_end(splits[i]), _end(splits[i + 1]), True, i == count - 1 or math.isinf(splits[i + 1])) for i in range(count)
    ]
    known = graph.apply("nan_to_missing", value)
    bucket = graph.apply("discretize", known, intervals=intervals, values=[float(i) for i in range(count)])
    outside = graph.apply("and", graph.apply("is_missing", bucket), graph.apply("is_known", known))
    if not (math.isinf(splits[0]) and math.isinf(splits[-1])):
        bucket = graph.apply("fail", bucket, outside, message=f"column {column!r} is outside the buckets")
    if keeps:
        return graph.apply("replace_missing", bucket, float(count))
    return refuse_missing(graph, bucket, f"column {column!r} has no value to put into a bucket")


def _end(split: float) -> float | None:
    return None if math.isinf(split) else float(split)


def impute(graph: Graph, value: Value, surrogate: float, missing_value: float) -> Value:
    """`surrogate` for missing, for NaN, and for `missing_value`."""
    known = graph.apply("nan_to_missing", value)
    if not math.isnan(missing_value):
        known = graph.apply("mark_missing", known, graph.apply("equal", known, float(missing_value)))
    return graph.apply("replace_missing", known, float(surrogate))


def index_vector(vector: Vector, maps: Mapping[int, Mapping[float, int]], handle: str, column: str) -> Vector:
    """Each element of `maps` replaced by the number of its category; the other elements stay."""
    keeps = check_handle(handle) == "keep"
    graph = vector.graph
    pieces: list[Piece] = []
    start = 0
    for i in sorted(maps):
        if i > start:
            pieces += vector.slice(range(start, i)).pieces
        pairs = [(float(key), float(code)) for key, code in sorted(maps[i].items())]
        found = look_up(graph, vector.element(i), pairs, default=float(len(pairs)) if keeps else None)
        if not keeps:
            found = refuse_missing(graph, found, f"element {i} of column {column!r} has a value not seen before")
        pieces.append(Scalars((found,)))
        start = i + 1
    if start < vector.size:
        pieces += vector.slice(range(start, vector.size)).pieces
    return Vector(graph, pieces)


def interact(graph: Graph, vectors: Sequence[Vector]) -> Vector:
    """All products of one element of each vector; the last vector's elements change fastest."""
    result = vectors[0]
    for vector in vectors[1:]:
        result = _cross(graph, result, vector)
    return result


def _plain_code(vector: Vector) -> OneHot | None:
    """The one-hot code that a vector is, with ones and zeros and keys from 0, or None."""
    if len(vector.pieces) != 1 or not isinstance(vector.pieces[0], OneHot):
        return None
    piece = vector.pieces[0]
    is_plain = np.all(piece.on == 1.0) and not np.any(piece.off) and piece.missing is None
    return piece if is_plain and piece.keys == tuple(float(i) for i in range(piece.size)) else None


def _cross(graph: Graph, first: Vector, second: Vector) -> Vector:
    size = first.size * second.size
    if size > _CROSS_LIMIT:
        raise ConfigError(
            f"an interaction of {first.size} × {second.size} elements; at most {_CROSS_LIMIT} are supported",
            code="unsupported_element",
        )
    codes = _plain_code(first), _plain_code(second)
    if codes[0] is not None and codes[1] is not None:
        # Keys beyond the codes must not meet those of another row of the table.
        keys = [
            graph.apply("select", graph.apply("less", code.key, float(code.size)), code.key, float(size))
            for code in codes
            if code is not None
        ]
        key = graph.apply("linear", *keys, weights=[float(second.size), 1.0])
        return Vector(graph, [OneHot(key, tuple(float(i) for i in range(size)), np.ones(size), np.zeros(size))])
    products = [graph.apply("multiply", x, y) for x in first.elements() for y in second.elements()]
    return Vector.of(graph, products)


def nominal(graph: Graph, value: Value, size: int, column: str) -> Vector:
    """A whole number below `size` as a one-hot code, for interactions; another value fails the row."""
    inside = graph.apply("and", graph.apply("greater_equal", value, 0.0), graph.apply("less", value, float(size)))
    wrong = graph.apply("not", graph.apply("and", inside, graph.apply("is_integer", value)))
    key = graph.apply("fail", value, wrong, message=f"column {column!r} must hold indices below {size}")
    return Vector(graph, [OneHot(key, tuple(float(i) for i in range(size)), np.ones(size), np.zeros(size))])
