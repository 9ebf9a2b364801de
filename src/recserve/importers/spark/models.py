"""Spark's models: what each puts into its prediction columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from recserve.importers.pipelines import classifiers, regressors
from recserve.importers.pipelines.classifiers import Prediction
from recserve.importers.pipelines.frame import Column
from recserve.importers.pipelines.regressors import Cluster
from recserve.importers.pipelines.trees import Leaf, Split, Tree, sum_trees
from recserve.importers.pipelines.vectors import Vector
from recserve.importers.spark.features import Pipeline, stage
from recserve.importers.spark.saved import SavedStage, dense_matrix, dense_vector, open_stage, read_metadata
from recserve.scoring.graph import Value

_TREE_KINDS = {
    "DecisionTreeClassificationModel",
    "RandomForestClassificationModel",
    "GBTClassificationModel",
}


def _features(pipeline: Pipeline, saved: SavedStage, size: int | None) -> Vector:
    return pipeline.frame.vector(str(saved.param("featuresCol", "features")), size)


def _put(pipeline: Pipeline, saved: SavedStage, param: str, default: str, column: Column) -> None:
    """Put a column under the name of a parameter; an empty name means that nobody wants it."""
    name = str(saved.params.get(param, default))
    if name:
        pipeline.frame.put(name, column)


def _predict(pipeline: Pipeline, saved: SavedStage, value: Value) -> None:
    _put(pipeline, saved, "predictionCol", "prediction", value)


def _thresholds(saved: SavedStage) -> list[float] | None:
    found = saved.params.get("thresholds")
    return [float(threshold) for threshold in found] if found else None


def _trees(saved: SavedStage, *, has_counts: bool) -> tuple[list[Tree], list[float]]:
    """The trees of a model and their weights."""
    rows = saved.rows()
    if rows and "nodeData" in rows[0]:
        by_tree: dict[int, list[Mapping[str, Any]]] = {}
        for row in rows:
            by_tree.setdefault(int(saved.field(row, "treeID")), []).append(row["nodeData"])
        weights = {
            int(saved.field(row, "treeID", "_1")): float(saved.field(row, "weights", "_3"))
            for row in saved.rows("treesMetadata")
        }
        numbers = sorted(by_tree)
        trees = [_tree(saved, by_tree[number], has_counts=has_counts) for number in numbers]
        return trees, [weights.get(number, 1.0) for number in numbers]
    return [_tree(saved, rows, has_counts=has_counts)], [1.0]


def _tree(saved: SavedStage, rows: Sequence[Mapping[str, Any]], *, has_counts: bool) -> Tree:
    """A tree from its rows; ids are given in pre-order."""
    ordered = sorted(rows, key=lambda row: int(row["id"]))
    places = {int(row["id"]): i for i, row in enumerate(ordered)}
    nodes: list[Split | Leaf] = []
    for row in ordered:
        left, right = int(row["leftChild"]), int(row["rightChild"])
        if left < 0:
            nodes.append(Leaf(tuple(row["impurityStats"]) if has_counts else (float(row["prediction"]),)))
            continue
        if left not in places or right not in places:
            raise saved.wrong(f"node {row['id']} of a tree has no child {left} or {right}", "damaged_model")
        nodes.append(_split(row["split"], places[left], places[right]))
    return nodes


def _split(split: Mapping[str, Any], yes: int, no: int) -> Split:
    """A test. Of categories Spark keeps the shorter side, which a value that it has never seen is not on."""
    feature, count = int(split["featureIndex"]), int(split["numCategories"])
    numbers = [float(number) for number in split["leftCategoriesOrThreshold"]]
    if count < 0:
        return Split(feature, numbers[0], None, yes, no)
    if len(numbers) <= count // 2:
        return Split(feature, 0.0, tuple(numbers), yes, no)
    others = tuple(float(i) for i in range(count) if float(i) not in set(numbers))
    return Split(feature, 0.0, others, yes, no, missing_yes=True, test="not_in")


def _num_features(saved: SavedStage) -> int | None:
    found = saved.extra.get("numFeatures")
    return int(found) if found is not None else None


def _logistic(pipeline: Pipeline, saved: SavedStage) -> Prediction:
    row = saved.row()
    if "coefficientMatrix" in row:
        matrix, intercepts = saved.matrix(row, "coefficientMatrix"), saved.vector(row, "interceptVector")
    else:  # Spark before 2.1
        matrix, intercepts = (
            saved.vector(row, "coefficients")[None, :],
            np.array([float(saved.field(row, "intercept"))]),
        )
    vector, thresholds = _features(pipeline, saved, matrix.shape[1]), _thresholds(saved)
    if bool(row.get("isMultinomial", len(matrix) > 1)):
        return classifiers.multinomial_logistic(vector, matrix, intercepts, thresholds)
    threshold = saved.number("threshold", 0.5)
    if thresholds is not None:
        threshold = 1.0 / (1.0 + thresholds[0] / thresholds[1]) if thresholds[1] else 0.0
    return classifiers.binary_logistic(vector, matrix[0], float(intercepts[0]), threshold)


def _linear_svc(pipeline: Pipeline, saved: SavedStage) -> Prediction:
    row = saved.row()
    weights = saved.vector(row, "coefficients")
    vector = _features(pipeline, saved, len(weights))
    return classifiers.margin_classifier(
        vector, weights, float(saved.field(row, "intercept")), saved.number("threshold", 0.0)
    )


def _naive_bayes(pipeline: Pipeline, saved: SavedStage) -> Prediction:
    row, kind = saved.row(), str(saved.param("modelType", "multinomial"))
    pi, theta = saved.vector(row, "pi"), saved.matrix(row, "theta")
    sigma = saved.matrix(row, "sigma") if kind == "gaussian" else None
    vector = _features(pipeline, saved, theta.shape[1])
    return classifiers.naive_bayes(vector, kind, (pi, theta, sigma), _thresholds(saved))


def _tree_classifier(pipeline: Pipeline, saved: SavedStage) -> Prediction:
    is_boosted = saved.kind == "GBTClassificationModel"
    trees, weights = _trees(saved, has_counts=not is_boosted)
    vector, thresholds = _features(pipeline, saved, _num_features(saved)), _thresholds(saved)
    if is_boosted:
        return classifiers.boosted_classifier(vector, trees, weights, thresholds)
    classes = int(saved.extra.get("numClasses", 2))
    if saved.kind == "DecisionTreeClassificationModel":
        return classifiers.tree_classifier(vector, trees[0], classes, thresholds)
    return classifiers.forest_classifier(vector, trees, classes, thresholds)


def _perceptron(pipeline: Pipeline, saved: SavedStage) -> Prediction:
    row = saved.row()
    layers = [int(size) for size in (row.get("layers") or saved.param("layers"))]
    vector = _features(pipeline, saved, layers[0])
    return classifiers.perceptron(vector, layers, saved.vector(row, "weights"), _thresholds(saved))


def _factorization(pipeline: Pipeline, saved: SavedStage) -> Value:
    row = saved.row()
    factors, linear = saved.matrix(row, "factors"), saved.vector(row, "linear")
    vector = _features(pipeline, saved, len(factors))
    return regressors.factorized(vector, float(saved.field(row, "intercept")), linear, factors)


def _factorization_classifier(pipeline: Pipeline, saved: SavedStage) -> Prediction:
    graph, thresholds = pipeline.frame.graph, _thresholds(saved)
    margin = _factorization(pipeline, saved)
    one = graph.apply("sigmoid", margin)
    probability = [graph.apply("subtract", 1.0, one), one]
    return Prediction(
        [graph.apply("negate", margin), margin], probability, classifiers.pick_class(graph, probability, thresholds)
    )


def _one_vs_rest(pipeline: Pipeline, saved: SavedStage) -> Prediction:
    """The class whose own classifier has the largest raw score."""
    raw = []
    for i in range(int(saved.extra.get("numClasses", 0)) or len(list(saved.path.glob("model_*")))):
        inner = open_stage(saved.path / f"model_{i}")
        if inner.kind not in CLASSIFIERS:
            raise inner.wrong(f"class {inner.kind!r} inside OneVsRest is not supported", "unsupported_element")
        found = CLASSIFIERS[inner.kind](pipeline, inner)
        if found.raw is None:
            raise inner.wrong(f"class {inner.kind!r} inside OneVsRest has no raw scores", "unsupported_element")
        raw.append(found.raw[1])
    return Prediction(raw, None, pipeline.frame.graph.apply("argmax", *raw))


CLASSIFIERS: dict[str, Callable[[Pipeline, SavedStage], Prediction]] = {
    "LogisticRegressionModel": _logistic,
    "LinearSVCModel": _linear_svc,
    "NaiveBayesModel": _naive_bayes,
    "MultilayerPerceptronClassificationModel": _perceptron,
    "FMClassificationModel": _factorization_classifier,
    "OneVsRestModel": _one_vs_rest,
    **dict.fromkeys(sorted(_TREE_KINDS), _tree_classifier),
}


@stage(*CLASSIFIERS)
def classifier(pipeline: Pipeline, saved: SavedStage) -> None:
    """Any classifier: raw prediction, probability and label."""
    found = CLASSIFIERS[saved.kind](pipeline, saved)
    graph = pipeline.frame.graph
    if found.raw is not None:
        _put(pipeline, saved, "rawPredictionCol", "rawPrediction", Vector.of(graph, found.raw))
    if found.probability is not None:
        _put(pipeline, saved, "probabilityCol", "probability", Vector.of(graph, found.probability))
    _predict(pipeline, saved, found.label)


@stage("LinearRegressionModel")
def linear_regression(pipeline: Pipeline, saved: SavedStage) -> None:
    """A weighted sum."""
    row = saved.row()
    weights = saved.vector(row, "coefficients")
    vector = _features(pipeline, saved, len(weights))
    _predict(pipeline, saved, vector.dot(weights, float(saved.field(row, "intercept"))))


@stage("GeneralizedLinearRegressionModel")
def generalized_linear_regression(pipeline: Pipeline, saved: SavedStage) -> None:
    """The mean, and the linear predictor where it has a column."""
    if saved.params.get("offsetCol"):
        raise saved.wrong("an offset column is not supported", "unsupported_element")
    row = saved.row()
    weights, link = saved.vector(row, "coefficients"), saved.params.get("link")
    link_power = saved.params.get("linkPower")
    powers = saved.number("variancePower", 0.0), None if link_power is None else float(link_power)
    vector, family = _features(pipeline, saved, len(weights)), str(saved.param("family", "gaussian"))
    bias = float(saved.field(row, "intercept"))
    mean, eta = regressors.generalized_linear(vector, weights, bias, family, link=link, powers=powers)
    _predict(pipeline, saved, mean)
    _put(pipeline, saved, "linkPredictionCol", "", eta)


@stage("AFTSurvivalRegressionModel")
def aft_survival_regression(pipeline: Pipeline, saved: SavedStage) -> None:
    """The expected time, and its quantiles where they have a column."""
    row = saved.row()
    weights, bias = saved.vector(row, "coefficients"), float(saved.field(row, "intercept"))
    quantiles = [float(q) for q in saved.param("quantileProbabilities", [])]
    vector, scale = _features(pipeline, saved, len(weights)), float(saved.field(row, "scale"))
    time, found = regressors.survival(vector, weights, bias, scale, quantiles)
    _predict(pipeline, saved, time)
    _put(pipeline, saved, "quantilesCol", "", Vector.of(pipeline.frame.graph, found))


@stage("IsotonicRegressionModel")
def isotonic_regression(pipeline: Pipeline, saved: SavedStage) -> None:
    """Linear between boundaries, of a number or of one element of a vector."""
    row, frame, name = saved.row(), pipeline.frame, str(saved.param("featuresCol", "features"))
    column = frame.get(name)
    place = int(saved.param("featureIndex", 0))
    value = column.element(place) if isinstance(column, Vector) else frame.number(name)
    bounds, levels = saved.vector(row, "boundaries").tolist(), saved.vector(row, "predictions").tolist()
    _predict(pipeline, saved, regressors.isotonic(frame.graph, value, bounds, levels))


@stage("FMRegressionModel")
def fm_regression(pipeline: Pipeline, saved: SavedStage) -> None:
    """A factorisation machine."""
    _predict(pipeline, saved, _factorization(pipeline, saved))


@stage("DecisionTreeRegressionModel", "RandomForestRegressionModel", "GBTRegressionModel")
def tree_regression(pipeline: Pipeline, saved: SavedStage) -> None:
    """The mean of a forest's trees, or the weighted sum of boosted ones."""
    trees, weights = _trees(saved, has_counts=False)
    is_boosted = saved.kind == "GBTRegressionModel"
    vector = _features(pipeline, saved, _num_features(saved))
    (total,) = sum_trees(vector, trees, lambda i, values: [weights[i] * values[0] if is_boosted else values[0]])
    if saved.kind == "RandomForestRegressionModel":
        total = pipeline.frame.graph.apply("divide", total, float(len(trees)))
    _predict(pipeline, saved, total)


@stage("KMeansModel")
def k_means(pipeline: Pipeline, saved: SavedStage) -> None:
    """The nearest centre, by the Euclidean or the cosine distance."""
    rows = sorted(saved.rows(), key=lambda row: int(row["clusterIdx"]))
    centres = np.array([saved.vector(row, "clusterCenter") for row in rows])
    is_cosine = saved.param("distanceMeasure", "euclidean") == "cosine"
    vector = _features(pipeline, saved, centres.shape[1])
    _predict(pipeline, saved, regressors.nearest_centre(vector, centres, cosine=is_cosine))


@stage("BisectingKMeansModel")
def bisecting_k_means(pipeline: Pipeline, saved: SavedStage) -> None:
    """The leaf of a tree of centres."""
    if saved.param("distanceMeasure", "euclidean") != "euclidean":
        raise saved.wrong("bisecting k-means by the cosine distance is not supported", "unsupported_element")
    content = read_metadata(saved.path / "data")
    rows = {int(row["index"]): row for row in saved.rows("data/data")}

    def build(index: int, depth: int) -> Cluster:
        if index not in rows or depth > len(rows):
            raise saved.wrong(f"the tree of clusters has no node {index}", "damaged_model")
        row = rows[index]
        children = [build(int(child), depth + 1) for child in (row["children"] or [])]
        return Cluster(index, dense_vector(row["center"]), tuple(children))

    root = _numbered(build(int(content.get("rootId", 1)), 0), iter(range(len(rows))))
    _predict(pipeline, saved, regressors.descend(_features(pipeline, saved, len(root.centre)), root))


def _numbered(node: Cluster, numbers: Any) -> Cluster:
    """The tree with its leaves numbered from left to right, as Spark loads it."""
    if not node.children:
        return Cluster(next(numbers), node.centre, ())
    return Cluster(node.index, node.centre, tuple(_numbered(child, numbers) for child in node.children))


@stage("GaussianMixtureModel")
def gaussian_mixture(pipeline: Pipeline, saved: SavedStage) -> None:
    """The likeliest Gaussian and the probability of each."""
    row = saved.row()
    means = np.array([dense_vector(mean) for mean in saved.field(row, "mus")])
    covariances = np.array([dense_matrix(sigma) for sigma in saved.field(row, "sigmas")])
    vector, weights = _features(pipeline, saved, means.shape[1]), saved.vector(row, "weights")
    probability, likeliest = regressors.mixture(vector, weights, means, covariances)
    _put(pipeline, saved, "probabilityCol", "probability", Vector.of(pipeline.frame.graph, probability))
    _predict(pipeline, saved, likeliest)


@stage("ALSModel")
def als(pipeline: Pipeline, saved: SavedStage) -> None:
    """The product of a user's and an item's factors; missing for an unknown one."""
    frame, sides = pipeline.frame, []
    for param, default, table in (("userCol", "user", "userFactors"), ("itemCol", "item", "itemFactors")):
        rows = saved.rows(table)
        ids, factors = [int(row["id"]) for row in rows], np.array([saved.vector(row, "features") for row in rows])
        sides.append((frame.number(str(saved.param(param, default))), ids, factors))
    _predict(pipeline, saved, regressors.factor_product(frame.graph, sides))
