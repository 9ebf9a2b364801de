"""Whether the rows of a candidate part are independent of each other, so that it may run on any slice of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir

from recserve.network.facts import Fact, Facts, Origin
from recserve.network.model import TensorSpec
from recserve.network.sizes import ROWS, Dims, N, Size, named
from recserve.rates import Rate

if TYPE_CHECKING:
    from recserve.network.split import Part


def has_independent_rows(part: Part) -> bool:
    """Every output has its rows on axis 0, and row n of it depends on row n of the inputs only.

    Known from the same facts that rates are inferred from: what a request shares counts as a weight, and a value of
    which nothing is known makes the answer no.

    Args:
        part: the candidate part of a split network.
    """
    model, facts = infer_facts(part)
    found = [facts[value] for value in model.graph.outputs]
    return all(fact.dims is not None and fact.row == 0 and fact.dims[0] == N for fact in found)


def infer_facts(part: Part) -> tuple[ir.Model, Facts]:
    """The graph of a candidate part, and what is known of each of its values; what a request shares is as a weight."""
    import recserve.network.rules  # noqa: F401  (fills the rules)

    model = ir.serde.deserialize_model(onnx.load_model_from_string(part.model))
    facts = Facts(model.opset_imports.get("", 0))
    for weight in model.graph.initializers.values():
        facts.add_constant(weight)
    for value in model.graph.inputs:
        if not value.is_initializer():
            spec = part.inputs[str(value.name)]
            fact = facts.by_name[str(value.name)] = _fact_of(spec)
            for axis, size in enumerate(fact.dims or ()):
                for symbol in size.names:
                    facts.origins.setdefault(symbol, Origin(spec.name, axis, fact.rate))
    for node in model.graph:
        facts.add_node(node)
    return model, facts


def _fact_of(spec: TensorSpec) -> Fact:
    dims: Dims = tuple(
        Size(dim)
        if isinstance(dim, int)
        else named(ROWS if dim == ROWS else f"{spec.name}.{axis}" if dim is None else dim)
        for axis, dim in enumerate(spec.dims)
    )
    if spec.dims[0] == ROWS:
        return Fact(Rate.CANDIDATE, dims, 0)
    return Fact(Rate.CONSTANT, dims, None, True)
