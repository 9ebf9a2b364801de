"""The rate of every value of a flat network."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from recserve.network.canonical import canonical
from recserve.network.facts import learn, settle_rates
from recserve.network.model import Network
from recserve.rates import Rate


def infer_rates(network: Network, input_rates: Mapping[str, Rate]) -> dict[str, Rate]:
    """The rarest correct rate of every value of the network, inputs and weights included, by value name.

    Values of functions and subgraphs are not listed. An op that is not known to be row-wise makes its outputs, and what
    depends on them, candidate rate. The graph is only normalised, not rewritten, so that the names are those of the
    author where they survive.

    Raises:
        ConfigError: an input has no rate.
    """
    rates = settle_rates(network, input_rates)
    model = canonical(network)
    facts = learn(model, rates)
    values: list[ir.Value] = [*model.graph.inputs, *model.graph.initializers.values()]
    values += [v for node in model.graph for v in node.outputs]
    return {str(v.name): facts[v].rate for v in values}
