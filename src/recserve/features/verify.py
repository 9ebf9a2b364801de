"""The rules of a plan graph, checked between passes."""

from __future__ import annotations

from recserve.errors import InvariantError
from recserve.features.graph import PlanGraph
from recserve.features.infer import infer
from recserve.features.ops import Kind


def verify(graph: PlanGraph) -> None:
    """Check that each op reads earlier values of its kinds in one domain, and that what is recorded of values is true.

    Raises:
        InvariantError: a rule is broken; names the op.
    """
    if len(graph.ops) != len(graph.values):
        raise InvariantError(f"{len(graph.ops)} ops, but {len(graph.values)} values")
    for i, (op, value) in enumerate(zip(graph.ops, graph.values, strict=True)):
        expected = infer(op, i, graph.ops, graph.values, value.feature)
        if expected != value:
            raise InvariantError(f"value {i} of {type(op).__name__} is recorded as {value}, and is {expected}")
    for output in graph.outputs:
        _verify_output(graph, output.spec.name, output.value, output.steps)
        if graph.values[output.value].rate is not output.spec.rate:
            raise InvariantError(f"output {output.spec.name!r} is recorded with another rate than its value's")


def _verify_output(graph: PlanGraph, name: str, number: int, steps: int | None) -> None:
    if not 0 <= number < len(graph.values):
        raise InvariantError(f"output {name!r} is value {number}, which there is not")
    value = graph.values[number]
    if value.kind not in (Kind.DENSE, Kind.IDS, Kind.TOKENS):
        raise InvariantError(f"output {name!r} is a value of kind {value.kind.value}")
    if value.domain != steps:
        raise InvariantError(f"output {name!r} has the steps {steps}, but its value is over {value.domain}")
