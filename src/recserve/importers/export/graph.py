"""What exports need to know of a graph: live nodes, checks of raw cells, and trees as nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from recserve.errors import ConfigError
from recserve.importers.model import ImportedModel
from recserve.scoring.graph import Graph, Node
from recserve.scoring.ops_trees import TESTS, UNKNOWN

COMPARISONS: Final = {TESTS[name]: name for name in ("less", "less_equal", "greater", "greater_equal")}


def refuse(node: Node, why: str = "") -> ConfigError:
    """The error for an op that has no counterpart."""
    return ConfigError(
        f"op {node.op!r}{' ' + why if why else ''} has no exact counterpart in this format",
        code="not_exportable",
        hint="Linear models, trees and light networks can be exported; serve others with recserve",
    )


@dataclass(frozen=True)
class Checks:
    """Checks of raw cells, which the formats know by other means.

    Attributes:
        graph: of the program.
    """

    graph: Graph

    @cached_property
    def columns(self) -> dict[str, str]:
        """Column → the dtype that it has in the exported model: number where it is read as one."""
        found: dict[str, str] = {}
        for node in self.graph.nodes:
            if node.op in {"input", "unparsed"}:
                column, dtype = node.params["column"], node.params["dtype"]
                if found.get(column) != "number":
                    found[column] = dtype
        return found

    def is_void(self, number: int) -> bool:
        """Whether a value is always missing: a numeric column read as a truth besides."""
        node = self.graph.node_of(number)
        if node.op == "input":
            return bool(node.params["dtype"] != self.columns[node.params["column"]])
        return node.op == "boolean_to_number" and self.is_void(node.args[0])

    def is_false(self, number: int) -> bool:
        """Whether a truth is false for each cell that is of its column's type."""
        node = self.graph.node_of(number)
        if node.op == "and":
            return any(self.is_false(one) for one in node.args)
        return node.op == "unparsed"

    def allowed(self, node: Node) -> tuple[str, tuple[Any, ...]] | None:
        """For `fail(column, not in values)`, the column and its values."""
        value, condition = node.args
        inverse = self.graph.node_of(condition)
        if inverse.op != "not":
            return None
        test = self.graph.node_of(inverse.args[0])
        source = self.graph.node_of(value)
        if test.op != "isin" or test.args[0] != value or source.op != "input":
            return None
        return source.params["column"], tuple(test.params["values"])


@dataclass(frozen=True)
class Branch:
    """One node of a tree.

    Attributes:
        feature: argument that it tests; -1 for a leaf.
        test: `less`, `less_equal`, `greater` or `greater_equal`.
        threshold: what it compares with.
        yes, no: numbers of its children.
        default: which child takes missing values.
        row: of the leaf's values; -1 for none.
    """

    feature: int
    test: str
    threshold: float
    yes: int
    no: int
    default: int
    row: int


def branches(node: Node) -> list[Branch]:
    """The nodes of a `trees` op.

    Raises:
        ConfigError: trees that are not summed, or nodes that do more than compare numbers.
    """
    params: Mapping[str, Any] = node.params
    if params["output"] != "sum" or params["skip_missing"]:
        raise refuse(node, "that gives each tree's answer")
    found = []
    for i, feature in enumerate(params["features"].tolist()):
        yes, no, unknown = int(params["yes"][i]), int(params["no"][i]), int(params["unknown"][i])
        test = COMPARISONS.get(int(params["tests"][i]), "")
        if feature >= 0 and (not test or unknown not in {UNKNOWN["yes"], UNKNOWN["no"]}):
            raise refuse(node, "with sets or other rules for missing values")
        default = yes if unknown == UNKNOWN["yes"] else no
        row = int(params["rows"][i])
        if feature < 0 and row < 0:
            raise refuse(node, "with a leaf without a value")
        found.append(Branch(feature, test, float(params["thresholds"][i]), yes, no, default, row))
    return found


def live_nodes(graph: Graph) -> Iterator[Node]:
    """Nodes that an output needs, in order."""
    needed = set(graph.outputs.values())
    kept = []
    for node in reversed(graph.nodes):
        if needed.intersection(node.results):
            needed.update(node.args)
            kept.append(node)
    return reversed(kept)


def scalars(model: ImportedModel) -> dict[str, str]:
    """Name of an exported output → that of the program's; a vector's parts become `name[i]`."""
    found: dict[str, str] = {}
    for spec in model.specs:
        if spec.dtype == "object":
            raise ConfigError(f"output {spec.name!r} is a list", code="not_exportable", hint="Serve it with recserve")
        if spec.kind == "scalar":
            found[spec.name] = spec.parts[0]
        else:
            found.update({f"{spec.name}[{i}]": part for i, part in enumerate(spec.parts)})
    return found
