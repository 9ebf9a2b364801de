"""A model that is being rewritten: edits keep the facts of every value at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from recserve.network.canonical import clean
from recserve.network.facts import Fact, Facts, learn
from recserve.network.sizes import Dims
from recserve.rates import Rate

Array = npt.NDArray[Any]

Attribute = int | float | str | Sequence[int]


@dataclass(frozen=True)
class Change:
    """One application of a rewrite: which pass, at which node (by name of its first output), and what it did."""

    rewrite: str
    at: str
    what: str


@dataclass
class Draft:
    """A model under rewriting.

    Attributes:
        model: changed in place.
        input_rates: of the network's inputs.
        facts: of every value, also of those just added.
        changes: what the passes did so far.
    """

    model: ir.Model
    input_rates: Mapping[str, Rate]
    facts: Facts
    changes: list[Change] = field(default_factory=list)
    _count: int = 0

    @classmethod
    def of(cls, model: ir.Model, input_rates: Mapping[str, Rate]) -> Draft:
        """Start from a canonical model."""
        return cls(model, input_rates, learn(model, input_rates))

    def refresh(self) -> None:
        """Clean the graph up and learn it anew, after a pass changed it."""
        clean(self.model)
        self.model.graph.sort()
        self.facts = learn(self.model, self.input_rates)

    def nodes(self) -> list[ir.Node]:
        """The nodes in topological order, as of now, but for the Identity nodes that name the outputs."""
        named = {id(v.producer()) for v in self.model.graph.outputs}
        return [node for node in self.model.graph if id(node) not in named]

    def fact(self, value: ir.Value) -> Fact:
        """What is known of a value."""
        return self.facts[value]

    def rate(self, value: ir.Value) -> Rate:
        """The rarest correct rate of a value."""
        return self.facts[value].rate

    def dims(self, value: ir.Value) -> Dims:
        """The axes of a value that is not opaque."""
        dims = self.facts[value].dims
        assert dims is not None
        return dims

    def constant(self, array: Array) -> ir.Value:
        """A new weight."""
        name = self._name("weight")
        value = ir.Value(
            name=name,
            const_value=ir.tensor(array, name=name),
            shape=ir.Shape(array.shape),
            type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
        )
        self.model.graph.register_initializer(value)
        self.facts.add_constant(value)
        return value

    def array(self, value: ir.Value | None) -> Array | None:
        """The elements of a weight; None for any other value."""
        if value is None or value.const_value is None or not value.is_initializer():
            return None
        return value.const_value.numpy()

    def emit(
        self, op: str, inputs: Sequence[ir.Value | None], before: ir.Node, **attributes: Attribute | ir.Attr
    ) -> ir.Value:
        """Add a node of one output in front of another and learn it."""
        node = ir.node(op, inputs, attributes)
        out = node.outputs[0]
        out.name = self._name(op)
        self.model.graph.insert_before(before, node)
        self.facts.add_node(node)
        return out

    def copy(self, node: ir.Node, inputs: Sequence[ir.Value | None], before: ir.Node) -> ir.Value:
        """Add a node with the op and attributes of another, on other inputs."""
        return self.emit(node.op_type, inputs, before, **dict(node.attributes))

    def replace(self, old: ir.Value, new: ir.Value, rewrite: str, what: str) -> None:
        """Let all users of `old` read `new`, and note it."""
        self.changes.append(Change(rewrite, str(old.name), what))
        old.replace_all_uses_with(new)

    def axis_constant(self, axes: Sequence[int]) -> ir.Value:
        """An int64 vector weight."""
        return self.constant(np.asarray(axes, np.int64))

    def _name(self, hint: str) -> str:
        while True:
            self._count += 1
            name = f"{hint}~{self._count}"
            if name not in self.facts.by_name:
                return name
