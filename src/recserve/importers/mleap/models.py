"""MLeap's models: regressions, classifiers, clusterings and factors, by the rules of its runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from recserve.errors import ConfigError
from recserve.importers.mleap.nodes import BundleModel, BundleNode
from recserve.importers.mleap.stages import give, input_name, stage
from recserve.importers.pipelines import classifiers, regressors
from recserve.importers.pipelines.classifiers import Prediction
from recserve.importers.pipelines.frame import Frame
from recserve.importers.pipelines.regressors import Cluster
from recserve.importers.pipelines.trees import Tree, sum_trees
from recserve.importers.pipelines.vectors import Vector
from recserve.scoring.graph import Value

_DEPTH_LIMIT = 64


def _features(frame: Frame, node: BundleNode, size: int | None) -> Vector:
    return frame.vector(input_name(node, "features"), size)


def _give_vector(frame: Frame, node: BundleNode, values: Sequence[Value], port: str) -> None:
    give(frame, node, Vector.of(frame.graph, values), port)


def _num_features(model: BundleModel) -> int | None:
    return model.attributes.integer("num_features", 0) or None


def _forest(model: BundleModel) -> tuple[list[Tree], list[float]]:
    """The trees of an ensemble and their weights."""
    trees = [model.child(name).tree() for name in model.attributes.texts("trees")]
    weights = model.attributes.numbers("tree_weights") if model.attributes.has("tree_weights") else [1.0] * len(trees)
    if len(weights) != len(trees) or not trees:
        raise model.attributes.wrong("tree_weights", f"has {len(weights)} numbers for {len(trees)} trees")
    return trees, weights


def _logistic(vector: Vector, model: BundleModel) -> Prediction:
    attributes = model.attributes
    if attributes.integer("num_classes", 2) > 2:
        weights, biases = attributes.matrix("coefficient_matrix"), attributes.vector("intercept_vector")
        thresholds = attributes.optional_numbers("thresholds")
        return classifiers.multinomial_logistic(vector, weights, biases, thresholds)
    weights, bias = attributes.vector("coefficients"), attributes.number("intercept")
    return classifiers.binary_logistic(vector, weights, bias, attributes.number("threshold", 0.5))


def _linear_svc(vector: Vector, model: BundleModel) -> Prediction:
    attributes = model.attributes
    weights, bias = attributes.vector("coefficients"), attributes.number("intercept")
    return classifiers.margin_classifier(vector, weights, bias, attributes.number("threshold", 0.0))


def _svm(vector: Vector, model: BundleModel) -> Prediction:
    """The label of the larger of -margin / threshold 0 and margin / threshold 1; no thresholds: of the margins."""
    attributes, graph = model.attributes, vector.graph
    if attributes.integer("num_classes", 2) != 2:
        raise model.unsupported("a support vector machine of more than two classes is not in MLeap")
    margin = vector.dot(attributes.vector("coefficients"), attributes.number("intercept"))
    raw = [graph.apply("negate", margin), margin]
    return Prediction(raw, raw, classifiers.pick_class(graph, raw, attributes.optional_numbers("thresholds")))


def _naive_bayes(vector: Vector, model: BundleModel) -> Prediction:
    attributes = model.attributes
    pi, theta = attributes.vector("pi"), attributes.matrix("theta")
    kind = attributes.text("model_type")
    return classifiers.naive_bayes(vector, kind, (pi, theta, None), attributes.optional_numbers("thresholds"))


def _random_forest(vector: Vector, model: BundleModel) -> Prediction:
    trees, _ = _forest(model)
    classes, thresholds = model.attributes.integer("num_classes"), model.attributes.optional_numbers("thresholds")
    return classifiers.forest_classifier(vector, trees, classes, thresholds)


def _decision_tree(vector: Vector, model: BundleModel) -> Prediction:
    classes, thresholds = model.attributes.integer("num_classes"), model.attributes.optional_numbers("thresholds")
    return classifiers.tree_classifier(vector, model.tree(), classes, thresholds)


def _boosted(vector: Vector, model: BundleModel) -> Prediction:
    if model.attributes.integer("num_classes", 2) != 2 or model.attributes.text("lossType", "logistic") != "logistic":
        raise model.unsupported("gradient-boosted trees of another loss, or of more than two classes, are not in MLeap")
    trees, weights = _forest(model)
    return classifiers.boosted_classifier(vector, trees, weights, model.attributes.optional_numbers("thresholds"))


def _perceptron(vector: Vector, model: BundleModel) -> Prediction:
    attributes = model.attributes
    layers, weights = attributes.integers("layers"), attributes.vector("weights")
    return classifiers.perceptron(vector, layers, weights, attributes.optional_numbers("thresholds"))


_CLASSIFIERS: dict[str, Callable[[Vector, BundleModel], Prediction]] = {
    "logistic_regression": _logistic,
    "linear_svc": _linear_svc,
    "svm": _svm,
    "support_vector_machine": _svm,
    "naive_bayes": _naive_bayes,
    "random_forest_classifier": _random_forest,
    "decision_tree_classifier": _decision_tree,
    "gbt_classifier": _boosted,
    "multi_layer_perceptron_classifier": _perceptron,
}


def _width(model: BundleModel) -> int | None:
    """The number of features that a classifier takes, where it tells."""
    attributes = model.attributes
    if attributes.has("coefficients"):
        return len(attributes.numbers("coefficients"))
    if attributes.has("coefficient_matrix"):
        return int(attributes.matrix("coefficient_matrix").shape[1])
    if attributes.has("layers"):
        return attributes.integers("layers")[0]
    return _num_features(model)


@stage(*_CLASSIFIERS)
def classifier(frame: Frame, node: BundleNode) -> None:
    """Any classifier: raw prediction, probability and label, as far as the node has ports for them."""
    found = _CLASSIFIERS[node.model.op](_features(frame, node, _width(node.model)), node.model)
    if found.raw is not None:
        _give_vector(frame, node, found.raw, "raw_prediction")
    if found.probability is not None:
        _give_vector(frame, node, found.probability, "probability")
    give(frame, node, found.label, "prediction")


@stage("one_vs_rest")
def one_vs_rest(frame: Frame, node: BundleNode) -> None:
    """The class whose own classifier is surest; `probability` is that classifier's."""
    graph, attributes = frame.graph, node.model.attributes
    vector = _features(frame, node, _num_features(node.model))
    raw, sure = [], []
    for i in range(attributes.integer("num_classes")):
        model = node.model.child(f"model{i}")
        if model.op not in _CLASSIFIERS:
            raise model.unsupported(f"op {model.op!r} inside one_vs_rest is no classifier")
        found = _CLASSIFIERS[model.op](vector, model)
        has_both = found.raw is not None and found.probability is not None
        raw.append(found.raw[1] if has_both and found.raw is not None else found.label)
        sure.append(found.probability[1] if has_both and found.probability is not None else found.label)
    _give_vector(frame, node, raw, "raw_prediction")
    give(frame, node, graph.apply("max", *sure), "probability")
    give(frame, node, graph.apply("argmax", *sure), "prediction")


@stage("linear_regression")
def linear_regression(frame: Frame, node: BundleNode) -> None:
    """A weighted sum."""
    weights = node.model.attributes.vector("coefficients")
    found = _features(frame, node, len(weights)).dot(weights, node.model.attributes.number("intercept"))
    give(frame, node, found, "prediction")


@stage("generalized_linear_regression")
def generalized_linear_regression(frame: Frame, node: BundleNode) -> None:
    """The mean and the linear predictor."""
    attributes = node.model.attributes
    weights, bias = attributes.vector("coefficients"), attributes.number("intercept")
    link = attributes.text("link", "") or None
    powers = (attributes.number("variance_power", 0.0), None)
    vector = _features(frame, node, len(weights))
    mean, eta = regressors.generalized_linear(
        vector, weights, bias, attributes.text("family"), link=link, powers=powers
    )
    give(frame, node, mean, "prediction")
    give(frame, node, eta, "link_prediction")


@stage("decision_tree_regression")
def decision_tree_regression(frame: Frame, node: BundleNode) -> None:
    """The value of a leaf."""
    vector = _features(frame, node, _num_features(node.model))
    (found,) = sum_trees(vector, [node.model.tree()], lambda _, values: values[:1])
    give(frame, node, found, "prediction")


@stage("random_forest_regression")
def random_forest_regression(frame: Frame, node: BundleNode) -> None:
    """The mean of the trees."""
    trees, _ = _forest(node.model)
    vector = _features(frame, node, _num_features(node.model))
    (total,) = sum_trees(vector, trees, lambda _, values: values[:1])
    give(frame, node, frame.graph.apply("divide", total, float(len(trees))), "prediction")


@stage("gbt_regression")
def gbt_regression(frame: Frame, node: BundleNode) -> None:
    """The weighted sum of the trees."""
    trees, weights = _forest(node.model)
    vector = _features(frame, node, _num_features(node.model))
    (total,) = sum_trees(vector, trees, lambda i, values: [weights[i] * values[0]])
    give(frame, node, total, "prediction")


@stage("isotonic_regression")
def isotonic_regression(frame: Frame, node: BundleNode) -> None:
    """Linear between boundaries."""
    attributes, name = node.model.attributes, input_name(node, "features")
    if attributes.has("feature_index") and not (frame.has(name) and isinstance(frame.get(name), Value)):
        place = attributes.integer("feature_index")
        value = frame.vector(name, None if frame.has(name) else place + 1).element(place)
    else:
        value = frame.number(name)
    bounds, levels = attributes.numbers("boundaries"), attributes.numbers("predictions")
    give(frame, node, regressors.isotonic(frame.graph, value, bounds, levels), "prediction")


@stage("aft_survival_regression")
def aft_survival_regression(frame: Frame, node: BundleNode) -> None:
    """The expected time and its quantiles."""
    attributes = node.model.attributes
    weights, bias = attributes.vector("coefficients"), attributes.number("intercept")
    scale, quantiles = attributes.number("scale"), attributes.numbers("quantile_probabilities")
    time, found = regressors.survival(_features(frame, node, len(weights)), weights, bias, scale, quantiles)
    give(frame, node, time, "prediction")
    _give_vector(frame, node, found, "quantiles")


@stage("k_means")
def k_means(frame: Frame, node: BundleNode) -> None:
    """The nearest centre."""
    centres = np.stack(node.model.attributes.tensors("cluster_centers", 1))
    give(frame, node, regressors.nearest_centre(_features(frame, node, centres.shape[1]), centres), "prediction")


@stage("bisecting_k_means")
def bisecting_k_means(frame: Frame, node: BundleNode) -> None:
    """The leaf of a tree of centres."""
    root = _cluster(node.model)
    give(frame, node, regressors.descend(_features(frame, node, len(root.centre)), root), "prediction")


def _cluster(model: BundleModel) -> Cluster:
    lines = iter(model.bundle.tree_lines(model.folder, is_cluster=True))

    def read(depth: int) -> Cluster:
        line = next(lines, None)
        if line is None or depth > _DEPTH_LIMIT:
            problem = "is cut off" if line is None else f"is more than {_DEPTH_LIMIT} deep"
            raise ConfigError(f"the tree of clusters {problem}", code="damaged_model", where=model.attributes.where)
        try:
            centre = np.array(line["values"], dtype=np.float64)
            index, count = int(line["index"]), int(line["numChildren"])
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                f"a node of the tree of clusters lacks {error}", code="damaged_model", where=model.attributes.where
            ) from error
        return Cluster(index, centre, tuple(read(depth + 1) for _ in range(count)))

    return read(0)


@stage("gaussian_mixture")
def gaussian_mixture(frame: Frame, node: BundleNode) -> None:
    """The likeliest Gaussian and the probability of each."""
    attributes = node.model.attributes
    means, covariances = (np.stack(attributes.tensors(name, d)) for name, d in (("means", 1), ("covs", 2)))
    weights = attributes.vector("weights")
    vector = _features(frame, node, means.shape[1])
    probability, likeliest = regressors.mixture(vector, weights, means, covariances)
    _give_vector(frame, node, probability, "probability")
    give(frame, node, likeliest, "prediction")


@stage("als")
def als(frame: Frame, node: BundleNode) -> None:
    """The product of a user's and an item's factors; missing for an unknown one."""
    attributes, sides = node.model.attributes, []
    for port, ids, factors in (("user", "users", "user_factors"), ("item", "items", "item_factors")):
        table = np.stack(attributes.tensors(factors, 1))
        sides.append((frame.number(input_name(node, port)), attributes.integers(ids), table))
    give(frame, node, regressors.factor_product(frame.graph, sides), "prediction")
