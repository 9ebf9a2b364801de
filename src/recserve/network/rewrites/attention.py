"""Attention over a history and the item itself: the two are one sequence to the model, and two rates to us.

With the sequence `[H; i]` of the user's history and the candidate, keys and values are `[Kh; Ki]` and `[Vh; Vi]`, of
which only the last row is the item's. Axis letters: L steps of the history, d width.
"""

from __future__ import annotations

from typing import Final

import onnx_ir as ir

from recserve.network.draft import Draft
from recserve.network.rewrites.concats import Mixed, concatenated, cut, mixed, step_of
from recserve.network.rules.axes import normal
from recserve.network.sizes import ONE
from recserve.rates import Rate, join

_MAX_PIECES: Final = 4
"""Sequences are joined from few pieces; fields from many, which one product serves better."""


def split_contractions(draft: Draft) -> None:
    """`p @ [Vh; Vi] = p[:L] @ Vh + p[L:] @ Vi`: the weighted sum over a sequence, in parts that keep their rates.

    Also `[ph, pi] @ [Vh; Vi] = ph @ Vh + pi @ Vi`, and `[ph, pi] @ V` with V cut.
    """
    for node in _products(draft):
        left, right = (mixed(draft, v) for v in node.inputs)
        rank = len(draft.dims(node.outputs[0]))
        by_row = right if right is not None and right.axis == right.rank(draft) - 2 else None
        by_column = left if left is not None and left.axis == left.rank(draft) - 1 else None
        pivot = by_row or by_column
        if pivot is None or pivot.rank(draft) != rank or rank < 3 or len(pivot.pieces) > _MAX_PIECES:
            continue
        columns = _pieces(draft, node, 0, by_column, pivot)
        rows = _pieces(draft, node, 1, by_row, pivot)
        if columns is None or rows is None:
            continue
        is_one_row = draft.dims(node.outputs[0])[-2] == ONE
        if not is_one_row and not any(_is_gain(draft, list(pair)) for pair in zip(columns, rows, strict=True)):
            continue
        total: ir.Value | None = None
        for pair in zip(columns, rows, strict=True):
            part = draft.emit("MatMul", list(pair), node)
            total = part if total is None else draft.emit("Add", [total, part], node)
        if total is not None and draft.fact(total).dims == draft.dims(node.outputs[0]):
            draft.replace(node.outputs[0], total, "split_contractions", f"a sum over {len(rows)} pieces")


def _pieces(draft: Draft, node: ir.Node, slot: int, found: Mixed | None, pivot: Mixed) -> list[ir.Value] | None:
    """An operand cut like the pieces of `pivot` along the axis that the product sums."""
    sizes = [draft.dims(p)[pivot.axis] for p in pivot.pieces]
    if found is not None and [draft.dims(p)[found.axis] for p in found.pieces] == sizes:
        return list(found.pieces)
    value = node.inputs[slot]
    dims = () if value is None else draft.dims(value)
    axis = len(dims) - (1 if slot == 0 else 2)
    is_alike = len(dims) >= 2 and dims[axis] == draft.dims(pivot.node.outputs[0])[pivot.axis]
    if value is None or not is_alike:
        return None
    return concatenated(draft, value, axis, sizes) or cut(draft, value, sizes, axis, node)


def softmax_by_rows(draft: Draft) -> None:
    """`softmax [[a; b], [c; d]] = [softmax [a, c]; softmax [b, d]]`: scores cut into blocks, row by row.

    The blocks of scores are `[history × history; item × history]` beside those of the item's column.
    """
    for node in draft.nodes():
        value = node.inputs[0] if node.op_type == "Softmax" and draft.facts.opset >= 13 else None
        columns = None if value is None else value.producer()
        if value is None or columns is None or columns.op_type != "Concat" or draft.fact(value).dims is None:
            continue
        rank = len(draft.dims(value))
        along = normal(step_of(draft, node).int_of("axis", -1), rank)
        if normal(columns.attributes["axis"].as_int(), rank) != along:
            continue
        blocks = _blocks(draft, columns, along)
        if blocks is None or not any(join(draft.rate(v) for v in row) is not Rate.CANDIDATE for row in blocks[0]):
            continue
        rows = [draft.emit("Concat", row, node, axis=along) for row in blocks[0]]
        done = draft.emit("Concat", [draft.copy(node, [r], node) for r in rows], node, axis=blocks[1])
        draft.replace(node.outputs[0], done, "softmax_by_rows", f"{len(rows)} rows of blocks")


def _blocks(draft: Draft, columns: ir.Node, along: int) -> tuple[list[list[ir.Value]], int] | None:
    """The blocks of a concatenation of concatenations, row by row, and the axis of the rows."""
    table: list[list[ir.Value]] = []
    first = columns.inputs[0]
    inner = None if first is None else first.producer()
    if first is None or inner is None or inner.op_type != "Concat":
        return None
    axis = normal(inner.attributes["axis"].as_int(), len(draft.dims(first)))
    sizes = [draft.dims(v)[axis] for v in inner.inputs if v is not None]
    for column in columns.inputs:
        pieces = None if column is None else concatenated(draft, column, axis, sizes)
        if pieces is None:
            return None
        table.append(pieces)
    return ([list(row) for row in zip(*table, strict=True)], axis) if axis != along else None


def split_products(draft: Draft) -> None:
    """`q @ [Kh, Ki] = [q @ Kh, q @ Ki]` and `[a; b] @ y = [a @ y; b @ y]`: scores, piece by piece of the sequence."""
    for node in _products(draft):
        left, right = (mixed(draft, v) for v in node.inputs)
        rank = len(draft.dims(node.outputs[0]))
        if rank < 3 or any(len(draft.dims(v)) != rank for v in node.inputs if v is not None):
            continue
        if max((len(f.pieces) for f in (left, right) if f is not None), default=0) > _MAX_PIECES:
            continue
        pairs: list[list[ir.Value | None]] = []
        if right is not None and right.axis == rank - 1:
            pairs = [[node.inputs[0], p] for p in right.pieces]
        elif left is not None and left.axis == rank - 2:
            pairs = [[p, node.inputs[1]] for p in left.pieces]
        if not any(_is_gain(draft, pair) for pair in pairs):
            continue
        pieces = [draft.emit("MatMul", pair, node) for pair in pairs]
        axis = rank - 1 if right is not None and right.axis == rank - 1 else rank - 2
        result = draft.emit("Concat", pieces, node, axis=axis)
        draft.replace(node.outputs[0], result, "split_products", f"a product for each of {len(pieces)} pieces")


def _is_gain(draft: Draft, pair: list[ir.Value | None]) -> bool:
    """The product of a pair is rarer than the candidates, or can be split on."""
    known = [v for v in pair if v is not None]
    is_rarer = join(draft.rate(v) for v in known) is not Rate.CANDIDATE
    return is_rarer or all(draft.rate(v) is not Rate.CANDIDATE or mixed(draft, v) is not None for v in known)


def _products(draft: Draft) -> list[ir.Node]:
    """The candidate-rate products of two values that are no weights."""
    found = [n for n in draft.nodes() if n.op_type == "MatMul" and not draft.fact(n.outputs[0]).is_opaque]
    found = [n for n in found if draft.rate(n.outputs[0]) is Rate.CANDIDATE]
    return [n for n in found if all(draft.array(v) is None for v in n.inputs)]
