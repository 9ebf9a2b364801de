"""Counts the floating-point operations of one node from the shapes of its values.

A product counts two operations a multiply-add; attention counts its two products and its softmax; a subgraph counts
its nodes, times its turns; any other op counts one operation for each element of its largest value, and one that only
moves elements counts none. Ops that ONNX Runtime fuses count as what they stand for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import onnx_ir as ir

FREE_OPS = frozenset(
    {
        "Cast", "Concat", "Constant", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity",
        "Reshape", "Shape", "Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
    }
)  # fmt: skip
"""Ops that only move elements."""

Shape = tuple[int, ...]
Lookup = Callable[[ir.Value], Shape | None]
"""The shape of a value for one row; None where it is unknown."""


class _UnknownError(Exception):
    """A shape that the count needs is unknown."""


class _View:
    """A node with the shapes of its values at hand."""

    def __init__(self, node: ir.Node, shape_of: Lookup, turns: int) -> None:
        self.node, self.shape_of, self.turns = node, shape_of, turns

    def has(self, index: int) -> bool:
        return index < len(self.node.inputs) and self.node.inputs[index] is not None

    def shape(self, index: int) -> Shape:
        """Of an input.

        Raises:
            _UnknownError: it is absent or its shape unknown.
        """
        value = self.node.inputs[index] if index < len(self.node.inputs) else None
        found = None if value is None else self.shape_of(value)
        if found is None:
            raise _UnknownError
        return found

    def out(self) -> Shape:
        """Of the first output.

        Raises:
            _UnknownError: it is unknown.
        """
        found = self.shape_of(self.node.outputs[0])
        if found is None:
            raise _UnknownError
        return found

    def known(self) -> list[Shape]:
        """The shapes of inputs and outputs, as far as known."""
        values = [v for v in (*self.node.outputs, *self.node.inputs) if v is not None]
        return [shape for shape in map(self.shape_of, values) if shape is not None]

    def int_of(self, name: str, default: int) -> int:
        attribute = self.node.attributes.get(name)
        return default if attribute is None else attribute.as_int()


_Count = Callable[[_View], int]


def count_operations(node: ir.Node, shape_of: Lookup, turns: int) -> int | None:
    """Operations of a node for one row; None where a shape that the count needs is unknown.

    Args:
        node: of any graph.
        shape_of: the shape of a value for one row.
        turns: assumed of a loop whose number of turns is known at run time only.
    """
    if node.op_type in FREE_OPS:
        return 0
    count = _COUNTS.get(node.op_type)
    view = _View(node, shape_of, turns)
    try:
        return _largest(view) if count is None else count(view)
    except _UnknownError:
        return None


def count_graph(nodes: Sequence[ir.Node] | ir.Graph, shape_of: Lookup, turns: int) -> int | None:
    """Operations of all nodes together; None where that of one is unknown."""
    counts = [count_operations(node, shape_of, turns) for node in nodes]
    return None if None in counts else sum(count or 0 for count in counts)


def _largest(view: _View) -> int:
    view.out()
    return max(math.prod(shape) for shape in view.known())


def _matmul(view: _View) -> int:
    left = view.shape(0)
    is_turned = bool(view.int_of("transA", 0)) and len(left) > 1
    return 2 * math.prod(view.out()) * left[-2 if is_turned else -1]


def _packed_matmul(view: _View) -> int:
    """MatMulNBits: the weights are packed, so that only an attribute tells the inner width."""
    return 2 * math.prod(view.out()) * view.int_of("K", 0)


def _gemm(view: _View) -> int:
    return 2 * math.prod(view.out()) * view.shape(0)[0 if view.int_of("transA", 0) else 1]


def _conv(view: _View, kernel: int = 1) -> int:
    """Each output element reads a window of all channels of its group; so many as a kernel of one output channel."""
    return 2 * math.prod(view.out()) * math.prod(view.shape(kernel)[1:])


def _quantised_conv(view: _View) -> int:
    return _conv(view, kernel=3)


def _conv_transpose(view: _View) -> int:
    """Each input element adds to a window of all output channels of its group."""
    return 2 * math.prod(view.shape(0)) * math.prod(view.shape(1)[1:])


def _pool(view: _View) -> int:
    kernel = view.node.attributes.get("kernel_shape")
    return math.prod(view.out()) * (1 if kernel is None else math.prod(kernel.as_ints()))


def _einsum(view: _View) -> int:
    """Every combination of the labels, once for each operand; an ellipsis stands for labels of its own."""
    terms = view.node.attributes["equation"].as_string().replace(" ", "").split("->")[0].split(",")
    sizes: dict[str, int] = {}
    for index, term in enumerate(terms):
        shape = view.shape(index)
        head, dots, tail = term.partition("...")
        spread = len(shape) - len(head) - len(tail) if dots else 0
        labels = [*head, *(f"...{spread - k}" for k in range(spread)), *tail]
        for label, size in zip(labels, shape, strict=True):
            sizes[label] = max(size, sizes.get(label, 1))
    return len(terms) * math.prod(sizes.values())


def _recurrent(view: _View) -> int:
    """Each step of each row multiplies the input and the state with the weights of both."""
    steps, rows = view.shape(0)[:2]
    return 2 * steps * rows * (math.prod(view.shape(1)) + math.prod(view.shape(2)))


def _attention(view: _View) -> int:
    """ONNX's Attention: queries, keys, values [B, L, heads·d] or [B, heads, L, d], and what a cache holds of both."""
    query, key = view.shape(0), view.shape(1)
    steps = key[-2] + (view.shape(4)[-2] if view.has(4) else 0)
    heads = query[1] if len(query) == 4 else view.int_of("q_num_heads", 1)
    return _scaled_product(math.prod(query), math.prod(view.out()), steps, query[0] * heads * query[-2])


def _multi_head(view: _View) -> int:
    """ONNX Runtime's MultiHeadAttention and GroupQueryAttention; queries may carry keys and values: [B, L, H, 3, d]."""
    query = view.shape(0)
    packed = 3 if len(query) == 5 else 1
    steps = query[1] if packed == 3 or not view.has(1) else view.shape(1)[1 if len(view.shape(1)) in (3, 5) else 2]
    rows = query[0] * query[1] * view.int_of("num_heads", 1)
    return _scaled_product(math.prod(query) // packed, math.prod(view.out()), steps, rows)


def _projected_attention(view: _View) -> int:
    """ONNX Runtime's Attention: x [B, L, d] times weights [d, 3·H] first."""
    x, weight, out = view.shape(0), view.shape(1), math.prod(view.out())
    rows = x[0] * x[1]
    return 2 * rows * math.prod(weight) + _scaled_product(out, out, x[1], rows * view.int_of("num_heads", 1))


def _any_attention(view: _View) -> int:
    return _attention(view) if view.node.domain in ("", "ai.onnx") else _projected_attention(view)


def _scaled_product(query: int, out: int, steps: int, rows: int) -> int:
    """Queries times keys, softmax, weights times values; `query` and `out` are elements."""
    return 2 * steps * (query + out) + rows * steps


def _determinant(view: _View) -> int:
    """An elimination: two thirds of the cube of the width."""
    shape = view.shape(0)
    return math.prod(shape) * shape[-1] * 2 // 3


def _inverse(view: _View) -> int:
    shape = view.shape(0)
    return 2 * math.prod(shape) * shape[-1]


def _linear(view: _View) -> int:
    coefficients = view.node.attributes["coefficients"].as_floats()
    return 2 * view.shape(0)[0] * len(coefficients) if len(view.shape(0)) > 1 else 2 * len(coefficients)


def _trees(view: _View) -> int:
    """Each tree takes about the logarithm of its nodes in steps."""
    attribute = view.node.attributes.get("nodes_treeids")
    if attribute is None:
        raise _UnknownError
    trees = list(attribute.as_ints())
    count = len(set(trees))
    rows = view.shape(0)[0] if len(view.shape(0)) > 1 else 1
    return rows * count * max(1, math.ceil(math.log2(len(trees) / count + 1)))


def _branches(view: _View) -> int:
    """The dearer branch of an If."""
    graphs = [view.node.attributes[name].as_graph() for name in ("then_branch", "else_branch")]
    counts = [count_graph(graph, view.shape_of, view.turns) for graph in graphs]
    if None in counts:
        raise _UnknownError
    return max(count or 0 for count in counts)


def _loop(view: _View) -> int:
    """The body, as often as the trip count says where that is a weight."""
    value = view.node.inputs[0] if view.has(0) else None
    tensor = None if value is None else value.const_value
    return _turns(view, view.turns if tensor is None else max(0, int(tensor.numpy().reshape(-1)[0])))


def _scan(view: _View) -> int:
    """The body, once for each step of the first scanned input."""
    count = view.int_of("num_scan_inputs", 1)
    axes = view.node.attributes.get("scan_input_axes")
    axis = 0 if axes is None else axes.as_ints()[0]
    return _turns(view, view.shape(len(view.node.inputs) - count)[axis])


def _sequence_map(view: _View) -> int:
    """The body, once for each element of a sequence, of which only a run tells the number."""
    return _turns(view, view.turns)


def _turns(view: _View, turns: int) -> int:
    count = count_graph(view.node.attributes["body"].as_graph(), view.shape_of, view.turns)
    if count is None:
        raise _UnknownError
    return turns * count


_COUNTS: Final[dict[str, _Count]] = {
    **dict.fromkeys(("MatMul", "MatMulInteger", "MatMulIntegerToFloat", "QLinearMatMul", "GemmFastGelu"), _matmul),
    **dict.fromkeys(("FusedMatMul", "TransposeMatMul", "FusedMatMulActivation", "DynamicQuantizeMatMul"), _matmul),
    **dict.fromkeys(("MatMulNBits", "MatMulBnb4"), _packed_matmul),
    **dict.fromkeys(("Gemm", "FusedGemm", "QGemm", "GemmFloat8"), _gemm),
    **dict.fromkeys(("Conv", "ConvInteger", "FusedConv", "NhwcFusedConv", "DeformConv"), _conv),
    "QLinearConv": _quantised_conv,
    "ConvTranspose": _conv_transpose,
    **dict.fromkeys(("AveragePool", "MaxPool", "LpPool"), _pool),
    "Einsum": _einsum,
    **dict.fromkeys(("GRU", "LSTM", "RNN", "DynamicQuantizeLSTM"), _recurrent),
    "Attention": _any_attention,
    **dict.fromkeys(("MultiHeadAttention", "GroupQueryAttention"), _multi_head),
    "Det": _determinant,
    "Inverse": _inverse,
    **dict.fromkeys(("LinearRegressor", "LinearClassifier"), _linear),
    **dict.fromkeys(("TreeEnsembleRegressor", "TreeEnsembleClassifier"), _trees),
    "If": _branches,
    "Loop": _loop,
    "Scan": _scan,
    "SequenceMap": _sequence_map,
}

PRODUCTS: Final = frozenset(
    op
    for op, count in _COUNTS.items()
    if count in (_matmul, _packed_matmul, _gemm, _conv, _quantised_conv, _conv_transpose, _einsum, _recurrent)
)
"""Ops that are products of matrices or tensors, priced by operations rather than by bytes."""
