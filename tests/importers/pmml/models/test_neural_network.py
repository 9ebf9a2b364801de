"""NeuralNetwork against a plain Python network."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from recserve.errors import ConfigError

ACTIVATIONS: dict[str, Callable[[float], float]] = {
    "threshold": lambda z: float(z > 0.25),
    "logistic": lambda z: 1 / (1 + math.exp(-z)),
    "tanh": math.tanh,
    "identity": lambda z: z,
    "exponential": math.exp,
    "reciprocal": lambda z: 1 / z,
    "square": lambda z: z * z,
    "Gauss": lambda z: math.exp(-z * z),
    "sine": math.sin,
    "cosine": math.cos,
    "Elliott": lambda z: z / (1 + abs(z)),
    "arctan": lambda z: 2 * math.atan(z) / math.pi,
    "rectifier": lambda z: max(z, 0.0),
}
INPUTS = """<NeuralInputs>
  <NeuralInput id="i1"><DerivedField optype="continuous" dataType="double"><FieldRef field="a"/></DerivedField>
    </NeuralInput>
  <NeuralInput id="i2"><DerivedField optype="continuous" dataType="double"><FieldRef field="b"/></DerivedField>
    </NeuralInput>
</NeuralInputs>"""
FIELDS = {"a": "double", "b": "double", "y": "double", "label": "string no yes"}
HIDDEN = """<NeuralLayer {layer}>
  <Neuron id="h1" bias="0.5"><Con from="i1" weight="0.75"/><Con from="i2" weight="-0.5"/></Neuron>
  <Neuron id="h2" bias="0.125"><Con from="i2" weight="1.5"/></Neuron>
</NeuralLayer>"""
LAST = """<NeuralLayer activationFunction="identity" normalizationMethod="none">
  <Neuron id="o" bias="0.25"><Con from="h1" weight="2"/><Con from="h2" weight="-3"/><Con from="i1" weight="0.5"/>
    </Neuron>
</NeuralLayer>"""
OUTPUT = """<NeuralOutputs><NeuralOutput outputNeuron="o"><DerivedField optype="continuous" dataType="double">
  {expression}</DerivedField></NeuralOutput></NeuralOutputs>"""


def network(schema: Any, layer: str, attributes: str = "", expression: str = '<FieldRef field="y"/>') -> str:
    return (
        f'<NeuralNetwork functionName="regression" {attributes}>{schema("a", "b", targets=["y"])}{INPUTS}'
        f"{HIDDEN.format(layer=layer)}{LAST}{OUTPUT.format(expression=expression)}</NeuralNetwork>"
    )


def hidden(a: float, b: float) -> tuple[float, float]:
    return 0.5 + 0.75 * a - 0.5 * b, 0.125 + 1.5 * b


def last(a: float, h: tuple[float, float]) -> float:
    return 0.25 + 2 * h[0] - 3 * h[1] + 0.5 * a


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_each_activation_function_is_that_of_the_standard(name: str, score: Any, schema: Any) -> None:
    found = score(
        network(schema, f'activationFunction="{name}"', 'activationFunction="tanh" threshold="0.25"'),
        FIELDS,
        {"a": ["1", "-2", None], "b": ["0.5", "3", "1"]},
    )
    act = ACTIVATIONS[name]
    want = [last(a, (act(hidden(a, b)[0]), act(hidden(a, b)[1]))) for a, b in [(1, 0.5), (-2, 3)]]
    assert found["y"] == [*(pytest.approx(x) for x in want), None]


def test_a_leaky_rectifier_scales_what_is_below_zero(score: Any, schema: Any) -> None:
    model = network(schema, 'activationFunction="rectifier" leakage="0.5"', 'activationFunction="tanh"')
    found = score(model, FIELDS, {"a": [-2.0], "b": [3.0]})
    h1, h2 = hidden(-2, 3)
    assert found["y"] == [pytest.approx(last(-2, (0.5 * h1, h2)))]


@pytest.mark.parametrize(("method", "at"), [("softmax", "layer"), ("simplemax", "layer"), ("softmax", "network")])
def test_layers_are_normalised_as_they_or_the_network_say(method: str, at: str, score: Any, schema: Any) -> None:
    attribute = f'normalizationMethod="{method}"'
    layer = f'activationFunction="exponential" {attribute if at == "layer" else ""}'
    around = 'activationFunction="tanh" ' + (attribute if at == "network" else "")
    found = score(network(schema, layer, around), FIELDS, {"a": [1.0], "b": [0.5]})
    h = [math.exp(z) for z in hidden(1, 0.5)]
    h = [math.exp(x) for x in h] if method == "softmax" else h
    assert found["y"] == [pytest.approx(last(1, (h[0] / sum(h), h[1] / sum(h))))]


def test_radial_neurons_know_width_altitude_and_the_number_of_their_connections(score: Any, schema: Any) -> None:
    model = network(schema, 'activationFunction="radialBasis" width="2" altitude="3"', 'activationFunction="tanh"')
    found = score(model.replace('id="h2"', 'id="h2" width="0.5" altitude="1"'), FIELDS, {"a": [1.0], "b": [0.5]})
    h1 = math.exp(2 * math.log(3) - ((1 - 0.75) ** 2 + (0.5 + 0.5) ** 2) / (2 * 2**2))
    h2 = math.exp(-((0.5 - 1.5) ** 2) / (2 * 0.5**2))
    assert found["y"] == [pytest.approx(last(1, (h1, h2)))]


def test_outputs_are_denormalised_by_the_expression_turned_round(score: Any, schema: Any) -> None:
    normal = (
        '<NormContinuous field="y"><LinearNorm orig="10" norm="0"/><LinearNorm orig="20" norm="1"/>'
        '<LinearNorm orig="60" norm="2"/></NormContinuous>'
    )
    model = network(schema, 'activationFunction="identity"', 'activationFunction="tanh"', normal)
    rows = [(1.0, 0.5), (-2.0, 3.0), (0.0, 0.25)]
    found = score(model, FIELDS, {"a": [a for a, _ in rows], "b": [b for _, b in rows]})
    raw = [last(a, hidden(a, b)) for a, b in rows]
    assert found["y"] == [pytest.approx(10 + 10 * x if x < 1 else 20 + 40 * (x - 1)) for x in raw]


def test_a_reference_to_a_derived_field_stands_for_its_expression(score: Any, schema: Any) -> None:
    local = (
        '<LocalTransformations><DerivedField name="scaled" optype="continuous" dataType="double">'
        '<NormContinuous field="y">'
        '<LinearNorm orig="0" norm="0"/><LinearNorm orig="5" norm="1"/></NormContinuous></DerivedField>'
        "</LocalTransformations><NeuralInputs>"
    )
    model = network(schema, 'activationFunction="identity"', 'activationFunction="tanh"', '<FieldRef field="scaled"/>')
    found = score(model.replace("<NeuralInputs>", local), FIELDS, {"a": [1.0], "b": [0.5]})
    assert found["y"] == [pytest.approx(5 * last(1, hidden(1, 0.5)))]


def test_a_classification_gives_labels_probabilities_and_the_winning_neuron(score: Any, schema: Any) -> None:
    model = f"""<NeuralNetwork functionName="classification" activationFunction="identity"
        normalizationMethod="softmax">
      {schema("a", "b", targets=["label"])}
      <Output><OutputField name="p(yes)" feature="probability" value="yes" optype="continuous" dataType="double"/>
        <OutputField name="neuron" feature="entityId" optype="categorical" dataType="string"/></Output>
      {INPUTS}{HIDDEN.format(layer="")}
      <NeuralOutputs>
        <NeuralOutput outputNeuron="h1"><DerivedField optype="categorical" dataType="string">
          <NormDiscrete field="label" value="no"/></DerivedField></NeuralOutput>
        <NeuralOutput outputNeuron="h2"><DerivedField optype="categorical" dataType="string">
          <NormDiscrete field="label" value="yes"/></DerivedField></NeuralOutput>
      </NeuralOutputs></NeuralNetwork>"""
    found = score(model, FIELDS, {"a": [1.0, 1.0, None], "b": [0.0, 2.0, 0.0]})
    chances = [math.exp(h2) / (math.exp(h1) + math.exp(h2)) for h1, h2 in (hidden(1, 0), hidden(1, 2))]
    assert found["label"] == ["no", "yes", None]
    assert found["p(yes)"] == [*(pytest.approx(p) for p in chances), None]
    assert found["neuron"] == ["h1", "h2", None]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('from="h2"', 'from="nobody"', "comes from 'nobody', which is no input or neuron of an earlier layer"),
        ('outputNeuron="o"', 'outputNeuron="x"', "names the neuron 'x', which there is none of"),
        ('id="h2"', 'id="h1"', "has the id 'h1' of another neuron or input"),
        ('<FieldRef field="y"/>', '<Constant dataType="double">1</Constant>', "cannot be turned round"),
        ('activationFunction="tanh"', 'activationFunction="tanhh"', "'tanhh'. Did you mean 'tanh'?"),
        ('activationFunction="tanh"', 'activationFunction="radialBasis"', "has the width None"),
    ],
)
def test_a_broken_network_is_refused_with_its_place(old: str, new: str, message: str, score: Any, schema: Any) -> None:
    model = network(schema, 'activationFunction="tanh"')
    with pytest.raises(ConfigError, match=r"model\.pmml:") as error:
        score(model.replace(old, new), FIELDS, {"a": [1.0], "b": [1.0]})
    assert message in str(error.value)
