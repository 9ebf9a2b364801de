"""What is known of every value of a flat graph: its rate, its axes, and where its rows are.

A value is *row-wise* when it has one block per candidate along one axis (its row axis, of size N or f·N), and each
block depends on the same block of the inputs only. Only row-wise values may be computed for a single user or once per
item. A value about which that cannot be shown is *opaque*: it belongs to the candidate rate, and is computed exactly
as the flat graph says.

Axis letters: N candidates, L steps, d width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
import onnx_ir as ir

from recserve.errors import ConfigError, suggest
from recserve.network.model import Network
from recserve.network.sizes import ROWS, Dims, Size, named
from recserve.rates import Rate, join

Content = tuple[Size | None, ...]
"""Elements of a short integer vector or scalar, as far as they are known."""

_MAX_CONTENT = 64


@dataclass(frozen=True)
class Fact:
    """What is known of a value.

    Attributes:
        rate: the rarest rate that is correct.
        dims: its axes; None if the value is opaque.
        row: the row axis; None if it has none (it is the same for all rows) or is opaque.
        is_free: it depends on weights and sizes only, so that each part of a split can compute it itself.
        content: of a short integer vector or scalar: its elements; None where there are none to know.
    """

    rate: Rate
    dims: Dims | None
    row: int | None = None
    is_free: bool = False
    content: Content | None = None

    @property
    def is_opaque(self) -> bool:
        """Nothing is known but that it belongs to the candidate rate."""
        return self.dims is None

    @property
    def symbolic(self) -> tuple[Size, ...] | None:
        """The content if every element is known and one is symbolic; such a value is rebuilt, not copied."""
        if self.content is None or any(s is None for s in self.content):
            return None
        known = tuple(s for s in self.content if s is not None)
        return None if all(s.is_static for s in known) else known


OPAQUE: Final = Fact(Rate.CANDIDATE, None)


class Origin(NamedTuple):
    """Where a named size can be read: an axis of a value, at the value's rate.

    A sum of sizes that a request tells (`terms`) is added up wherever it is needed, whatever the rate of the value.
    """

    value: str
    axis: int
    rate: Rate
    terms: tuple[Size, ...] = ()


class Layout(NamedTuple):
    """What a rule says of an output: its axes and its row axis."""

    dims: Dims
    row: int | None


class Step:
    """One node as its rule sees it."""

    def __init__(self, node: ir.Node, facts: list[Fact | None], opset: int, origins: dict[str, Origin]) -> None:
        self.node = node
        self.facts = facts
        self.opset = opset
        self.rate = join(f.rate for f in facts if f is not None)
        self._origins = origins

    @property
    def op(self) -> str:
        """The op type."""
        return self.node.op_type

    def known(self) -> list[Fact]:
        """The facts of the inputs that are there."""
        return [f for f in self.facts if f is not None]

    def fact(self, index: int) -> Fact | None:
        """The fact of an input; None where the input is absent."""
        return self.facts[index] if index < len(self.facts) else None

    def dims(self, index: int) -> Dims:
        """The axes of an input that is there and not opaque."""
        fact = self.facts[index]
        assert fact is not None
        assert fact.dims is not None
        return fact.dims

    def row(self, index: int) -> int | None:
        """The row axis of an input; None where it has none or is absent."""
        fact = self.fact(index)
        return fact.row if fact is not None else None

    def content(self, index: int) -> Content | None:
        """The elements of an input, as far as known."""
        fact = self.fact(index)
        return fact.content if fact is not None else None

    def static_content(self, index: int) -> tuple[int, ...] | None:
        """The elements of an input if all are plain integers."""
        content = self.content(index)
        if content is None or any(s is None or not s.is_static for s in content):
            return None
        return tuple(s.factor for s in content if s is not None)

    def int_of(self, name: str, default: int) -> int:
        """An integer attribute."""
        attribute = self.node.attributes.get(name)
        return default if attribute is None else attribute.as_int()

    def ints_of(self, name: str) -> tuple[int, ...] | None:
        """A list attribute; None where it is absent."""
        attribute = self.node.attributes.get(name)
        return None if attribute is None else tuple(attribute.as_ints())

    def text_of(self, name: str, default: str) -> str:
        """A string attribute."""
        attribute = self.node.attributes.get(name)
        return default if attribute is None else attribute.as_string()

    def fresh(self, axis: int, output: int = 0) -> Size:
        """A new named size for an axis of an output."""
        value = str(self.node.outputs[output].name)
        name = f"{value}.{axis}"
        self._origins[name] = Origin(value, axis, self.rate)
        return named(name)

    def known_sum(self, *sizes: Size) -> Size | None:
        """The sum of sizes if a request tells them all, or if some axis has it."""
        terms = self._summed(sizes)
        if len(terms) == 1:
            return terms[0]
        name = _sum_name(terms)
        if not any(size.has_rows for size in terms) and self._rate_of(terms) in (Rate.CONSTANT, Rate.REQUEST):
            return self.total(terms, 0)
        return named(name) if name in self._origins else None

    def total(self, sizes: Sequence[Size], axis: int) -> Size:
        """The sum of sizes as an axis of the output. Sums of the same sizes have one name."""
        terms = self._summed(sizes)
        if len(terms) == 1:
            return terms[0]
        name, value, rate = _sum_name(terms), str(self.node.outputs[0].name), self._rate_of(terms)
        if rate in (Rate.CONSTANT, Rate.REQUEST):
            self._origins[name] = Origin(value, axis, rate, terms)
        else:
            self._origins.setdefault(name, Origin(value, axis, self.rate))
        return named(name)

    def _rate_of(self, sizes: Sequence[Size]) -> Rate:
        return join(self._origins[n].rate for size in sizes for n in size.names if n != ROWS)

    def _summed(self, sizes: Sequence[Size]) -> tuple[Size, ...]:
        """The terms of a sum, sums among them spelled out and like terms added; an integer, if any, comes last."""
        factors: dict[tuple[str, ...], int] = {}
        for size in sizes:
            terms, whole = self._terms(size)
            for term in [*terms, Size(whole)]:
                factors[term.names] = factors.get(term.names, 0) + term.factor
        whole = factors.pop((), 0)
        named_terms = tuple(Size(factor, names) for names, factor in sorted(factors.items()))
        return (*named_terms, Size(whole)) if whole or not named_terms else named_terms

    def rest(self, size: Size, taken: Size) -> tuple[Size, ...] | None:
        """The terms of a size less another one; None where that cannot be told to be no less than 0."""
        terms, whole = self._terms(size)
        if taken.is_static:
            whole -= taken.factor
        elif taken in terms:
            terms.remove(taken)
        else:
            return None
        return None if whole < 0 else self._summed([*terms, Size(whole)])

    def shortened(self, size: Size, count: int, axis: int) -> Size | None:
        """A size less `count`, as an axis of the output; None where that cannot be told to be no less than 0."""
        rest = self.rest(size, Size(count))
        return None if rest is None else self.total(rest, axis)

    def has_at_least(self, size: Size, count: int) -> bool:
        """A size is known to be `count` or more."""
        return self._terms(size)[1] >= count

    def _terms(self, size: Size) -> tuple[list[Size], int]:
        """The terms of a sum that are named, and the sum of the others; a size that is no sum is its one term."""
        if size.is_static:
            return [], size.factor
        origin = self._origins.get(size.names[0]) if size.factor == 1 and len(size.names) == 1 else None
        if origin is None or not origin.terms:
            return [size], 0
        named_terms = [t for t in origin.terms if not t.is_static]
        return named_terms, sum(t.factor for t in origin.terms if t.is_static)


def _sum_name(terms: Sequence[Size]) -> str:
    return f"({'+'.join(str(size) for size in terms)})"


Rule = Callable[[Step], list[Layout] | None]
"""Says the layout of each output, or None where the op is not row-wise on these inputs."""

RULES: Final[dict[str, Rule]] = {}
"""By op type of the default ONNX domain. An op without a rule is opaque."""

SIZE_SLOTS: Final[dict[str, frozenset[int]]] = {
    "Reshape": frozenset({1}),
    "Expand": frozenset({1}),
    "ConstantOfShape": frozenset({0}),
    "Slice": frozenset({1, 2}),
    "Range": frozenset({0, 1, 2}),
}
"""Inputs where a rule handles the number of candidates as a number; elsewhere such an input makes the node opaque."""


def rule(*ops: str) -> Callable[[Rule], Rule]:
    """Register a rule for some op types."""

    def register(function: Rule) -> Rule:
        for op in ops:
            RULES[op] = function
        return function

    return register


@dataclass
class Facts:
    """The facts of a graph, by value name.

    Attributes:
        by_name: the fact of each value seen so far.
        origins: where each named size but N can be read.
        opset: version of the default domain.
    """

    opset: int
    by_name: dict[str, Fact] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)

    def __getitem__(self, value: ir.Value) -> Fact:
        return self.by_name[str(value.name)]

    def add_constant(self, value: ir.Value) -> None:
        """Learn a weight."""
        tensor = value.const_value
        assert tensor is not None
        dims = tuple(Size(int(d)) for d in tensor.shape.numpy())
        content: Content | None = None
        if tensor.dtype in (ir.DataType.INT64, ir.DataType.INT32) and len(dims) <= 1 and tensor.size <= _MAX_CONTENT:
            content = tuple(Size(int(x)) for x in np.atleast_1d(tensor.numpy()))
        self.by_name[str(value.name)] = Fact(Rate.CONSTANT, dims, None, True, content)

    def add_input(self, value: ir.Value, rate: Rate) -> None:
        """Learn an input of the network."""
        assert value.shape is not None
        name = str(value.name)
        dims: list[Size] = [named(ROWS)]
        batch = value.shape[0].value if isinstance(value.shape[0], ir.SymbolicDim) else None
        for axis, dim in enumerate(value.shape.dims[1:], start=1):
            if isinstance(dim, int):
                dims.append(Size(dim))
                continue
            if dim.value is not None and dim.value == batch:
                self.by_name[name] = Fact(rate, None) if rate is not Rate.CANDIDATE else OPAQUE
                return
            symbol = f"{dim.value}@{rate.value}" if dim.value is not None else f"{name}.{axis}"
            self.origins.setdefault(symbol, Origin(name, axis, rate))
            dims.append(named(symbol))
        self.by_name[name] = Fact(rate, tuple(dims), 0)

    def add_node(self, node: ir.Node) -> None:
        """Learn the outputs of a node whose inputs are known."""
        for value, fact in zip(node.outputs, self._infer(node), strict=True):
            self.by_name[str(value.name)] = fact

    def rate_of(self, size: Size) -> Rate:
        """How often a size changes; N itself counts as constant, since each part has its own."""
        return join(self.origins[n].rate for n in size.names if n != ROWS)

    def leaves(self, name: str) -> set[str]:
        """The named sizes that tell a named size: its own name, or the names in the terms of a sum."""
        terms = self.origins[name].terms if name in self.origins else ()
        return {leaf for term in terms for n in term.names for leaf in self.leaves(n)} if terms else {name}

    def _infer(self, node: ir.Node) -> list[Fact]:
        from recserve.network.rules.contents import content_of

        opaque = [OPAQUE] * len(node.outputs)
        if node.domain not in ("", "ai.onnx") or any(True for _ in subgraphs(node)):
            return opaque
        inputs = [None if v is None else self[v] for v in node.inputs]
        if any(f is not None and f.is_opaque for f in inputs):
            return opaque
        step = Step(node, inputs, self.opset, self.origins)
        layout = content_of(step)
        if layout is not None:
            dims, content = layout
            fact = Fact(step.rate, dims, None, True, content)
            if all(s is not None for s in content):
                rate = join(self.rate_of(s) for s in content if s is not None)
                return [Fact(rate, dims, None, True, content)]
            if any(_has_rows(f.content) for f in step.known()):
                return opaque
            return [fact] if all(f.is_free for f in step.known()) else opaque
        if self._counts_rows(step) or node.op_type not in RULES:
            return opaque
        layouts = RULES[node.op_type](step)
        if layouts is None or len(layouts) < len(node.outputs):
            return opaque
        is_free = all(f.is_free for f in step.known())
        facts = [_checked(step.rate, entry, is_free) for entry in layouts[: len(node.outputs)]]
        return opaque if any(f is None for f in facts) else [f for f in facts if f is not None]

    def _counts_rows(self, step: Step) -> bool:
        slots = SIZE_SLOTS.get(step.op, frozenset())
        return any(f is not None and _has_rows(f.content) and i not in slots for i, f in enumerate(step.facts))


def settle_rates(network: Network, input_rates: Mapping[str, Rate]) -> dict[str, Rate]:
    """The rate of each input: constant ones count as request, and rates of other names are ignored.

    Raises:
        ConfigError: an input has no rate; or one of axis 0 fixed at 1 changes with the item or the candidate.
    """
    for name in network.inputs:
        if name not in input_rates:
            raise ConfigError(
                f"input {name!r} is no feature, so its rate is unknown",
                where=network.where,
                hint=suggest(name, input_rates) or "Name the inputs of the network after features",
            )
        if name in network.once and input_rates[name] in (Rate.ITEM, Rate.CANDIDATE):
            raise ConfigError(
                f"input {name!r} has the fixed size 1 on axis 0, but there is one of it for each "
                f"{input_rates[name].value}",
                where=network.where,
                hint="Export it with a dynamic axis 0; only what a request has once may be [1, ...]",
            )
    rates = {name: input_rates[name] for name in network.inputs}
    return {name: Rate.REQUEST if rate is Rate.CONSTANT else rate for name, rate in rates.items()}


def learn(model: ir.Model, input_rates: Mapping[str, Rate]) -> Facts:
    """The facts of every value of a model whose nodes are in topological order."""
    import recserve.network.rules  # noqa: F401  (fills RULES)

    facts = Facts(model.opset_imports.get("", 0))
    for weight in model.graph.initializers.values():
        facts.add_constant(weight)
    for value in model.graph.inputs:
        if not value.is_initializer():
            facts.add_input(value, input_rates[str(value.name)])
    for node in model.graph:
        facts.add_node(node)
    return facts


def subgraphs(node: ir.Node) -> list[ir.Graph]:
    """The graphs in the attributes of a node, such as the branches of an If."""
    found: list[ir.Graph] = []
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            found.append(attribute.as_graph())
        elif attribute.type == ir.AttributeType.GRAPHS:
            found.extend(attribute.as_graphs())
    return found


def captured(node: ir.Node) -> list[ir.Value]:
    """Values of the main graph that the subgraphs of a node read."""
    found: dict[int, ir.Value] = {}
    for graph in subgraphs(node):
        inside: set[int] = {id(v) for v in graph.inputs} | {id(v) for v in graph.initializers.values()}
        for inner in graph:
            for value in [*inner.inputs, *captured(inner)]:
                if value is not None and id(value) not in inside:
                    found[id(value)] = value
            inside |= {id(v) for v in inner.outputs}
        for value in graph.outputs:
            if id(value) not in inside:
                found[id(value)] = value
    return list(found.values())


def sources(node: ir.Node) -> list[ir.Value]:
    """Every value that a node reads, in its inputs or in its subgraphs."""
    return [v for v in node.inputs if v is not None] + captured(node)


def _has_rows(content: Content | None) -> bool:
    return content is not None and any(s is not None and s.has_rows for s in content)


def _checked(rate: Rate, layout: Layout, is_free: bool) -> Fact | None:
    """The fact, unless the layout is not one of exactly one row axis (or none, of a free value)."""
    rows = [axis for axis, size in enumerate(layout.dims) if size.has_rows]
    if rows != ([] if layout.row is None else [layout.row]):
        return None
    if layout.row is None:
        return Fact(rate, layout.dims, None, True) if is_free else None
    if layout.dims[layout.row].names.count(ROWS) != 1:
        return None
    return Fact(rate, layout.dims, layout.row, is_free)
