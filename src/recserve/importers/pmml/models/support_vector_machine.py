"""SupportVectorMachineModel: machines over one set of vectors, and how one label comes of several machines.

Several machines are one-against-all (the machine with the least value wins; with `maxWins`, the greatest) or
one-against-one (each votes for one of two labels). A machine that names an alternative decides by its threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from recserve.importers.pmml.arrays import read_numbers
from recserve.importers.pmml.results import Result

if TYPE_CHECKING:
    from recserve.importers.pmml.document import Element
    from recserve.importers.pmml.scope import Scope
    from recserve.scoring.graph import Graph, Value

KERNELS = {
    "LinearKernelType": "linear",
    "PolynomialKernelType": "polynomial",
    "RadialBasisKernelType": "radial",
    "SigmoidKernelType": "sigmoid",
}


def lower(model: Element, scope: Scope) -> Result:
    """Lower a `SupportVectorMachineModel`.

    Raises:
        ConfigError: machines and vectors contradict each other, or a machine lacks a label it needs.
    """
    function = model.choice("functionName", ("regression", "classification"))
    machines = model.all("SupportVectorMachine")
    if not machines:
        raise model.invalid("holds no <SupportVectorMachine>")
    if function == "regression" and len(machines) != 1:
        raise model.invalid(f"is a regression of {len(machines)} machines instead of one")
    values = _decide(model, machines, scope)
    if function == "regression":
        return Result("regression", value=values[0])
    return _classify(model, machines, values, scope)


# ---- values of machines


def _decide(model: Element, machines: list[Element], scope: Scope) -> list[Value]:
    """The value of each machine."""
    dictionary = model.need_child("VectorDictionary")
    inputs = _inputs(dictionary.need_child("VectorFields"), scope)
    representation = model.choice("svmRepresentation", ("SupportVectors", "Coefficients"), "SupportVectors")
    kernel = _kernel(model)
    if representation == "Coefficients":
        if kernel["kernel"] != "linear":
            raise model.invalid("gives coefficients of a hyperplane for a kernel that is not linear")
        weights = np.stack([_coefficients(machine, len(inputs)) for machine in machines], axis=1)
        return scope.graph.apply_many("dense", inputs, weights=weights, bias=[_intercept(one) for one in machines])
    vectors, places = _vectors(dictionary, len(inputs))
    weights = np.zeros((len(machines), len(vectors)))
    for row, machine in zip(weights, machines, strict=True):
        ids = [vector.need("vectorId") for vector in machine.need_child("SupportVectors").all("SupportVector")]
        for id_, weight in zip(ids, _coefficients(machine, len(ids)), strict=True):
            if id_ not in places:
                raise machine.invalid(f"names the vector {id_!r}, which is not in the <VectorDictionary>")
            row[places[id_]] += weight
    used = np.flatnonzero(np.any(weights != 0.0, axis=0))
    return scope.graph.apply_many(
        "svm",
        inputs,
        vectors=vectors[used].reshape(len(used), len(inputs)),
        coefficients=weights[:, used],
        intercepts=[_intercept(machine) for machine in machines],
        **kernel,
    )


def _inputs(fields: Element, scope: Scope) -> list[Value]:
    """One number a vector field; a categorical predictor is its coefficient where the field is its value, else 0."""
    inputs = []
    for element in fields.all("FieldRef", "CategoricalPredictor"):
        if element.tag == "FieldRef":
            inputs.append(scope.number(element.need("field"), element))
            continue
        field = scope.field(element.get("name") or element.need("field"), element)
        same = scope.graph.apply("boolean_to_number", scope.equals(field, element.need("value"), element))
        inputs.append(scope.graph.apply("multiply", same, element.finite("coefficient", 1.0)))
    if not inputs:
        raise fields.invalid("holds no field")
    return inputs


def _kernel(model: Element) -> dict[str, Any]:
    """Parameters of the op for the model's kernel."""
    element = model.need_child(*KERNELS)
    kind = KERNELS[element.tag]
    params: dict[str, Any] = {"kernel": kind}
    if kind != "linear":
        params["gamma"] = element.finite("gamma", 1.0)
    if kind in ("polynomial", "sigmoid"):
        params["coef0"] = element.finite("coef0", 1.0)
    if kind == "polynomial":
        params["degree"] = element.finite("degree", 1.0)
    return params


def _vectors(dictionary: Element, size: int) -> tuple[np.ndarray, dict[str, int]]:
    """The vectors [count, size] and the row of each id."""
    rows: list[np.ndarray] = []
    places: dict[str, int] = {}
    for instance in dictionary.all("VectorInstance"):
        id_, vector = instance.need("id"), read_numbers(instance.need_child("Array", "REAL-SparseArray"))
        if len(vector) > size or (len(vector) < size and instance.first("REAL-SparseArray") is None):
            raise instance.invalid(f"has {len(vector)} values for {size} fields")
        if id_ in places:
            raise instance.invalid(f"has the id {id_!r} of another vector")
        places[id_] = len(rows)
        rows.append(np.concatenate([vector, np.zeros(size - len(vector))]))
    return np.array(rows, dtype=np.float64).reshape(len(rows), size), places


def _coefficients(machine: Element, size: int) -> np.ndarray:
    coefficients = machine.need_child("Coefficients")
    values = [one.finite("value", 0.0) for one in coefficients.all("Coefficient")]
    if len(values) != size:
        raise coefficients.invalid(f"holds {len(values)} coefficients for {size} vectors or fields")
    return np.array(values, dtype=np.float64)


def _intercept(machine: Element) -> float:
    return machine.need_child("Coefficients").finite("absoluteValue", 0.0)


# ---- labels


@dataclass(frozen=True)
class Duel:
    """A machine that decides between two labels: the first where `first` is true."""

    first: Value
    label: str
    other: str


def _classify(model: Element, machines: list[Element], values: list[Value], scope: Scope) -> Result:
    method = _method(model, machines)
    if method == "OneAgainstOne":
        duels = [_duel(model, one, value, scope) for one, value in zip(machines, values, strict=True)]
        return _vote(duels, scope.graph)
    labels = [machine.need("targetCategory") for machine in machines]
    best = "argmax" if model.flag("maxWins", False) else "argmin"
    winner = scope.graph.apply(best, *values)
    return Result("classification", value=scope.graph.apply("pick", winner, values=labels, dtype="string"))


def _method(model: Element, machines: list[Element]) -> str:
    """One-against-one, also where a single machine names two labels; PMML before 4.0 has no attribute for it."""
    stated = model.choice("classificationMethod", ("OneAgainstAll", "OneAgainstOne"), "OneAgainstAll")
    if model.get("classificationMethod") is None and all(one.get("alternateTargetCategory") for one in machines):
        return "OneAgainstOne"
    return "OneAgainstOne" if len(machines) == 1 else stated


def _duel(model: Element, machine: Element, value: Value, scope: Scope) -> Duel:
    graph = scope.graph
    label, other = machine.need("targetCategory"), machine.get("alternateTargetCategory")
    binary = model.get("alternateBinaryTargetCategory")
    if other is None and binary is not None:
        rounded = graph.apply("round_half_up", value)
        wrong = graph.apply("not", graph.apply("isin", rounded, values=[0.0, 1.0]))
        rounded = graph.apply("fail", rounded, wrong, message="the machine's value is neither 0 nor 1 once rounded")
        return Duel(graph.apply("equal", rounded, 1.0), label, binary)
    if other is None:
        others = [category for category in scope.categories if category != label]
        if len(others) != 1:
            raise machine.invalid("decides between two labels and names one", "It needs `alternateTargetCategory`")
        other = others[0]
    threshold = machine.finite("threshold", model.finite("threshold", 0.0))
    return Duel(graph.apply("greater" if model.flag("maxWins", False) else "less", value, threshold), label, other)


def _vote(duels: list[Duel], graph: Graph) -> Result:
    """Most votes win; of equal ones the label that got its first vote first."""
    labels = list(dict.fromkeys(label for duel in duels for label in (duel.label, duel.other)))
    numbers = [
        graph.apply("select", duel.first, float(labels.index(duel.label)), float(labels.index(duel.other)))
        for duel in duels
    ]
    totals = graph.apply_many(
        "vote", numbers, classes=[float(i) for i in range(len(labels))], weights=[1.0] * len(duels)
    )
    best = graph.apply("argmax", *(graph.apply("choose", number, *totals) for number in numbers))
    winner = graph.apply("choose", best, *numbers)
    probabilities = {
        label: graph.apply("divide", total, float(len(duels))) for label, total in zip(labels, totals, strict=True)
    }
    value = graph.apply("pick", winner, values=labels, dtype="string")
    return Result("classification", value=value, probabilities=probabilities)
