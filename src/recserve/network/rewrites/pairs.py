"""Products of all pairs of fields, cut by the rates of the fields: pairs of one side leave the candidate rate."""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx_ir as ir

from recserve.network.draft import Array, Draft
from recserve.network.rewrites.concats import Mixed, mixed, step_of
from recserve.network.rewrites.selections import Selection, select, selection
from recserve.network.rules.reductions import reduced_axes
from recserve.network.sizes import static
from recserve.rates import Rate

_RATES: Final = (Rate.CONSTANT, Rate.REQUEST, Rate.ITEM, Rate.CANDIDATE)
_FEW: Final = 3


def split_pair_products(draft: Draft) -> None:
    """`[U; I] @ [U; I]ᵀ = [[U Uᵀ, U Iᵀ], [I Uᵀ, I Iᵀ]]`: the interaction of DLRM, block by block.

    The rows are sorted by rate first, so that each block is one product. The product of a matrix with its own transpose
    needs `U Iᵀ` once: `I Uᵀ` is its transpose. The blocks are laid side by side, and a selection puts their elements
    into place, where a choice of pairs (a triangle) meets it.
    """
    for node in draft.nodes():
        left, right = (mixed(draft, v) for v in node.inputs) if node.op_type == "MatMul" else (None, None)
        if left is None or right is None or left.rank(draft) != 3 or (left.axis, right.axis) != (1, 2):
            continue
        if right.rank(draft) != 3 or draft.fact(left.pieces[0]).row != 0:
            continue
        widths, columns = left.widths(draft), right.widths(draft)
        if widths is None or columns is None or _is_attention(draft, left, right):
            continue
        result = _Blocks(draft, node, left, right).joined(sum(widths), sum(columns))
        draft.replace(node.outputs[0], result, "split_pair_products", "a product per pair of rates")


def _is_attention(draft: Draft, left: Mixed, right: Mixed) -> bool:
    """Queries and keys of two or three parts of a sequence, which `split_products` keeps apart."""
    return max(len(left.pieces), len(right.pieces)) <= _FEW and not _is_transpose(draft, left, right)


class _Blocks:
    """The blocks of one product."""

    def __init__(self, draft: Draft, node: ir.Node, left: Mixed, right: Mixed) -> None:
        self.draft, self.node = draft, node
        self.is_symmetric = _is_transpose(draft, left, right)
        self.rows, self.row_places = self._by_rate(left)
        self.columns, self.column_places = self._by_rate(right)

    def _by_rate(self, whole: Mixed) -> tuple[dict[Rate, ir.Value], dict[Rate, Array]]:
        """The pieces of each rate side by side, and the positions of their fields in the whole."""
        values: dict[Rate, list[ir.Value]] = {}
        places: dict[Rate, list[int]] = {}
        start = 0
        for piece in whole.pieces:
            rate, width = self.draft.rate(piece), self.draft.dims(piece)[whole.axis].factor
            values.setdefault(rate, []).append(piece)
            places.setdefault(rate, []).extend(range(start, start + width))
            start += width
        joined = {
            rate: group[0] if len(group) == 1 else self.draft.emit("Concat", group, self.node, axis=whole.axis)
            for rate, group in values.items()
        }
        return joined, {rate: np.asarray(own) for rate, own in places.items()}

    def joined(self, height: int, width: int) -> ir.Value:
        """The product as `Reshape(Concat(flat blocks)[order])`."""
        flat: list[ir.Value] = []
        order = np.empty((height, width), np.int64)
        start = 0
        for r, above in self.row_places.items():
            for c, beside in self.column_places.items():
                if self.is_symmetric and _RATES.index(r) > _RATES.index(c):
                    continue
                numbers = np.arange(start, start + len(above) * len(beside)).reshape(len(above), len(beside))
                start += numbers.size
                order[np.ix_(above, beside)] = numbers
                if self.is_symmetric:
                    order[np.ix_(beside, above)] = numbers.T
                block = self.draft.emit("MatMul", [self.rows[r], self.columns[c]], self.node)
                shape = self.draft.axis_constant([0, numbers.size])
                flat.append(self.draft.emit("Reshape", [block, shape], self.node))
        whole = self.draft.emit("Concat", flat, self.node, axis=1)
        placed = select(self.draft, whole, order.reshape(-1), 1, self.node)
        return self.draft.emit("Reshape", [placed, self.draft.axis_constant([0, height, width])], self.node)


def _is_transpose(draft: Draft, left: Mixed, right: Mixed) -> bool:
    """The pieces of the one are those of the other, transposed."""
    if len(left.pieces) != len(right.pieces):
        return False
    turned = [_untransposed(draft, p) for p in right.pieces]
    return all(t is not None and t is p for t, p in zip(turned, left.pieces, strict=True))


def _untransposed(draft: Draft, value: ir.Value) -> ir.Value | None:
    """The x of a value that is x with its last two axes swapped, at any rate."""
    node = value.producer()
    if node is None or node.op_type != "Transpose" or step_of(draft, node).ints_of("perm") != (0, 2, 1):
        return None
    return node.inputs[0]


def pairs_as_product(draft: Draft) -> None:
    """`Σ_d x[p]·x[q] = (x @ xᵀ)[p, q]`: the products of listed pairs of fields, where most of all pairs are listed."""
    for node in draft.nodes():
        product = node.inputs[0].producer() if node.op_type == "ReduceSum" and node.inputs[0] is not None else None
        if product is None or product.op_type != "Mul" or draft.fact(node.outputs[0]).is_opaque:
            continue
        left, right = (selection(draft, v) for v in product.inputs)
        if left is None or right is None or reduced_axes(step_of(draft, node)) != frozenset({2}):
            continue
        result = _chosen_pairs(draft, node, left, right)
        if result is not None:
            draft.replace(node.outputs[0], result, "pairs_as_product", f"{len(left.index)} pairs as one product")


def _chosen_pairs(draft: Draft, node: ir.Node, left: Selection, right: Selection) -> ir.Value | None:
    dims = draft.dims(left.source)
    sizes = static(dims[1:])
    if left.source is not right.source or (left.axis, right.axis) != (1, 1) or sizes is None or len(sizes) != 2:
        return None
    fields = sizes[0]
    if mixed(draft, left.source) is None or len(left.index) != len(right.index) or 4 * len(left.index) < fields**2:
        return None
    turned = draft.emit("Transpose", [left.source], node, perm=(0, 2, 1))
    pairs = draft.emit("MatMul", [left.source, turned], node)
    flat = draft.emit("Reshape", [pairs, draft.axis_constant([0, fields * fields])], node)
    chosen = select(draft, flat, left.index * fields + right.index, 1, node)
    if len(draft.dims(node.outputs[0])) == 2:
        return chosen
    return draft.emit("Unsqueeze", [chosen, draft.axis_constant([2])], node)
