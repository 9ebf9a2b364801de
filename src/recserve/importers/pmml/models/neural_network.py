"""NeuralNetwork: inputs from derived fields, layers of neurons, and outputs that are labels or denormalised numbers.

A neuron may be connected to any neuron or input before it. Where an input is missing, so is the whole answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from recserve.importers.pmml import expressions
from recserve.importers.pmml.results import Result, classify

if TYPE_CHECKING:
    from recserve.importers.pmml.document import Element
    from recserve.importers.pmml.scope import Scope
    from recserve.scoring.graph import Graph, Value

ACTIVATIONS = {
    "threshold": "threshold",
    "logistic": "logistic",
    "tanh": "tanh",
    "identity": "identity",
    "exponential": "exponential",
    "reciprocal": "reciprocal",
    "square": "square",
    "Gauss": "gauss",
    "sine": "sine",
    "cosine": "cosine",
    "Elliott": "elliott",
    "arctan": "arctan",
    "rectifier": "rectifier",
    "radialBasis": "radial",
}
"""PMML's name → that of the `dense` op; `threshold` and `radial` are put together here."""

NORMALIZATIONS = ("none", "simplemax", "softmax")


@dataclass
class Network:
    """The neurons lowered so far.

    Attributes:
        model: the `NeuralNetwork`.
        scope: of the model.
        values: neuron or input id → its value.
    """

    model: Element
    scope: Scope
    values: dict[str, Value] = field(default_factory=dict)

    @property
    def graph(self) -> Graph:
        """The graph that values are made in."""
        return self.scope.graph

    def setting(self, layer: Element, name: str) -> float | None:
        """A number that a layer has, else the network."""
        own = layer.number_or_none(name)
        return own if own is not None else self.model.number_or_none(name)


def lower(model: Element, scope: Scope) -> Result:
    """Lower a `NeuralNetwork`.

    Raises:
        ConfigError: a connection or an output names a neuron that does not come before it, or an output's expression is
            none that can be turned round.
    """
    function = model.choice("functionName", ("classification", "regression"))
    network = Network(model, scope)
    _read_inputs(network)
    layers = model.all("NeuralLayer")
    if not layers:
        raise model.invalid("holds no <NeuralLayer>")
    for layer in layers:
        _lower_layer(layer, network)
    outputs = model.need_child("NeuralOutputs").all("NeuralOutput")
    if not outputs:
        raise model.need_child("NeuralOutputs").invalid("holds no <NeuralOutput>")
    return _classify(outputs, network) if function == "classification" else _regress(outputs, network)


# ---- inputs and layers


def _read_inputs(network: Network) -> None:
    scope = network.scope
    for element in network.model.need_child("NeuralInputs").all("NeuralInput"):
        derived = element.need_child("DerivedField")
        made = expressions.lower(expressions.find(derived), scope)
        typed = scope.convert(made, derived.get("dataType", "double") or "double")
        _add(element, scope.convert(typed, "double").value, network)


def _add(element: Element, value: Value, network: Network) -> None:
    id_ = element.need("id")
    if id_ in network.values:
        raise element.invalid(f"has the id {id_!r} of another neuron or input")
    network.values[id_] = value


def _lower_layer(layer: Element, network: Network) -> None:
    neurons = layer.all("Neuron")
    if not neurons:
        raise layer.invalid("holds no <Neuron>")
    named = layer if layer.get("activationFunction") is not None else network.model
    activation = ACTIVATIONS[named.choice("activationFunction", tuple(ACTIVATIONS))]
    links = [_links(neuron, network) for neuron in neurons]
    if activation == "radial":
        values = [_radial(neuron, layer, link, network) for neuron, link in zip(neurons, links, strict=True)]
    else:
        values = _activate(activation, layer, _sums(neurons, links, activation, network), network)
    by = layer if layer.get("normalizationMethod") is not None else network.model
    normalization = by.choice("normalizationMethod", NORMALIZATIONS, "none")
    if normalization != "none":
        values = network.graph.apply_many(normalization, values)
    for neuron, value in zip(neurons, values, strict=True):
        _add(neuron, value, network)


def _links(neuron: Element, network: Network) -> dict[str, float]:
    """Id of what a neuron reads → weight."""
    links: dict[str, float] = {}
    for con in neuron.all("Con"):
        source = con.need("from")
        if source not in network.values:
            raise con.invalid(f"comes from {source!r}, which is no input or neuron of an earlier layer")
        links[source] = links.get(source, 0.0) + con.finite("weight")
    if not links:
        raise neuron.invalid("holds no <Con>")
    return links


def _sums(neurons: list[Element], links: list[dict[str, float]], activation: str, network: Network) -> list[Value]:
    """Bias + Σ weight · input of each neuron, and the activation where the op `dense` has it."""
    sources = list(dict.fromkeys(source for link in links for source in link))
    places = {source: i for i, source in enumerate(sources)}
    weights = np.zeros((len(sources), len(neurons)))
    for unit, link in enumerate(links):
        for source, weight in link.items():
            weights[places[source], unit] = weight
    return network.graph.apply_many(
        "dense",
        [network.values[source] for source in sources],
        weights=weights,
        bias=[neuron.finite("bias", 0.0) for neuron in neurons],
        activation="identity" if activation in ("threshold", "rectifier") else activation,
        precision=network.scope.math,
    )


def _activate(activation: str, layer: Element, sums: list[Value], network: Network) -> list[Value]:
    """Activations with a parameter: a threshold, a leakage below zero."""
    graph = network.graph
    if activation == "threshold":
        threshold = network.setting(layer, "threshold") or 0.0
        return [graph.apply("boolean_to_number", graph.apply("greater", one, threshold)) for one in sums]
    if activation == "rectifier":
        leakage = network.setting(layer, "leakage") or 0.0
        return [
            graph.apply("select", graph.apply("greater", one, 0.0), one, graph.apply("multiply", one, leakage))
            for one in sums
        ]
    return sums


def _radial(neuron: Element, layer: Element, links: dict[str, float], network: Network) -> Value:
    """exp(connections · ln(altitude) - Σ (input - weight)² / (2 · width²))."""
    own = neuron.number_or_none("width")
    width = own if own is not None else network.setting(layer, "width")
    if width is None or not width > 0.0 or not math.isfinite(width):
        raise neuron.invalid(f"has the width {width}", "A radial basis neuron needs a width above zero")
    own = neuron.number_or_none("altitude")
    altitude = own if own is not None else network.setting(layer, "altitude")
    altitude = 1.0 if altitude is None else altitude
    if not altitude > 0.0 or not math.isfinite(altitude):
        raise neuron.invalid(f"has the altitude {altitude:g}", "An altitude is above zero")
    return network.graph.apply(
        "radial",
        *(network.values[source] for source in links),
        centers=[list(links.values())],
        widths=[width],
        offsets=[len(links) * math.log(altitude)],
    )


# ---- outputs


@dataclass(frozen=True)
class Output:
    """One `NeuralOutput`: the neuron's id and value, and the expression (of the target) that it stands for."""

    element: Element
    id: str
    value: Value
    expression: Element


def _read_output(element: Element, network: Network) -> Output:
    id_ = element.need("outputNeuron")
    if id_ not in network.values:
        raise element.invalid(f"names the neuron {id_!r}, which there is none of")
    expression = expressions.find(element.need_child("DerivedField"))
    return Output(element, id_, network.values[id_], _resolve(expression, network))


def _resolve(expression: Element, network: Network) -> Element:
    """The expression behind a reference to a derived field; a reference to the target itself stays."""
    seen: set[str] = set()
    while expression.tag == "FieldRef":
        name = expression.need("field")
        derived = _find_derived(name, network.model)
        if derived is None or name in seen:
            return expression
        seen.add(name)
        expression = expressions.find(derived)
    return expression


def _find_derived(name: str, model: Element) -> Element | None:
    """The `DerivedField` of that name in the model or in what is around it."""
    around: Element | None = model
    while around is not None:
        for holder in around.all("LocalTransformations", "TransformationDictionary"):
            for derived in holder.all("DerivedField"):
                if derived.get("name") == name:
                    return derived
        around = around.parent
    return None


def _by_target(outputs: list[Output]) -> dict[str, list[Output]]:
    """Outputs by the field that they predict."""
    groups: dict[str, list[Output]] = {}
    for output in outputs:
        groups.setdefault(output.expression.need("field"), []).append(output)
    return groups


def _regress(elements: list[Element], network: Network) -> Result:
    outputs = [_read_output(element, network) for element in elements]
    for output in outputs:
        if output.expression.tag not in ("FieldRef", "NormContinuous"):
            raise output.expression.unsupported(
                "cannot be turned round", "An output is a <FieldRef> or a <NormContinuous>"
            )
    values = {}
    for name, group in _by_target(outputs).items():
        if len(group) != 1:
            raise group[1].element.invalid(f"is a second output for {name!r}, which is a number")
        values[name] = _denormalize(group[0], network.graph)
    first = network.scope.target.name if network.scope.target else ""
    value = values.get(first, next(iter(values.values())))
    return Result("regression", value=value, values=values if len(values) > 1 else {})


def _denormalize(output: Output, graph: Graph) -> Value:
    """The number whose normal form a neuron gives: linear interpolation turned round, extrapolated at both ends."""
    expression = output.expression
    if expression.tag == "FieldRef":
        return output.value
    points = [(one.finite("norm"), one.finite("orig")) for one in expression.all("LinearNorm")]
    if len(points) < 2:
        raise expression.invalid(f"holds {len(points)} <LinearNorm>; it needs two at least")
    if points[0][0] > points[-1][0]:
        points.reverse()
    if any(not a[0] < b[0] for a, b in pairwise(points)):
        raise expression.invalid("neither rises nor falls throughout, so that it cannot be turned round")
    return graph.apply("piecewise", output.value, xs=[x for x, _ in points], ys=[y for _, y in points])


def _classify(elements: list[Element], network: Network) -> Result:
    outputs = [_read_output(element, network) for element in elements]
    for output in outputs:
        if output.expression.tag != "NormDiscrete":
            raise output.expression.invalid("stands for no label", "A classification's output is a <NormDiscrete>")
    groups = _by_target(outputs)
    graph = network.graph
    results = {}
    for name, group in groups.items():
        probabilities = {output.expression.need("value"): output.value for output in group}
        if len(probabilities) < len(group):
            raise group[0].element.invalid(f"is one of two outputs for the same value of {name!r}")
        winner = graph.apply("argmax", *probabilities.values())
        entity = graph.apply("pick", winner, values=[output.id for output in group], dtype="string")
        results[name] = Result(
            "classification",
            value=classify(graph, probabilities),
            probabilities=probabilities,
            entity_id=entity,
        )
    first = network.scope.target.name if network.scope.target else ""
    result = results.get(first, next(iter(results.values())))
    if len(results) > 1:
        result.values = {name: one.value for name, one in results.items() if one.value is not None}
    return result
