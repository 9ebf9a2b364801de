"""AnomalyDetectionModel: scores from trees, machines and clusters inside."""

from __future__ import annotations

import math
from typing import Any

import pytest

from recserve.errors import ConfigError

FIELDS = {"a": "double"}
REGRESSION = (
    '<RegressionModel functionName="regression">{schema}<RegressionTable intercept="{intercept}">'
    '<NumericPredictor name="a" coefficient="2"/></RegressionTable></RegressionModel>'
)
CLUSTERS = """<ClusteringModel functionName="clustering" modelClass="centerBased" numberOfClusters="2">{schema}
  <ComparisonMeasure kind="distance"><euclidean/></ComparisonMeasure><ClusteringField field="a"/>
  <Cluster id="l"><Array n="1" type="real">0</Array></Cluster><Cluster><Array n="1" type="real">10</Array></Cluster>
  </ClusteringModel>"""


def model(schema: Any, attributes: str, inner: str, extra: str = "") -> str:
    return (
        f'<AnomalyDetectionModel functionName="regression" {attributes}>{schema("a")}'
        f'<Output><OutputField name="score" feature="predictedValue" dataType="double"/></Output>'
        f"{inner.format(schema=schema('a'), intercept=3)}{extra}</AnomalyDetectionModel>"
    )


def test_a_forest_scores_two_to_the_minus_relative_path_length(score: Any, schema: Any) -> None:
    found = score(model(schema, 'algorithmType="iforest" sampleDataSize="100"', REGRESSION), FIELDS, {"a": [1.0, None]})
    usual = 2 * (math.log(99) + 0.57721566490153286) - 2 * 99 / 100
    assert found["score"] == [pytest.approx(2 ** (-5 / usual)), None]


def test_a_forest_of_samples_of_two_has_a_usual_path_of_one(score: Any, schema: Any) -> None:
    found = score(model(schema, 'algorithmType="iforest" sampleDataSize="2"', REGRESSION), FIELDS, {"a": [-1.0]})
    assert found["score"] == [0.5]


@pytest.mark.parametrize("algorithm", ["ocsvm", "other"])
def test_other_models_give_their_own_answer(algorithm: str, score: Any, schema: Any) -> None:
    found = score(model(schema, f'algorithmType="{algorithm}"', REGRESSION), FIELDS, {"a": [1.0, 2.0]})
    assert found["score"] == [5.0, 7.0]


def test_clusters_score_the_distance_relative_to_that_of_their_training_rows(score: Any, schema: Any) -> None:
    means = '<MeanClusterDistances><Array n="2" type="real">0.5 4</Array></MeanClusterDistances>'
    text = model(schema, 'algorithmType="clusterMeanDist"', CLUSTERS, means)
    assert score(text, FIELDS, {"a": [1.0, 12.0, None]})["score"] == [2.0, 0.5, None]


@pytest.mark.parametrize(
    ("attributes", "inner", "message"),
    [
        ('algorithmType="iforest"', REGRESSION, "has the sampleDataSize 0"),
        ('algorithmType="iforest" sampleDataSize="9"', CLUSTERS, "predicts no number"),
        ('algorithmType="clusterMeanDist"', REGRESSION, "is no <ClusteringModel>"),
        ('algorithmType="clusterMeanDist"', CLUSTERS, "holds 1 distances for 2 clusters"),
        ('algorithmType="lof"', REGRESSION, "the attribute 'algorithmType' is 'lof'"),
    ],
)
def test_a_broken_model_is_refused_with_its_place(
    attributes: str, inner: str, message: str, score: Any, schema: Any
) -> None:
    means = '<MeanClusterDistances><Array n="1" type="real">1</Array></MeanClusterDistances>'
    with pytest.raises(ConfigError, match=r"model\.pmml:") as error:
        score(model(schema, attributes, inner, means), FIELDS, {"a": [1.0]})
    assert message in str(error.value)
