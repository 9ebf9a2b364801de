"""Makes the candidates of a request the rows of one product with what the request shares, not a product each.

Attention of one query a candidate over the steps of a request is exported as `[N, h, 1, d] @ [1, h, d, L]`: N·h
products of a vector, which no engine runs well, and which OpenVINO 2026.4 gets wrong in bfloat16 (its fused attention
takes N from the shared side and answers no rows). With axes 0 and -2 of the left side swapped it is
`[1, h, N, d] @ [1, h, d, L]`: h products of a matrix. The numbers are the same, each the sum of the same products:

    out[n, h, 0, l] = sum_d a[n, h, 0, d] · b[0, h, d, l] = out'[0, h, n, l]   with a'[0, h, n, d] = a[n, h, 0, d]

What is between two such products (a scale, a mask shared by all candidates, the softmax over steps) runs on the swapped
form too, so that only the first query and the last answer are turned.

Axis letters: N candidates, L steps, h heads, d width.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import onnx_ir as ir
import onnx_ir.passes.common as generic

from recserve.network.facts import Facts
from recserve.network.row_independence import infer_facts
from recserve.network.sizes import ONE, Dims, N

if TYPE_CHECKING:
    from recserve.network.split import Part

_UNARY: Final = frozenset({"Sigmoid", "Relu", "Tanh", "Exp", "Neg", "Sqrt", "Abs", "Erf", "Cast", "Identity"})
_BINARY: Final = frozenset({"Add", "Sub", "Mul", "Div", "Max", "Min", "Where"})


def fold_queries(part: Part) -> Part:
    """The candidate part with such products folded; the part itself where it has none.

    Args:
        part: the candidate part of a split network.
    """
    model, facts = infer_facts(part)
    fold = _Fold(facts)
    for node in list(model.graph):
        fold.visit(node)
    if not fold.products:
        return part
    fold.turn_back(model.graph)
    generic.RemoveUnusedNodesPass()(model)
    generic.TopologicalSortPass()(model)
    return replace(part, model=ir.serde.serialize_model(model).SerializeToString())


class _Fold:
    """The swapped form of values: axes 0 and -2 exchanged."""

    def __init__(self, facts: Facts) -> None:
        self.products = 0
        self._facts = facts
        self._swapped: dict[ir.Value, ir.Value] = {}

    def visit(self, node: ir.Node) -> None:
        """Put the swapped form of a node beside it, where it has one that is worth it."""
        if node.op_type == "MatMul":
            self._visit_product(node)
        elif self._is_pointwise(node):
            self._copy(node, [value and self._swapped.get(value, value) for value in node.inputs])

    def _visit_product(self, node: ir.Node) -> None:
        left, right = node.inputs
        if left is None or right is None or not self._is_query(left) or not self._is_shared(left, right):
            return
        if left not in self._swapped:
            rank = len(self._dims(left) or ())
            turned = _turn(left, rank)
            node.prepend(turned)
            self._swapped[left] = turned.outputs[0]
        self._copy(node, [self._swapped[left], right])
        self.products += 1

    def _copy(self, node: ir.Node, inputs: list[ir.Value | None]) -> None:
        copy = ir.Node(
            node.domain, node.op_type, inputs, list(node.attributes.values()), num_outputs=1, version=node.version
        )
        copy.outputs[0].name = f"{node.outputs[0].name}~rows"
        copy.name = f"{node.name}~rows"
        node.append(copy)
        self._swapped[node.outputs[0]] = copy.outputs[0]

    def _is_query(self, value: ir.Value) -> bool:
        """[N, ..., 1, d]: one row of the product a candidate."""
        dims = self._dims(value)
        return dims is not None and len(dims) >= 3 and dims[0] == N and dims[-2] == ONE

    def _is_shared(self, left: ir.Value, right: ir.Value) -> bool:
        """[1, ..., d, L], of no higher rank than the left; a matrix alone is no batch of products."""
        rank = len(self._dims(left) or ())
        dims = self._dims(right)
        return dims is not None and 3 <= len(dims) <= rank and (len(dims) < rank or dims[0] == ONE)

    def _is_pointwise(self, node: ir.Node) -> bool:
        """It has one swapped input, and swapping its output is the same as swapping that."""
        known = [value for value in node.inputs if value is not None]
        swapped = [value for value in known if value in self._swapped]
        if len(swapped) != 1 or len(node.outputs) != 1 or not self._is_query(node.outputs[0]):
            return False
        rank = len(self._dims(swapped[0]) or ())
        if rank != len(self._dims(node.outputs[0]) or ()):
            return False
        if node.op_type == "Softmax":
            axis = node.attributes.get("axis")
            return axis is None or axis.as_int() in (-1, rank - 1)
        if node.op_type in _BINARY:
            others = [self._dims(value) for value in known if value is not swapped[0]]
            return all(dims is not None and _is_flat(dims, rank) for dims in others)
        return node.op_type in _UNARY and len(known) == 1

    def _dims(self, value: ir.Value) -> Dims | None:
        return self._facts[value].dims

    def turn_back(self, graph: ir.Graph) -> None:
        """Whoever reads a value whose swapped form is computed reads that, turned back."""
        outputs = set(graph.outputs)
        copies = {value.producer() for value in self._swapped.values()}
        for value, swapped in self._swapped.items():
            producer = value.producer()
            if producer is None or value in outputs or swapped.producer() is None or _is_turn_of(swapped, value):
                continue
            users = [(user, at) for user, at in value.uses() if user not in copies]
            if not users:
                continue
            turned = _turn(swapped, len(self._dims(value) or ()))
            producer.append(turned)
            for user, at in users:
                user.replace_input_with(at, turned.outputs[0])


def _is_flat(dims: Dims, rank: int) -> bool:
    """Swapping axes 0 and -2 of a value of `rank` leaves this one as it is when it is broadcast to it."""
    return len(dims) < 2 or (dims[-2] == ONE and (len(dims) < rank or dims[0] == ONE))


def _is_turn_of(swapped: ir.Value, value: ir.Value) -> bool:
    producer = swapped.producer()
    return producer is not None and producer.op_type == "Transpose" and producer.inputs[0] is value


def _turn(value: ir.Value, rank: int) -> ir.Node:
    """Axes 0 and -2 exchanged."""
    order = list(range(rank))
    order[0], order[-2] = order[-2], order[0]
    node = ir.Node("", "Transpose", [value], [ir.AttrInt64s("perm", order)], num_outputs=1)
    node.outputs[0].name = f"{value.name}~turned"
    node.name = f"turn {value.name}"
    return node
