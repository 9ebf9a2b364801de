"""Builds the graphs of the item, request and candidate part from a cut.

Axis 0 is I items in the item part, 1 in the request part, N candidates in the candidate part. Shapes that the flat
graph computes are rebuilt from sizes in each part, so that they count that part's rows. In the candidate part a request
value keeps axis 0 = 1 as long as ops broadcast it, and is repeated only where an op needs N rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce
from typing import Final

import numpy as np
import onnx
import onnx_ir as ir

from recserve.dtypes import BY_ONNX
from recserve.errors import InvariantError
from recserve.network.cut import measured, reads, shape_slot, size_names
from recserve.network.draft import Draft
from recserve.network.facts import Fact, Facts, captured, sources, subgraphs
from recserve.network.model import TensorSpec
from recserve.network.rules.elementwise import BROADCASTING
from recserve.network.sizes import ROWS, N, Size
from recserve.rates import Rate

SIZE_PREFIX: Final = "size."
"""Begins the name of a crossing int64[1, 1] that tells the candidate part a size known at request rate."""


class PartBuilder:
    """Cuts one part out of a copy of a model.

    Args:
        draft: the rewritten network.
        rate: of the part.
        leaves: what becomes an input of the part: dims and ONNX dtype by value name.
    """

    def __init__(self, draft: Draft, rate: Rate, leaves: Mapping[str, tuple[tuple[int | str, ...], int]]) -> None:
        self.facts: Facts = draft.facts
        self.rate = rate
        self.model = ir.from_proto(ir.to_proto(draft.model))
        self.graph = self.model.graph
        self.values: dict[str, ir.Value] = {str(v.name): v for v in self.graph.inputs}
        self.values |= {str(v.name): v for node in self.graph for v in node.outputs}
        self.counted: dict[str, ir.Value] = {}
        self.single: set[str] = set()
        self.repeated: dict[str, ir.Value] = {}
        self._count = 0
        self._set_inputs(leaves)

    def _set_inputs(self, leaves: Mapping[str, tuple[tuple[int | str, ...], int]]) -> None:
        del self.graph.inputs[:]
        self.carrier: ir.Value | None = None
        for name, (dims, dtype) in leaves.items():
            value = ir.Value(name=name, shape=ir.Shape(dims), type=ir.TensorType(ir.DataType(dtype)))
            old = self.values.get(name)
            if old is not None:
                old.name = f"{name}.cut"
                old.replace_all_uses_with(value)
            self.values[name] = value
            self.graph.inputs.append(value)
            if self.rate is Rate.CANDIDATE and dims[0] == 1:
                self.single.add(name)
            elif self.carrier is None:
                self.carrier = value
            if name.startswith(SIZE_PREFIX):
                self.counted[name.removeprefix(SIZE_PREFIX)] = self._reshape_to_vector(value)

    def build(self, roots: Iterable[str], sizes: Iterable[str] = ()) -> tuple[bytes, list[str]]:
        """The part that computes some values, and outputs that tell some sizes.

        Returns:
            The serialised model and the names of its inputs. Only the candidate part keeps inputs that it does not use.
        """
        wanted = [*roots, *(self.facts.origins[s].value for s in sizes)]
        for node in self._live(wanted):
            self._adapt(node)
        outputs = [self._output(name) for name in roots]
        for size in sizes:
            outputs.append(self._emit("Reshape", [self._size(Size(1, (size,))), self._ints([1, 1])]))
            outputs[-1].name = SIZE_PREFIX + size
        del self.graph.outputs[:]
        for value in outputs:
            self.graph.outputs.append(value)
        self.graph.sort()
        read = self._drop_dead()
        used = [v for v in self.graph.inputs if id(v) in read or self.rate is Rate.CANDIDATE]
        del self.graph.inputs[:]
        self.graph.inputs.extend(used)
        proto = ir.to_proto(self.model)
        del proto.graph.value_info[:]
        data: bytes = proto.SerializeToString()
        return data, [str(v.name) for v in used]

    def _live(self, roots: Iterable[str]) -> list[ir.Node]:
        """The nodes that compute the roots, in topological order."""
        inputs = {str(v.name) for v in self.graph.inputs}
        found: set[int] = set()
        pending = [self.values[name] for name in roots]
        while pending:
            value = pending.pop()
            node = value.producer()
            if node is None or id(node) in found or str(value.name) in inputs:
                continue
            found.add(id(node))
            pending += reads(node, self.facts)
            for name in size_names(node, self.facts):
                if name not in self.counted:
                    pending.append(self.values[self.facts.origins[name].value])
        return [node for node in self.graph if id(node) in found]

    def _adapt(self, node: ir.Node) -> None:
        """Make a node right for this part: shapes, and rows of request values."""
        content = measured(node, self.facts)
        if content is not None:
            is_vector = node.op_type == "Shape"
            rebuilt = self._content(content) if is_vector else self._scalar(content[0])
            node.outputs[0].replace_all_uses_with(rebuilt)
            return
        is_single = self._runs_once(node)
        slot = shape_slot(node, self.facts)
        if slot is not None:
            elements = [s.divide(N) or s for s in slot[1]] if is_single else slot[1]
            node.replace_input_with(slot[0], self._content(elements))
        if is_single:
            self.single |= {str(v.name) for v in node.outputs}
        elif not self._broadcasts(node):
            self._repeat_inputs(node)
        elif node.op_type == "MatMul":
            self._unstack_right(node)

    def _runs_once(self, node: ir.Node) -> bool:
        """A node of the candidate part that works on request values alone: one row does."""
        facts = [self.facts[v] for v in node.outputs]
        if not self.single or any(f.rate is not Rate.REQUEST or f.is_opaque or f.is_free for f in facts):
            return False
        named = [str(v.name) for v in node.inputs if v is not None]
        slot = shape_slot(node, self.facts)
        others = [
            self._fact(name)
            for i, name in enumerate(named)
            if name not in self.single and (slot is None or i != slot[0])
        ]
        return any(name in self.single for name in named) and all(f is None or f.row is None for f in others)

    def _fact(self, name: str) -> Fact | None:
        return self.facts.by_name.get(name)

    def _broadcasts(self, node: ir.Node) -> bool:
        """The op repeats a single row by itself."""
        if self.facts[node.outputs[0]].is_opaque or node.domain not in ("", "ai.onnx"):
            return False
        if node.op_type not in BROADCASTING and node.op_type != "MatMul":
            return False
        free = 2 if node.op_type == "MatMul" else 0
        facts = [self._fact(str(v.name)) for v in node.inputs if v is not None and str(v.name) in self.single]
        return all(
            f is not None
            and f.dims is not None
            and f.row is not None
            and f.row < len(f.dims) - free
            and f.dims[f.row] == N
            for f in facts
        )

    def _unstack_right(self, node: ir.Node) -> None:
        """`x [N, M, d] @ r [1, d, h] = x @ r[0]`: one product of matrices for all rows, instead of N."""
        left, right = node.inputs
        if left is None or right is None or str(right.name) not in self.single or str(left.name) in self.single:
            return
        facts = [self._fact(str(v.name)) for v in (left, right)]
        if all(f is not None and f.dims is not None and len(f.dims) == 3 for f in facts):
            node.replace_input_with(1, self._emit("Squeeze", [right, self._ints([0])]))

    def _repeat_inputs(self, node: ir.Node) -> None:
        for index, value in enumerate(node.inputs):
            if value is not None and str(value.name) in self.single:
                node.replace_input_with(index, self._repeat(value))
        if any(True for _ in subgraphs(node)):
            for value in captured(node):
                if str(value.name) in self.single:
                    _replace_inside(node, value, self._repeat(value))

    def _repeat(self, value: ir.Value) -> ir.Value:
        """N copies of a single row."""
        name = str(value.name)
        if name not in self.repeated:
            fact = self.facts.by_name[name]
            assert fact.dims is not None
            counts = [N if axis == fact.row else Size(1) for axis in range(len(fact.dims))]
            op = "Expand" if fact.row is not None and fact.dims[fact.row] == N else "Tile"
            self.repeated[name] = self._emit(op, [value, self._content(counts)])
        return self.repeated[name]

    def _output(self, name: str) -> ir.Value:
        value = self.values[name]
        if name not in self.single or self.rate is not Rate.CANDIDATE:
            return value
        value.name = f"{name}.single"
        self.facts.by_name[str(value.name)] = self.facts.by_name[name]
        repeated = self._repeat(value)
        repeated.name = name
        return repeated

    def _content(self, content: Iterable[Size]) -> ir.Value:
        """An int64 vector of sizes as they are in this part."""
        sizes = list(content)
        if all(s.is_static for s in sizes):
            return self._ints([s.factor for s in sizes])
        pieces = [self._size(s) for s in sizes]
        return pieces[0] if len(pieces) == 1 else self._emit("Concat", pieces, axis=0)

    def _scalar(self, size: Size) -> ir.Value:
        return self._emit("Reshape", [self._size(size), self._ints([])])

    def _size(self, size: Size) -> ir.Value:
        """One size as int64[1]."""
        result = self._ints([size.factor]) if size.factor != 1 or size.is_static else None
        for name in size.names:
            value = self._named(name)
            result = value if result is None else self._emit("Mul", [result, value])
        assert result is not None
        return result

    def _named(self, name: str) -> ir.Value:
        if name not in self.counted:
            if name == ROWS and self.rate is Rate.REQUEST:
                self.counted[name] = self._ints([1])
            elif (origin := self.facts.origins.get(name)) is not None and origin.terms:
                first, *rest = (self._size(term) for term in origin.terms)
                self.counted[name] = reduce(lambda x, y: self._emit("Add", [x, y]), rest, first)
            else:
                source, axis = (self.carrier, 0) if origin is None else (self.values[origin.value], origin.axis)
                if source is None:
                    raise InvariantError(f"part {self.rate.value} has no input that counts its rows")
                self.counted[name] = self._emit("Gather", [self._emit("Shape", [source]), self._ints([axis])], axis=0)
        return self.counted[name]

    def _reshape_to_vector(self, value: ir.Value) -> ir.Value:
        return self._emit("Reshape", [value, self._ints([1])])

    def _ints(self, elements: list[int]) -> ir.Value:
        array = np.asarray(elements, np.int64)
        name = f"sizes~{self._next()}"
        value = ir.Value(name=name, const_value=ir.tensor(array, name=name))
        value.shape, value.type = ir.Shape(array.shape), ir.TensorType(ir.DataType.INT64)
        self.graph.register_initializer(value)
        self.facts.add_constant(value)
        return value

    def _emit(self, op: str, inputs: list[ir.Value], **attributes: int) -> ir.Value:
        node = ir.node(op, inputs, attributes)
        node.outputs[0].name = f"{self.rate.value}.{op}~{self._next()}"
        self.graph.append(node)
        return node.outputs[0]

    def _next(self) -> int:
        self._count += 1
        return self._count

    def _drop_dead(self) -> set[int]:
        """Keep the nodes and weights that the outputs need; answer with the identities of all values they read."""
        read = {id(v) for v in self.graph.outputs}
        dead: list[ir.Node] = []
        for node in reversed(self.graph):
            if any(id(v) in read for v in node.outputs):
                read |= {id(v) for v in sources(node)}
            else:
                dead.append(node)
        # Not `safe`: what reads a dead value is dead itself, or inside of a dead node.
        self.graph.remove(dead, safe=False)
        for name, value in list(self.graph.initializers.items()):
            if id(value) not in read:
                del self.graph.initializers[name]
        return read


def _replace_inside(node: ir.Node, old: ir.Value, new: ir.Value) -> None:
    for graph in subgraphs(node):
        for inner in graph:
            for index, value in enumerate(inner.inputs):
                if value is old:
                    inner.replace_input_with(index, new)
            _replace_inside(inner, old, new)


def value_types(draft: Draft) -> dict[str, int]:
    """The ONNX dtype of every value of a rewritten network, as ONNX infers it."""
    proto = onnx.shape_inference.infer_shapes(ir.to_proto(draft.model), data_prop=False)
    entries = [*proto.graph.value_info, *proto.graph.input, *proto.graph.output]
    return {entry.name: int(entry.type.tensor_type.elem_type) for entry in entries}


def part_dims(fact: Fact, first: int | str) -> tuple[int | str, ...]:
    """The axes of a crossing value in a part: `first`, then what the flat graph says."""
    assert fact.dims is not None
    return (first, *(d.factor if d.is_static else str(d) for d in fact.dims[1:]))


def specs(values: Mapping[str, tuple[tuple[int | str, ...], int]]) -> dict[str, TensorSpec]:
    """Tensor specs from dims and ONNX dtypes."""
    return {name: TensorSpec(name, BY_ONNX[dtype].name, dims) for name, (dims, dtype) in values.items()}
