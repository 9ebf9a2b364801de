"""AnomalyDetectionModel: a score of how unusual a row is, from the answer of a model inside."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from recserve.importers.pmml import models
from recserve.importers.pmml.arrays import read_numbers
from recserve.importers.pmml.results import Result

if TYPE_CHECKING:
    from recserve.importers.pmml.document import Element
    from recserve.importers.pmml.scope import Scope
    from recserve.scoring.graph import Value

EULER = 0.57721566490153286


def lower(model: Element, scope: Scope) -> Result:
    """Lower an `AnomalyDetectionModel`.

    `iforest`: 2 to the power of -(mean path length) / c(n), where n is the sample size of each tree and c(n) the mean
    path of an unsuccessful search in a tree of n; near 1 is unusual. `ocsvm` and `other`: the inner model's answer.
    `clusterMeanDist`: the affinity to the winning cluster over the mean of its training rows.

    Raises:
        ConfigError: what the algorithm needs is absent, or the inner model gives no number.
    """
    model.choice("functionName", ("regression",))
    algorithm = model.choice("algorithmType", ("iforest", "ocsvm", "clusterMeanDist", "other"))
    inner = models.find_model(model)
    result = models.lower_model(inner, scope)
    if algorithm == "clusterMeanDist":
        value = _relative_distance(model, inner, result, scope)
    else:
        if result.value is None or result.value.dtype != "number":
            raise inner.invalid("predicts no number", f"The score of {algorithm} is computed from one")
        value = _forest_score(model, result.value, scope) if algorithm == "iforest" else result.value
    fields = {name: field for name, field in result.fields.items() if name not in result.hidden}
    return Result("regression", value=value, fields=fields)


def _forest_score(model: Element, length: Value, scope: Scope) -> Value:
    size = model.integer("sampleDataSize", 0)
    if size < 2:
        raise model.invalid(f"has the sampleDataSize {size}", "An isolation forest needs the sample size, 2 at least")
    # c(2) is 1 by definition: ln(1) + γ is no good approximation of the harmonic number there.
    usual = 1.0 if size == 2 else 2.0 * (math.log(size - 1.0) + EULER) - 2.0 * (size - 1.0) / size
    return scope.graph.apply("exp", scope.graph.apply("multiply", length, -math.log(2.0) / usual))


def _relative_distance(model: Element, inner: Element, result: Result, scope: Scope) -> Value:
    if inner.tag != "ClusteringModel" or result.value is None or result.affinity is None:
        raise inner.invalid("is no <ClusteringModel>", "clusterMeanDist is about clusters")
    holder = model.need_child("MeanClusterDistances")
    means = read_numbers(holder.need_child("Array")).tolist()
    ids = list(result.affinities)
    if len(means) != len(ids):
        raise holder.invalid(f"holds {len(means)} distances for {len(ids)} clusters")
    mean = scope.graph.apply("lookup", result.value, keys=[[id_] for id_ in ids], values=means)
    return scope.graph.apply("divide", result.affinity, mean)
