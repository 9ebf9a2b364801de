"""A program as a ranker's stages: what reads one side only moves to that side's rate.

Each value has the rarest rate that its inputs allow (`rates.join`). What the candidate stage reads from the item or the
request stage is a *cut*: the earlier stage puts it out as a column, and the candidate stage takes that column. Cells
keep their states on the way, failures too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from recserve.errors import ConfigError, suggest
from recserve.rates import Rate, join
from recserve.scoring.graph import Graph, Node, Value
from recserve.scoring.op import OPS
from recserve.scoring.passes import live_nodes, optimised

SIDES: Final = (Rate.ITEM, Rate.REQUEST)
_NEVER_NAN: Final = {"input", "lookup", "discretize", "pick", "gather", "one_hot", "nan_to_missing", "first_true"}


@dataclass(frozen=True)
class Split:
    """The stages of a graph.

    Attributes:
        stages: graphs of the item and the request stage, where there is anything to do; their outputs are cuts.
        candidate: reads raw candidate columns and the cuts by name; has the outputs of the whole.
    """

    stages: dict[Rate, Graph]
    candidate: Graph


def split_graph(graph: Graph, sides: Mapping[str, Rate], *, exact: bool = True) -> Split:
    """Cut a graph into stages.

    Args:
        graph: of a program.
        sides: the rate at which a raw column changes; candidate where it is left out.
        exact: stages give the same bits as the whole. Else linear sums and sums of trees are grouped by side, which
            changes the order of additions: results differ by at most terms · 2⁻⁵² of the sum of the terms' sizes (2⁻²³
            for sums in float32).

    Raises:
        ConfigError: `sides` names a column that the program does not read.
    """
    known = {node.params["column"] for node in graph.nodes if node.op in {"input", "unparsed"}}
    for column in sides:
        if column not in known:
            raise ConfigError(f"the program reads no column {column!r}", hint=suggest(column, known))
    regrouped = graph
    if not exact:
        regrouped = optimised(_grouped(graph, value_rates(graph, sides)))
    return _Cutter(regrouped, value_rates(regrouped, sides)).cut()


def value_rates(graph: Graph, sides: Mapping[str, Rate]) -> list[Rate]:
    """Rate of each value. Lists stay at the candidates: no column carries them."""
    rates: list[Rate] = []
    for node in graph.nodes:
        if node.op in {"input", "unparsed"}:
            rate = sides.get(node.params["column"], Rate.CANDIDATE)
        else:
            rate = join(rates[number] for number in node.args)
        if "object" in node.dtypes and rate is not Rate.CONSTANT:
            rate = Rate.CANDIDATE
        rates += [rate] * len(node.dtypes)
    return rates


class _Cutter:
    """Builds the stages of one graph."""

    def __init__(self, graph: Graph, rates: Sequence[Rate]) -> None:
        self.graph = graph
        self.rates = rates
        self.stages = {rate: Graph() for rate in (*SIDES, Rate.CANDIDATE)}
        self.moved: dict[Rate, dict[int, Value]] = {rate: {} for rate in self.stages}
        self.can_fail = can_fail(graph)
        self.taken = {node.params["column"] for node in graph.nodes if node.op in {"input", "unparsed"}}

    def cut(self) -> Split:
        """All stages."""
        for node, is_live in zip(self.graph.nodes, live_nodes(self.graph), strict=True):
            rate = self.rates[node.first] if node.dtypes else Rate.CONSTANT
            if is_live and rate is not Rate.CONSTANT:
                self._copy(node, rate)
        candidate = self.stages[Rate.CANDIDATE]
        for name, number in self.graph.outputs.items():
            candidate.output(name, self._value(number, Rate.CANDIDATE))
        for number in self.graph.guards:
            candidate.guard(self._value(number, Rate.CANDIDATE))
        stages = {rate: optimised(self.stages[rate]) for rate in SIDES if self.stages[rate].outputs}
        return Split(stages, optimised(candidate))

    def _copy(self, node: Node, rate: Rate) -> None:
        args = [self._value(number, rate) for number in node.args]
        results = self.stages[rate].apply_many(node.op, args, **node.params)
        self.moved[rate].update(zip(node.results, results, strict=True))

    def _value(self, number: int, rate: Rate) -> Value:
        """A value as a stage of that rate has it."""
        moved = self.moved[rate]
        if number not in moved:
            if self.rates[number] is Rate.CONSTANT:
                self._copy(self.graph.node_of(number), rate)
            else:
                moved[number] = self._import(number)
        return moved[number]

    def _import(self, number: int) -> Value:
        """A cut: an output of the earlier stage, and what the candidate stage makes of the column."""
        rate, dtype = self.rates[number], self.graph.dtype_of(number)
        early, late = self.stages[rate], self.stages[Rate.CANDIDATE]
        name, source = self._name(rate, number), self.moved[rate][number]
        value = late.input(name, dtype)
        if self.can_fail[number]:
            early.output(f"{name} message", early.apply("failure_message", source))
            source = early.apply("replace_failed", source, early.missing(dtype))
        early.output(name, source)
        if dtype == "number" and self.graph.node_of(number).op not in _NEVER_NAN:
            early.output(f"{name} known", early.apply("is_known", source))
            is_known = late.input(f"{name} known", "boolean")
            value = late.apply("select", is_known, late.apply("missing_to_nan", value), late.missing(dtype))
        if self.can_fail[number]:
            value = late.apply("fail_with", value, late.input(f"{name} message", "string"))
        return value

    def _name(self, rate: Rate, number: int) -> str:
        name = f"{rate.value} value {number}"
        while name in self.taken:
            name += "'"
        return name


def can_fail(graph: Graph) -> list[bool]:
    """Of each value, whether a cell of it may be a failure: it comes from an op that fails, or that Python runs."""
    from recserve.scoring import compiled  # noqa: F401  (fills EMITTERS; it loads Numba, which graphs do without)
    from recserve.scoring.codegen import EMITTERS

    found: list[bool] = []
    for node in graph.nodes:
        has_kernel = node.op in EMITTERS or node.op in {"input", "unparsed"} or OPS[node.op].block is not None
        begins = node.op in {"fail", "failure"} or not has_kernel
        found += [begins or any(found[number] for number in node.args)] * len(node.dtypes)
    return found


def _grouped(graph: Graph, rates: Sequence[Rate]) -> Graph:
    """The graph with linear sums and sums of trees as sums of one-sided ones."""
    made = Graph()
    moved: dict[int, Value] = {}
    for node in graph.nodes:
        args = [moved[number] for number in node.args]
        sides = [rates[number] for number in node.args]
        if node.op == "linear" and len(set(sides)) > 1:
            results = [_split_linear(made, node, args, sides)]
        elif node.op == "trees" and node.params["output"] == "sum" and not node.params["skip_missing"]:
            results = _split_trees(made, node, args, sides)
        else:
            results = made.apply_many(node.op, args, **node.params)
        moved.update(zip(node.results, results, strict=True))
    for name, number in graph.outputs.items():
        made.output(name, moved[number])
    for number in graph.guards:
        made.guard(moved[number])
    return made


def _split_linear(graph: Graph, node: Node, args: Sequence[Value], sides: Sequence[Rate]) -> Value:
    """A linear sum as the sum of one for each side."""
    total: Value | None = None
    for rate in dict.fromkeys(sides):
        chosen = [i for i, side in enumerate(sides) if side is rate]
        params = {**node.params, "weights": node.params["weights"][chosen]}
        if total is not None:
            params["bias"] = 0.0
        part = graph.apply("linear", *(args[i] for i in chosen), **params)
        total = part if total is None else _add(graph, total, part, node.params["precision"])
    if total is None:
        raise ConfigError("a linear sum without arguments has no sides")
    return total


def _add(graph: Graph, x: Value, y: Value, precision: str) -> Value:
    return graph.apply("linear", x, y, weights=[1.0, 1.0], precision=precision)


def _split_trees(graph: Graph, node: Node, args: Sequence[Value], sides: Sequence[Rate]) -> list[Value]:
    """A sum of trees as the sum of one for each side that whole trees read."""
    params = node.params
    groups: dict[Rate, list[int]] = {}
    for root in params["roots"].tolist():
        used = params["features"][_nodes_of(params, root)]
        rate = join(sides[i] for i in set(used[used >= 0].tolist()))
        groups.setdefault(Rate.CANDIDATE if rate is Rate.CONSTANT else rate, []).append(root)
    totals: list[Value] = []
    for roots in groups.values():
        chosen = _chosen_trees(params, roots, has_base=not totals)
        used = sorted({feature for feature in chosen["features"].tolist() if feature >= 0})
        place = np.full(len(args) + 1, -1, np.int64)
        place[used] = np.arange(len(used))
        chosen["features"] = place[chosen["features"]]
        part = graph.apply_many("trees", [args[i] for i in used], **chosen)
        totals = [_add(graph, x, y, params["precision"]) for x, y in zip(totals, part, strict=True)] if totals else part
    return totals or graph.apply_many(node.op, args, **params)


def _nodes_of(params: Mapping[str, Any], root: int) -> np.ndarray[Any, Any]:
    """Numbers of the nodes of a tree, in ascending order."""
    seen, waiting = {root}, [root]
    while waiting:
        node = waiting.pop()
        if params["features"][node] >= 0:
            below = {int(params["yes"][node]), int(params["no"][node])} - seen
            seen |= below
            waiting += below
    return np.array(sorted(seen), np.int64)


def _chosen_trees(params: Mapping[str, Any], roots: Sequence[int], *, has_base: bool) -> dict[str, Any]:
    """Parameters of some of the trees of an op."""
    chosen = np.unique(np.concatenate([_nodes_of(params, root) for root in roots]))
    place = np.full(len(params["features"]) + 1, -1, np.int64)
    place[chosen] = np.arange(len(chosen))
    found = dict(params)
    for name in ("features", "tests", "thresholds", "unknown", "rows"):
        found[name] = params[name][chosen]
    for name in ("yes", "no"):
        branches = params[name][chosen]
        found[name] = np.where(found["features"] >= 0, place[np.where(found["features"] >= 0, branches, -1)], -1)
    found["roots"] = place[np.array(roots, np.int64)]
    found["base"] = params["base"] if has_base else None
    return found
