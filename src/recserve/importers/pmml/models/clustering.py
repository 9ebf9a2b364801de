"""ClusteringModel with centres: the cluster whose centre is nearest (or most similar), and the affinity to each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from recserve.importers.pmml.arrays import read_numbers, read_words
from recserve.importers.pmml.comparison import Measure, as_flag, measure_all, read_measure
from recserve.importers.pmml.results import Result

if TYPE_CHECKING:
    from recserve.importers.pmml.document import Element
    from recserve.importers.pmml.scope import Scope
    from recserve.scoring.graph import Value


def lower(model: Element, scope: Scope) -> Result:
    """Lower a `ClusteringModel`.

    Raises:
        ConfigError: "unsupported_element" for clusters of distributions, whose scoring the standard leaves open; or the
            centres do not fit the fields.
    """
    model.choice("functionName", ("clustering",))
    if model.choice("modelClass", ("centerBased", "distributionBased")) == "distributionBased":
        raise model.unsupported("is distributionBased", "The standard does not say how such clusters score")
    if (center_fields := model.first("CenterFields")) is not None:
        raise center_fields.unsupported("derives the fields of centres", "Use LocalTransformations")
    fields = [one for one in model.all("ClusteringField") if one.flag("isCenterField", True)]
    clusters = model.all("Cluster")
    if not fields or not clusters:
        raise model.invalid(f"has {len(fields)} fields of centres and {len(clusters)} clusters")
    measure = read_measure(model.need_child("ComparisonMeasure"), fields)
    if measure.is_distance:
        inputs = [scope.number(field.need("field"), field) for field in fields]
        measure.params["missing_weights"] = _missing_weights(model, len(fields))
    else:
        inputs = [_flag(field, scope) for field in fields]
    centers = np.array([_center(cluster, len(fields), measure) for cluster in clusters])
    affinities = measure_all(measure, inputs, centers)
    return _answer(clusters, affinities, measure, scope)


def _flag(field: Element, scope: Scope) -> Value:
    name = field.need("field")
    return as_flag(scope.field(name, field).value, name, scope)


def _missing_weights(model: Element, size: int) -> np.ndarray:
    element = model.first("MissingValueWeights")
    if element is None:
        return np.ones(size)
    weights = read_numbers(element.need_child("Array"))
    if len(weights) != size or np.any(weights < 0.0):
        raise element.invalid(f"holds {len(weights)} weights for {size} fields, or one below zero")
    return weights


def _center(cluster: Element, size: int, measure: Measure) -> np.ndarray:
    array = cluster.need_child("Array")
    if measure.is_distance:
        center = read_numbers(array)
    else:
        words = [word.lower() for word in read_words(array)]
        center = np.array([_bit(word, array) for word in words])
    if len(center) != size:
        raise cluster.invalid(f"has a centre of {len(center)} values for {size} fields")
    return center


def _bit(word: str, array: Element) -> float:
    if word in ("true", "false"):
        return float(word == "true")
    number = array.parse_number(word, "a value of a similarity's centre")
    if number not in (0.0, 1.0):
        raise array.invalid(f"holds {word}; the centres of similarities are of 0 and 1")
    return number


def _answer(clusters: list[Element], affinities: list[Value], measure: Measure, scope: Scope) -> Result:
    graph = scope.graph
    ids = [cluster.get("id") or str(i) for i, cluster in enumerate(clusters, start=1)]
    if len(set(ids)) < len(ids):
        raise clusters[0].invalid(f"the clusters' ids are not unique: {', '.join(ids)}")
    best = graph.apply("argmin" if measure.is_distance else "argmax", *affinities, skip_missing=True)
    # The order of all is worked out only where an OutputField asks for a rank above the first.
    order = [best, *graph.apply_many("rank_order", affinities, descending=not measure.is_distance)[1:]]
    ranked = [graph.apply("pick", place, values=ids, dtype="string") for place in order]
    ranked_affinities = [graph.apply("choose", place, *affinities) for place in order]
    names = {id_: cluster.need("name") for id_, cluster in zip(ids, clusters, strict=True) if cluster.get("name")}
    return Result(
        "clustering",
        value=ranked[0],
        entity_id=ranked[0],
        affinity=ranked_affinities[0],
        affinities=dict(zip(ids, affinities, strict=True)),
        display=names,
        ranked_ids=ranked,
        ranked_affinities=ranked_affinities,
    )
