"""NearestNeighborModel: the training rows nearest to a row, and what their targets say.

Training rows lie in the document. Where they are not transformed, the fields compared are computed from them as they
are from a row that is scored, by a program of their own that runs when the document is read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from recserve.importers.model import Report
from recserve.importers.pmml import schema, transformations
from recserve.importers.pmml.arrays import read_table
from recserve.importers.pmml.comparison import Measure, as_flag, measure_all, read_measure
from recserve.importers.pmml.results import Result
from recserve.importers.pmml.scope import Field, Scope
from recserve.scoring.graph import Graph, Value

if TYPE_CHECKING:
    from recserve.importers.pmml.document import Element

MAX_ALIKE = 4096  # training rows under a similarity: each is a value of its own


@dataclass(frozen=True)
class Neighbors:
    """The nearest training rows of a row, nearest first.

    Attributes:
        model: the model element.
        scope: of the model.
        columns: field → its text in each training row.
        places: numbers (from 0) of the training rows.
        affinities: their distances or similarities.
        is_distance: which of the two.
        count: how many of them decide; there may be more, for OutputFields.
    """

    model: Element
    scope: Scope
    columns: dict[str, list[str]]
    places: list[Value]
    affinities: list[Value]
    is_distance: bool
    count: int


def lower(model: Element, scope: Scope) -> Result:
    """Lower a `NearestNeighborModel`.

    Raises:
        ConfigError: a training row lacks a value, or the fields compared are in no table.
    """
    function = model.choice("functionName", ("classification", "regression", "clustering", "mixed"))
    columns = _read_instances(model)
    neighbors = _find(model, scope, columns)
    ids = _ids(model, columns)
    ranked = [scope.graph.apply("pick", place, values=ids, dtype="string") for place in neighbors.places]
    values = {name: _predict(name, field, neighbors) for name, field in _targets(model, scope).items()}
    return Result(
        "regression" if function == "regression" else "classification" if values else "clustering",
        value=next(iter(values.values()), None),
        values=values if len(values) > 1 else {},
        entity_id=ranked[0],
        affinity=neighbors.affinities[0],
        ranked_ids=ranked,
        ranked_affinities=neighbors.affinities,
    )


# ---- training rows


def _read_instances(model: Element) -> dict[str, list[str]]:
    """Field → its text in each training row; a column may carry a prefix, which the rows do not."""
    instances = model.need_child("TrainingInstances")
    rows = read_table(instances)
    if not rows:
        raise instances.invalid("holds no row")
    columns = {}
    for element in instances.need_child("InstanceFields").all("InstanceField"):
        name = element.need("field")
        column = (element.get("column") or name).rpartition(":")[2]
        columns[name] = [row.get(column, "").strip() for row in rows]
    return columns


def _ids(model: Element, columns: dict[str, list[str]]) -> list[str]:
    """Ids of the training rows: those of the model's variable, else their numbers from 1."""
    variable = model.get("instanceIdVariable")
    if variable is None:
        return [str(i + 1) for i in range(len(next(iter(columns.values()))))]
    if variable not in columns:
        raise model.invalid(f"takes ids from {variable!r}, which is no <InstanceField>")
    return columns[variable]


def _targets(model: Element, scope: Scope) -> dict[str, Any]:
    """The fields that the model predicts, as the data dictionary declares them."""
    targets = {}
    for field in model.need_child("MiningSchema").all("MiningField"):
        if field.get("usageType") in schema.TARGET_USAGES:
            name = field.need("name")
            if name not in scope.dictionary:
                raise field.invalid(f"the target {name!r} is not in the <DataDictionary>")
            targets[name] = scope.dictionary[name]
    return targets


def _training_values(
    inputs: list[Element], model: Element, scope: Scope, columns: dict[str, list[str]]
) -> dict[str, Any]:
    """Field → its values in the training rows, as a program gives them that reads those rows."""
    top = Scope(Graph(), scope.document, Report("pmml"), scope.dictionary, scope.functions)
    inner = top
    for around in [*reversed(_models_around(model)), model]:
        inner = inner.child()
        schema.declare(around, inner, around.need("functionName"))
        if inner.parent is top:
            transformations.declare_global(inner)
        transformations.declare_local(around, inner)
    for name in columns:
        if name in scope.dictionary or not inner.sees(name):
            continue
        # A derived field that the table holds: its values are taken as they are.
        own = inner.field(name, model)
        value = inner.graph.input(name, own.value.dtype)
        inner.declare(name, Field(value, own.data_type, name=name, optype=own.optype))
    for element in inputs:
        name = element.need("field")
        if name not in inner.graph.outputs:
            inner.graph.output(name, inner.field(name, element).value)
    return inner.graph.build().run({name: [text or None for text in texts] for name, texts in columns.items()}).outputs


def _models_around(model: Element) -> list[Element]:
    """Models that hold this one, innermost first."""
    found, around = [], model.parent
    while around is not None:
        if around.first("MiningSchema") is not None:
            found.append(around)
        around = around.parent
    return found


# ---- neighbours


def _find(model: Element, scope: Scope, columns: dict[str, list[str]]) -> Neighbors:
    inputs = model.need_child("KNNInputs").all("KNNInput")
    if not inputs:
        raise model.need_child("KNNInputs").invalid("holds no <KNNInput>")
    measure = read_measure(model.need_child("ComparisonMeasure"), inputs)
    training = _training_values(inputs, model, scope, columns)
    pairs = [_pair(element, i, measure, scope, training) for i, element in enumerate(inputs)]
    values = [value for value, _ in pairs]
    centers = np.stack([center for _, center in pairs], axis=1)
    rows = len(centers)
    count = model.integer("numberOfNeighbors", 0)
    if not 1 <= count <= rows:
        raise model.invalid(f"asks for {count} neighbours of {rows} training rows")
    shown = min(rows, max(count, _highest_rank(model)))
    places, affinities = _nearest(model, values, centers, measure, shown)
    return Neighbors(model, scope, columns, places, affinities, measure.is_distance, count)


def _nearest(
    model: Element, values: list[Value], centers: np.ndarray, measure: Measure, count: int
) -> tuple[list[Value], list[Value]]:
    graph = values[0].graph
    if measure.is_distance:
        found = graph.apply_many("nearest", values, centers=centers, count=count, **measure.params)
        return found[:count], found[count:]
    if len(centers) > MAX_ALIKE:
        raise model.unsupported(f"compares similarities of {len(centers):,} training rows", f"At most {MAX_ALIKE:,}")
    alike = measure_all(measure, values, centers)
    places = graph.apply_many("rank_order", alike, descending=True)[:count]
    return places, [graph.apply("choose", place, *alike) for place in places]


def _highest_rank(model: Element) -> int:
    output = model.first("Output")
    fields = output.all("OutputField") if output is not None else []
    return max((field.integer("rank", 1) for field in fields), default=1)


def _pair(
    element: Element, number: int, measure: Measure, scope: Scope, training: dict[str, Any]
) -> tuple[Value, np.ndarray]:
    """What is compared: a number of the row, and those of the training rows."""
    name = element.need("field")
    field, stored = scope.field(name, element), training[name]
    if any(value is None or (isinstance(value, float) and math.isnan(value)) for value in stored.tolist()):
        raise element.invalid(f"the field {name!r} is missing in a training row")
    if not measure.is_distance:
        flags = [str(value).lower() in ("true", "1", "1.0") for value in stored.tolist()]
        return as_flag(field.value, name, scope), np.array(flags, dtype=np.float64)
    if field.value.dtype != "string" or measure.params["compare"][number] in ("absolute", "gaussian"):
        return scope.number(name, element), np.array([float(value) for value in stored.tolist()])
    words = list(dict.fromkeys(stored.tolist()))
    codes = [float(i) for i in range(len(words))]
    value = scope.graph.apply("lookup", field.value, keys=[[word] for word in words], values=codes, default=-1.0)
    return value, np.array([float(words.index(word)) for word in stored.tolist()])


# ---- what they say


def _predict(name: str, field: Any, neighbors: Neighbors) -> Value:
    if name not in neighbors.columns:
        raise neighbors.model.invalid(f"predicts {name!r}, which is no <InstanceField>")
    texts = neighbors.columns[name]
    if "" in texts:
        raise neighbors.model.invalid(f"the target {name!r} is missing in training row {texts.index('') + 1}")
    if field.optype == "continuous":
        return _average([neighbors.scope.parse(text, "double", neighbors.model) for text in texts], neighbors)
    return _elect(texts, field.data_type, neighbors)


def _weights(neighbors: Neighbors) -> list[Value]:
    """1 / (distance + threshold) of each neighbour; rows at distance 0 without a threshold outweigh all others."""
    if not neighbors.is_distance:
        raise neighbors.model.invalid(
            "weighs neighbours by the inverse of a similarity", "Only distances can be weights"
        )
    graph = neighbors.scope.graph
    threshold = neighbors.model.finite("threshold", 0.001)
    below = [graph.apply("add", one, threshold) for one in neighbors.affinities[: neighbors.count]]
    weights = [graph.apply("reciprocal", one) for one in below]
    if threshold > 0.0:
        return weights
    exact = [graph.apply("boolean_to_number", graph.apply("equal", one, 0.0)) for one in below]
    some = graph.apply("greater", graph.apply("sum", *exact), 0.0)
    return [graph.apply("select", some, one, weight) for one, weight in zip(exact, weights, strict=True)]


def _average(targets: list[Any], neighbors: Neighbors) -> Value:
    graph, model = neighbors.scope.graph, neighbors.model
    method = model.choice("continuousScoringMethod", ("median", "average", "weightedAverage"), "average")
    values = [graph.apply("pick", place, values=targets) for place in neighbors.places[: neighbors.count]]
    if method != "weightedAverage":
        return graph.apply("median" if method == "median" else "mean", *values)
    weights = _weights(neighbors)
    terms = [graph.apply("multiply", weight, value) for weight, value in zip(weights, values, strict=True)]
    return graph.apply("divide", graph.apply("sum", *terms), graph.apply("sum", *weights))


def _elect(texts: list[str], data_type: str, neighbors: Neighbors) -> Value:
    """The label with most votes; of equal ones that of more training rows, then the least."""
    graph, model = neighbors.scope.graph, neighbors.model
    method = model.choice("categoricalScoringMethod", ("majorityVote", "weightedMajorityVote"), "majorityVote")
    labels = sorted(
        dict.fromkeys(texts), key=lambda text: (-texts.count(text), neighbors.scope.parse(text, data_type, model))
    )
    codes = {label: float(i) for i, label in enumerate(labels)}
    votes = [
        graph.apply("pick", place, values=[codes[text] for text in texts])
        for place in neighbors.places[: neighbors.count]
    ]
    ones = [graph.constant(1.0)] * len(votes)
    weights = ones if method == "majorityVote" else _weights(neighbors)
    totals = graph.apply_many("tally", [*votes, *weights], size=len(labels))
    known = graph.apply("is_known", neighbors.places[0])
    winner = graph.apply("mark_missing", graph.apply("argmax", *totals), graph.apply("not", known))
    return graph.apply("pick", winner, values=labels, dtype="string")
