"""Where the pipeline is cut: which steps run per item version, per request and per candidate, and what crosses.

`decide_cuts` looks at the feature graph and the split network together and answers as plain data. It runs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from recserve.errors import ConfigError, InvariantError, suggest
from recserve.features.graph import GraphOutput, PlanGraph
from recserve.features.ops import Kind
from recserve.network.model import Network, TensorSpec
from recserve.network.split import SplitNetwork
from recserve.rates import Rate
from recserve.rows.formats import check_precision, effective, row_bytes

LENGTHS: Final = ".lengths"
"""Suffix of the network input that holds the steps of a sequence group."""

_STORED_KINDS: Final = {Kind.IDS: "ids", Kind.NUMBERS: "numbers", Kind.TOKENS: "tokens"}


@dataclass(frozen=True)
class NetworkInput:
    """One input of the flat network, and where it comes from.

    Attributes:
        name: of the input.
        rate: how often its tensor changes.
        output: the feature; None if the input holds the lengths of a sequence group.
        sequence: the sequence group; None if the feature is not a sequence.
        steps: number of the STEPS value that gives the steps of each row; None if not a sequence.
    """

    name: str
    rate: Rate
    output: GraphOutput | None
    sequence: str | None = None
    steps: int | None = None


@dataclass(frozen=True)
class FixedColumn:
    """A tensor in the fixed part of each item's payload: `shape` floats a row, stored in `precision`."""

    name: str
    shape: tuple[int, ...]
    precision: str = "fp32"

    @property
    def width(self) -> int:
        """Numbers of a row."""
        return math.prod(self.shape)

    def stored_in(self, precision: str) -> FixedColumn:
        """The same tensor, stored in a precision, or in float32 where that takes no more bytes."""
        return replace(self, precision=effective(precision, self.width))


@dataclass(frozen=True)
class RaggedColumn:
    """A feature value in the ragged part of each item's payload. `kind` is one of those of the item store."""

    value: int
    kind: str

    @property
    def name(self) -> str:
        """Its name in the payload."""
        return f"value_{self.value}"


@dataclass(frozen=True)
class Cuts:
    """The cut pipeline as data.

    Attributes:
        inputs: all inputs of the network.
        ops: for each rate the feature ops of its stage, in order.
        fixed: tensors stored per item and gathered for each candidate.
        ragged: item values that candidate-rate feature ops read.
        shared: request values that candidate-rate feature ops read.
        unused_features: features that the network does not read; they are not computed.
    """

    inputs: tuple[NetworkInput, ...]
    ops: dict[Rate, tuple[int, ...]]
    fixed: tuple[FixedColumn, ...]
    ragged: tuple[RaggedColumn, ...]
    shared: tuple[int, ...]
    unused_features: tuple[str, ...]

    @property
    def item_bytes(self) -> int:
        """Bytes of the fixed tensors of one item."""
        return sum(row_bytes(column.precision, column.width) for column in self.fixed)

    def stored_in(self, precision: str) -> Cuts:
        """The same cuts, with the fixed tensors stored in a precision.

        Raises:
            ConfigError: an unknown precision.
        """
        check_precision(precision, "payload")
        return replace(self, fixed=tuple(column.stored_in(precision) for column in self.fixed))

    def inputs_of(self, rate: Rate) -> tuple[NetworkInput, ...]:
        """Inputs of the network that change at `rate`."""
        return tuple(entry for entry in self.inputs if entry.rate is rate)


def match_inputs(graph: PlanGraph, network: Network) -> tuple[NetworkInput, ...]:
    """The source of each input of the network.

    Raises:
        ConfigError: an input is no feature, or its shape or dtype is not the feature's.
    """
    features = {output.spec.name: output for output in graph.outputs}
    groups: dict[str, list[GraphOutput]] = {}
    for output in graph.outputs:
        if output.spec.sequence is not None:
            groups.setdefault(output.spec.sequence, []).append(output)
    found = []
    for name, spec in network.inputs.items():
        group = name.removesuffix(LENGTHS)
        if name in features:
            found.append(_match_feature(features[name], spec))
        elif name.endswith(LENGTHS) and group in groups:
            found.append(_match_lengths(graph, group, groups[group][0], spec))
        else:
            known = [*features, *(group + LENGTHS for group in groups)]
            raise ConfigError(
                f"input {name!r} is not a feature",
                code="unknown_input",
                where="network",
                hint=suggest(name, known) or f"Features: {', '.join(known)}",
            )
    return tuple(found)


def _match_feature(output: GraphOutput, tensor: TensorSpec) -> NetworkInput:
    spec = output.spec
    wanted = 3 if spec.is_sequence else 2
    last = tensor.dims[-1] if tensor.dims else None
    if len(tensor.dims) != wanted or (isinstance(last, int) and last != spec.dim):
        shape = "[N, L, {}]" if spec.is_sequence else "[N, {}]"
        raise ConfigError(
            f"input {spec.name!r} has the shape {list(tensor.dims)}, but the feature is {shape.format(spec.dim)}",
            code="input_shape",
            where="network",
            hint="Export the network with the dimensions of features.json",
        )
    if tensor.dtype != "float32":
        raise ConfigError(
            f"input {spec.name!r} is {tensor.dtype}, but the feature is float32", code="input_dtype", where="network"
        )
    return NetworkInput(spec.name, _runtime_rate(spec.rate), output, spec.sequence, output.steps)


def _match_lengths(graph: PlanGraph, group: str, member: GraphOutput, tensor: TensorSpec) -> NetworkInput:
    if len(tensor.dims) != 1:
        raise ConfigError(
            f"input {tensor.name!r} has the shape {list(tensor.dims)}, but the lengths of a sequence are [N]",
            code="input_shape",
            where="network",
        )
    if tensor.dtype != "int64":
        raise ConfigError(
            f"input {tensor.name!r} is {tensor.dtype}, but the lengths of a sequence are int64",
            code="input_dtype",
            where="network",
        )
    assert member.steps is not None
    return NetworkInput(tensor.name, _runtime_rate(graph.values[member.steps].rate), None, group, member.steps)


def _runtime_rate(rate: Rate) -> Rate:
    """Constants are made with the request: there is nothing to gain by a stage of their own."""
    return Rate.REQUEST if rate is Rate.CONSTANT else rate


def input_rates(inputs: Iterable[NetworkInput]) -> dict[str, Rate]:
    """What `split_network` wants to know."""
    return {entry.name: entry.rate for entry in inputs}


def decide_cuts(graph: PlanGraph, inputs: tuple[NetworkInput, ...], split: SplitNetwork) -> Cuts:
    """Assign every needed feature op to a stage and lay out what crosses.

    Raises:
        ConfigError: a candidate-rate feature reads an item-side sequence, which a payload cannot hold.
    """
    roots: dict[Rate, set[int]] = {rate: set() for rate in (Rate.ITEM, Rate.REQUEST, Rate.CANDIDATE)}
    for entry in inputs:
        roots[entry.rate] |= {entry.output.value} if entry.output is not None else set()
        roots[entry.rate] |= {entry.steps} if entry.steps is not None else set()
    candidate, ragged, shared = candidate_ops(graph, roots[Rate.CANDIDATE])
    ops = {Rate.CANDIDATE: candidate}
    for rate, crossing in ((Rate.ITEM, ragged), (Rate.REQUEST, shared)):
        members = ancestors(graph, roots[rate] | set(crossing))
        ops[rate] = tuple(i for i in sorted(members) if graph.values[i].rate in (rate, Rate.CONSTANT))
    names = {entry.name for entry in inputs}
    return Cuts(
        inputs=inputs,
        ops=ops,
        fixed=_fixed_columns(split),
        ragged=tuple(RaggedColumn(i, _stored_kind(graph, i)) for i in ragged),
        shared=shared,
        unused_features=tuple(o.spec.name for o in graph.outputs if o.spec.name not in names),
    )


def _reads(graph: PlanGraph, value: int) -> tuple[int, ...]:
    """What an op needs: its inputs, and the steps that its rows are and that those of its inputs are."""
    inputs = graph.ops[value].inputs
    domains = {graph.values[i].domain for i in (value, *inputs)}
    return (*inputs, *(domain for domain in domains if domain is not None))


def ancestors(graph: PlanGraph, roots: Iterable[int]) -> set[int]:
    """The values `roots` and all that they are made of."""
    found: set[int] = set()
    stack = list(roots)
    while stack:
        value = stack.pop()
        if value not in found:
            found.add(value)
            stack.extend(_reads(graph, value))
    return found


def _is_storable(graph: PlanGraph, value: int) -> bool:
    known = graph.values[value]
    return (
        known.kind in _STORED_KINDS and known.domain is None and not (known.is_weighted and known.kind is Kind.TOKENS)
    )


def _stored_kind(graph: PlanGraph, value: int) -> str:
    known = graph.values[value]
    return "weighted_ids" if known.is_weighted else _STORED_KINDS[known.kind]


def candidate_ops(graph: PlanGraph, roots: set[int]) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Ops of the candidate stage that makes `roots`, and the item and request values that it reads.

    An item value that a payload cannot hold (a map's index, a dense row) is made again per candidate from what it can.
    """
    ops: set[int] = set()
    ragged: set[int] = set()
    shared: set[int] = set()
    stack = list(roots)
    while stack:
        value = stack.pop()
        rate = graph.values[value].rate
        if value in ops:
            continue
        if rate is Rate.REQUEST:
            shared.add(value)
        elif rate is Rate.ITEM and _is_storable(graph, value):
            ragged.add(value)
        else:
            if rate is Rate.ITEM:
                _check_can_repeat(graph, value)
            ops.add(value)
            stack.extend(_reads(graph, value))
    return tuple(sorted(ops)), tuple(sorted(ragged)), tuple(sorted(shared))


def _check_can_repeat(graph: PlanGraph, value: int) -> None:
    if graph.values[value].kind is Kind.STEPS or graph.values[value].domain is not None:
        names = [o.spec.name for o in graph.outputs if value in ancestors(graph, [o.value])]
        raise ConfigError(
            "combines an item-side sequence with columns of the user or the candidate",
            code="item_sequence_at_candidate_rate",
            where=f"feature {names[0]!r}" if names else "features",
            hint="Declare the sequence on the user side, or make the item side a multi-value feature",
        )


def _fixed_columns(split: SplitNetwork) -> tuple[FixedColumn, ...]:
    columns = []
    for name, rate in split.crossings.items():
        if rate is Rate.ITEM:
            dims = split.candidate.inputs[name].dims[1:]
            sizes = [dim for dim in dims if isinstance(dim, int)]
            if len(sizes) != len(dims):
                raise InvariantError(f"tensor {name!r} crosses per item with the shape {list(dims)}", where="network")
            columns.append(FixedColumn(name, tuple(sizes)))
    return tuple(columns)
