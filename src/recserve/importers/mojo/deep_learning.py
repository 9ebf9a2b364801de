"""Deep learning: one-hot levels and standardised numbers through dense layers with float32 weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from recserve.importers.mojo.archive import damaged
from recserve.importers.mojo.ini import MAX_COLUMNS, Info, unsupported
from recserve.importers.mojo.prediction import Prediction, classify
from recserve.scoring.graph import Graph, Value

NEWEST = 1.1
_LOGISTIC = ("bernoulli", "quasibinomial", "modified_huber", "ordinal")
_LOG = ("multinomial", "poisson", "gamma", "tweedie")


def expand(graph: Graph, info: Info, row: list[Value]) -> list[Value]:
    """The inputs: each level as 0 or 1 (the last for missing ones), each number standardised, 0 if missing."""
    levels, numbers = info.count("cats", MAX_COLUMNS), info.count("nums", MAX_COLUMNS)
    offsets = info.integers("cat_offsets", (0,)) or [0]
    if len(offsets) <= levels or levels + numbers > len(row):
        raise damaged(f"has {len(offsets)} offsets for {levels} columns", info.where("cat_offsets"))
    all_levels = info.flag("use_all_factor_levels")
    inputs = []
    for column in range(levels):
        start, end = offsets[column], offsets[column + 1]
        size = max(len(info.domains[column] or ()), 1)
        places = hot_places(size, end - start, all_levels)
        place = graph.apply("pick", row[column], values=places)
        place = graph.apply("replace_missing", place, float(end - start - 1))
        inputs += graph.apply_many("one_hot", [place], values=[float(i) for i in range(end - start)])
    mul, sub = info.numbers("norm_mul", ()), info.numbers("norm_sub", ())
    for column in range(numbers):
        value = row[levels + column]
        if len(mul):
            value = graph.apply("multiply", graph.apply("subtract", value, float(sub[column])), float(mul[column]))
        inputs.append(graph.apply("replace_missing", value, 0.0))
    return inputs


def hot_places(levels: int, width: int, all_levels: bool) -> list[float]:
    """Of each level code, which of a column's `width` inputs is 1; −1 for none."""
    shift = 0 if all_levels else 1
    return [float(min(code - shift, width - 1)) for code in range(levels)]


def lower_deep_learning(graph: Graph, info: Info, row: list[Value], offset: Value | None) -> Prediction:  # noqa: ARG001
    """The network's answer: label and probabilities, a number, or an autoencoder's reconstruction."""
    if info.version > NEWEST:
        raise unsupported(f"MOJO version {info.version:.2f} is newer than {NEWEST:.2f}", info.where("mojo_version"))
    is_encoder = info.category == "AutoEncoder"
    values = expand(graph, info, row)
    sizes = info.integers("neural_network_sizes")
    drops = info.numbers("hidden_dropout_ratios", ())
    if len(sizes) < 2 or sizes[0] != len(values) or len(drops) < len(sizes) - 1:
        raise damaged(f"is {sizes[:8]} for {len(values)} inputs", info.where("neural_network_sizes"))
    activation = info.text("activation")
    is_classifier = info.category in ("Binomial", "Multinomial", "Ordinal")
    for layer in range(len(sizes) - 1):
        kind = activation
        if layer == len(sizes) - 2 and not is_encoder:
            kind = "Softmax" if is_classifier else "Linear"
        values = _layer(graph, info, layer, kind, values, sizes[layer + 1], float(drops[layer]))
    if is_encoder:
        return _reconstruct(graph, info, values)
    if is_classifier:
        return classify(graph, info, values, row)
    return Prediction(_response(graph, info, values[0]))


def _layer(  # noqa: PLR0917  (what a row needs)
    graph: Graph, info: Info, layer: int, kind: str, values: list[Value], units: int, drop: float
) -> list[Value]:
    """One layer: products with float32 weights summed in double, the activation, then the drop-out's factor."""
    weights = info.numbers(f"weight_layer{layer}", ()).astype(np.float32).astype(np.float64)
    bias = info.numbers(f"bias_layer{layer}", ())
    name = kind.removesuffix("WithDropout")
    parts = max(len(bias) // units, 1) if name == "Maxout" and units else 1
    if len(weights) != len(values) * units * parts or len(bias) != units * parts:
        raise damaged(
            f"has {len(weights)} weights and {len(bias)} biases for {len(values)} inputs and {units} units",
            info.where(f"weight_layer{layer}"),
        )
    if name not in _ACTIVATIONS:
        raise unsupported(f"the activation {kind!r} is unknown", info.where("activation"))
    # [unit, input, part] for maxout, [unit, input] else; the op wants [input, unit].
    table = weights.reshape(units, len(values), parts).transpose(1, 0, 2).reshape(len(values), units * parts)
    native, after = _ACTIVATIONS[name]
    sums = graph.apply_many("dense", values, weights=table, bias=bias, activation=native)
    found = after(graph, sums, parts)
    if kind.endswith("WithDropout") and drop > 0:
        found = [graph.apply("multiply", value, 1.0 - drop) for value in found]
    return found


def _as_they_are(graph: Graph, sums: list[Value], parts: int) -> list[Value]:  # noqa: ARG001
    return sums


def _softmax(graph: Graph, sums: list[Value], parts: int) -> list[Value]:  # noqa: ARG001
    return graph.apply_many("softmax", sums)


def _maxout(graph: Graph, sums: list[Value], parts: int) -> list[Value]:
    """The largest of a unit's parts, as H2O walks them: offsets 0, 0, 1, 3 … from the unit's first."""
    found = []
    for unit in range(len(sums) // parts):
        places = {unit * parts + sum(range(part + 1)) for part in range(parts)}
        found.append(graph.apply("max", *[sums[place] for place in sorted(places) if place < len(sums)]))
    return found


# Name → (the dense op's activation, what is done with its results).
_ACTIVATIONS: dict[str, tuple[str, Callable[[Graph, list[Value], int], list[Value]]]] = {
    "Linear": ("identity", _as_they_are),
    "Tanh": ("tanh", _as_they_are),
    "Rectifier": ("rectifier", _as_they_are),
    "ExpRectifier": ("elu", _as_they_are),
    "Maxout": ("identity", _maxout),
    "Softmax": ("identity", _softmax),
}


def _response(graph: Graph, info: Info, value: Value) -> Value:
    """Undo the standardisation of the response, then the link."""
    if info.has("norm_resp_mul"):
        mul, sub = info.numbers("norm_resp_mul"), info.numbers("norm_resp_sub")
        if len(mul):
            value = graph.apply("add", graph.apply("divide", value, float(mul[0])), float(sub[0]))
    family = info.text("distribution")
    if family in _LOGISTIC:
        return graph.apply("sigmoid", value)
    if family in _LOG:
        return graph.apply("min", graph.apply("exp", value), 1e19)
    return value


def _reconstruct(graph: Graph, info: Info, values: list[Value]) -> Prediction:
    """The reconstructed inputs, numbers on their own scale."""
    mul, sub = info.numbers("norm_mul", ()), info.numbers("norm_sub", ())
    first = len(values) - len(mul)
    for column in range(len(mul)):
        scaled = graph.apply("divide", values[first + column], float(mul[column]))
        values[first + column] = graph.apply("add", scaled, float(sub[column]))
    names = []
    for name, domain in zip(info.features, info.domains, strict=False):
        names += [f"reconstr_{name}"] if domain is None else [f"reconstr_{name}.{level}" for level in domain]
        names += [] if domain is None else [f"reconstr_{name}.missing(NA)"]
    return Prediction(values[0], tuple(values[1:]), tuple(names))
