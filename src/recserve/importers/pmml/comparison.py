"""ComparisonMeasure: how far a row is from a reference row, or how much alike, for clusters and for neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from recserve.importers.pmml.document import Element
    from recserve.importers.pmml.scope import Scope
    from recserve.scoring.graph import Value

DISTANCES = {
    "euclidean": "euclidean",
    "squaredEuclidean": "squared",
    "chebychev": "chebychev",
    "cityBlock": "cityblock",
    "minkowski": "minkowski",
}
SIMILARITIES = {
    "simpleMatching": "simple",
    "jaccard": "jaccard",
    "tanimoto": "tanimoto",
    "binarySimilarity": "binary",
}
COMPARE = {"absDiff": "absolute", "gaussSim": "gaussian", "delta": "delta", "equal": "equal"}


@dataclass(frozen=True)
class Measure:
    """A measure.

    Attributes:
        is_distance: less is nearer; else it is a similarity of booleans.
        op: name of the scoring op that gives the measure to every reference row.
        params: of the op, but `centers`.
    """

    is_distance: bool
    op: str
    params: dict[str, Any]


def read_measure(element: Element, fields: list[Element]) -> Measure:
    """The measure of a `ComparisonMeasure`.

    Args:
        element: the measure.
        fields: `ClusteringField` or `KNNInput`, one a number of each reference row.

    Raises:
        ConfigError: a comparison that recserve lacks ("table"), or a parameter is wrong.
    """
    found = element.need_child(*DISTANCES, *SIMILARITIES)
    if found.tag in SIMILARITIES:
        return Measure(False, "similarities", _similarity(found))
    params: dict[str, Any] = {"measure": DISTANCES[found.tag], "skip_missing": True}
    if found.tag == "minkowski":
        params["power"] = found.finite("p-parameter")
        if params["power"] <= 0.0:
            raise found.invalid(f"has the p-parameter {params['power']:g}", "It is above zero")
    params["compare"] = [_compare(field, element) for field in fields]
    params["scales"] = [_scale(field, how) for field, how in zip(fields, params["compare"], strict=True)]
    params["weights"] = [field.finite("fieldWeight", 1.0) for field in fields]
    return Measure(True, "distances", params)


def _similarity(found: Element) -> dict[str, Any]:
    params: dict[str, Any] = {"kind": SIMILARITIES[found.tag]}
    if found.tag == "binarySimilarity":
        names = [f"{letter}{pair}-parameter" for letter in "cd" for pair in ("11", "10", "01", "00")]
        params["factors"] = [found.finite(name) for name in names]
    return params


def _compare(field: Element, measure: Element) -> str:
    own = field.get("compareFunction")
    named = field if own is not None else measure
    how = named.choice("compareFunction", (*COMPARE, "table"), "absDiff")
    if how == "table":
        raise named.unsupported("compares by a table", "absDiff, gaussSim, delta and equal are read")
    return COMPARE[how]


def _scale(field: Element, how: str) -> float:
    if how != "gaussian":
        return 1.0
    scale = field.finite("similarityScale")
    if scale == 0.0:
        raise field.invalid("has the similarityScale 0")
    return scale


def as_flag(value: Value, name: str, scope: Scope) -> Value:
    """A field as a boolean, as similarities take it: true and 1, false and 0; a row with anything else fails."""
    graph = scope.graph
    if value.dtype == "boolean":
        return value
    if value.dtype == "string":
        flag = graph.apply(
            "lookup",
            value,
            keys=[["true"], ["1"], ["false"], ["0"]],
            values=[True, True, False, False],
            dtype="boolean",
        )
        wrong = graph.apply("and", graph.apply("is_known", value), graph.apply("is_missing", flag))
        return graph.apply("fail", flag, wrong, message=f"the value of {name!r} is neither true nor false")
    wrong = graph.apply("not", graph.apply("isin", value, values=[0.0, 1.0]))
    checked = graph.apply("fail", value, wrong, message=f"the value of {name!r} is neither 0 nor 1")
    return graph.apply("number_to_boolean", checked)


def measure_all(measure: Measure, inputs: list[Value], centers: np.ndarray) -> list[Value]:
    """The measure of the row to each reference row [count, inputs]."""
    graph = inputs[0].graph
    return graph.apply_many(measure.op, inputs, centers=centers, **measure.params)
