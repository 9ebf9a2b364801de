"""Splits a flat network into an item, a request and a candidate part that together give the same outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from recserve.dtypes import BY_ONNX
from recserve.errors import ConfigError
from recserve.network.canonical import canonical, optimise
from recserve.network.cost import TYPICAL, OpCosts, count_nodes
from recserve.network.cut import Cut, find_cut, find_demand, reads
from recserve.network.draft import Change, Draft
from recserve.network.facts import Facts, settle_rates
from recserve.network.item_side import StorePlan, plan_storing
from recserve.network.model import Network, TensorSpec
from recserve.network.parts import SIZE_PREFIX, PartBuilder, part_dims, specs, value_types
from recserve.network.rewrites import PASSES, Rewrite, rewrite
from recserve.network.rewrites.plain import write_known_sizes
from recserve.network.row_queries import fold_queries
from recserve.network.storing import StoreOptions
from recserve.network.unhandled import Unhandled, find_unhandled
from recserve.rates import Rate

_INT64 = 7
_Leaves = dict[str, tuple[tuple[int | str, ...], int]]


@dataclass(frozen=True)
class Part:
    """One part of a split network.

    Attributes:
        rate: how often it runs.
        model: a serialised ONNX model.
        inputs: by name; axis 0 is "I" (item part), 1 (request part), "N" or 1 (candidate part).
        outputs: by name; axis 0 as the inputs.
    """

    rate: Rate
    model: bytes
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]


@dataclass(frozen=True)
class SplitReport:
    """What a split did.

    Attributes:
        nodes: number of nodes of the rewritten graph by rate of the part that runs them.
        flops: floating-point operations of one evaluation (one item, one request, one candidate) by rate; a size
            known at run time only counts as 50, and a node of unknown shape as 0.
        flat_flops: those of the flat graph for one candidate.
        item_bytes: bytes of the item tensors that cross, for one item.
        changes: what the passes did, in order.
        storing: which item values are stored, and why; None in what an older recserve built.
        unhandled: the nodes that stay whole at candidate rate because no rule handles them; those of unknown
            operations first, then the dearest.
    """

    nodes: dict[Rate, int]
    flops: dict[Rate, int]
    flat_flops: int
    item_bytes: int
    changes: tuple[Change, ...]
    storing: StorePlan | None = None
    unhandled: tuple[Unhandled, ...] = ()


@dataclass(frozen=True)
class SplitNetwork:
    """A network in up to three parts.

    Attributes:
        item: computes item tensors [I, ...] from item inputs [I, ...]; None if nothing is left to compute.
        request: computes request tensors [1, ...] from request inputs [1, ...]; None if nothing is left to compute.
        candidate: computes the outputs [N, ...] from the crossing tensors.
        crossings: where each input of `candidate` comes from. ITEM: [N, ...], gathered from payloads; REQUEST:
            [1, ...]; CANDIDATE: an input of the network, [N, ...]. An ITEM or REQUEST crossing is an output of that
            part, or else an input of the network by the same name.
        report: what was done.
    """

    item: Part | None
    request: Part | None
    candidate: Part
    crossings: dict[str, Rate]
    report: SplitReport


def split_network(
    network: Network,
    input_rates: Mapping[str, Rate],
    passes: Sequence[Rewrite] = PASSES,
    *,
    storing: StoreOptions | None = None,
    costs: OpCosts = TYPICAL,
) -> SplitNetwork:
    """Rewrite a flat network and cut it by rate.

    Between the item and the candidate part it is cut where that costs least: a value is stored for each item, or
    computed again for each candidate from narrower ones.

    Args:
        network: checked flat graph.
        input_rates: how often each input of the network changes, by name; other names are ignored.
        passes: the rewrites to apply.
        storing: expected traffic, and how many bytes an item may store.
        costs: of the machine that serves; see `recserve.network.calibration`.

    Raises:
        ConfigError: an input has no rate; an item sequence of dynamic length is needed at candidate rate; nothing
            depends on an item; an output shares its name with an input; nothing fits into the byte budget.
    """
    for name in network.outputs:
        if name in network.inputs:
            raise ConfigError(f"{name!r} is both an input and an output", where=network.where, hint="Rename one")
    rates = settle_rates(network, input_rates)
    draft = _prepared(network, rates)
    flat_flops = sum(count or 0 for count in count_nodes(draft).values())
    rewrite(draft, passes)
    types = value_types(draft)
    demanded = find_demand(draft, network.where)
    options = storing or StoreOptions()
    choice = plan_storing(draft, demanded, types, options=options, costs=costs, where=network.where)
    cut = find_cut(draft, network.where, None if choice is None else choice[0])
    item = _feeding_part(draft, cut, Rate.ITEM, types)
    request = _feeding_part(draft, cut, Rate.REQUEST, types)
    candidate = _candidate_part(draft, cut, types, network)
    crossings = {name: rate for name, (_, rate) in cut.crossings.items()}
    crossings |= {SIZE_PREFIX + size: Rate.REQUEST for size in sorted(cut.sizes)}
    report = _report(draft, cut, types, flat_flops, None if choice is None else choice[1])
    return SplitNetwork(item, request, candidate, crossings, report)


def _prepared(network: Network, rates: Mapping[str, Rate]) -> Draft:
    """The network cleaned up; sizes that only symbolic shapes reveal are folded too."""
    model = canonical(network)
    optimise(model)
    draft = Draft.of(model, rates)
    write_known_sizes(draft)
    if not draft.changes:
        return draft
    optimise(model)
    return Draft.of(model, rates)


def _feeding_part(draft: Draft, cut: Cut, rate: Rate, types: Mapping[str, int]) -> Part | None:
    """The item or request part; None if all that crosses are inputs of the network."""
    first: int | str = "I" if rate is Rate.ITEM else 1
    roots = [n for n, (v, r) in cut.crossings.items() if r is rate and v.producer() is not None]
    sizes = sorted(cut.sizes) if rate is Rate.REQUEST else []
    if not roots and not sizes:
        return None
    leaves: _Leaves = {}
    for value in draft.model.graph.inputs:
        if draft.input_rates[str(value.name)] is rate:
            leaves[str(value.name)] = (part_dims(draft.fact(value), first), types[str(value.name)])
    outputs: _Leaves = {n: (part_dims(draft.facts.by_name[n], first), types[n]) for n in roots}
    outputs |= {SIZE_PREFIX + s: ((1, 1), _INT64) for s in sizes}
    model, used = PartBuilder(draft, rate, leaves).build(roots, sizes)
    return Part(rate, model, specs({n: leaves[n] for n in used}), specs(outputs))


def _candidate_part(draft: Draft, cut: Cut, types: Mapping[str, int], network: Network) -> Part:
    leaves: _Leaves = {}
    for name, (value, rate) in cut.crossings.items():
        fact = draft.fact(value)
        if fact.dims is None:
            declared = network.inputs[name].dims[1:]
            dims: tuple[int | str, ...] = (
                "N",
                *(d if d is not None else f"{name}.{i}" for i, d in enumerate(declared, 1)),
            )
        else:
            dims = part_dims(fact, 1 if rate is Rate.REQUEST else "N")
        leaves[name] = (dims, types[name])
    leaves |= {SIZE_PREFIX + s: ((1, 1), _INT64) for s in sorted(cut.sizes)}
    builder = PartBuilder(draft, Rate.CANDIDATE, leaves)
    model, _ = builder.build(list(network.outputs))
    return fold_queries(Part(Rate.CANDIDATE, model, specs(leaves), dict(network.outputs)))


def _report(
    draft: Draft, cut: Cut, types: Mapping[str, int], flat_flops: int, storing: StorePlan | None
) -> SplitReport:
    members = {Rate.CANDIDATE: [n for n in draft.nodes() if str(n.outputs[0].name) in cut.nodes]}
    for rate in (Rate.ITEM, Rate.REQUEST):
        roots = [value for value, r in cut.crossings.values() if r is rate]
        members[rate] = _behind(roots, draft.facts)
    item_bytes = 0
    for name, (value, rate) in cut.crossings.items():
        if rate is Rate.ITEM:
            width = 1
            for dim in draft.dims(value)[1:]:
                width *= dim.factor
            item_bytes += width * BY_ONNX[types[name]].size_bytes
    counts = count_nodes(draft)
    return SplitReport(
        {rate: len(nodes) for rate, nodes in members.items()},
        {rate: sum(counts.get(str(n.outputs[0].name)) or 0 for n in nodes) for rate, nodes in members.items()},
        flat_flops,
        item_bytes,
        tuple(draft.changes),
        storing,
        find_unhandled(draft, cut, counts),
    )


def _behind(roots: list[ir.Value], facts: Facts) -> list[ir.Node]:
    """The nodes that compute some values."""
    found: dict[int, ir.Node] = {}
    pending = list(roots)
    while pending:
        node = pending.pop().producer()
        if node is not None and id(node) not in found:
            found[id(node)] = node
            pending += reads(node, facts)
    return list(found.values())
