"""scikit-learn's transformers: what each makes of a table."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import numpy as np

from recserve.importers.pipelines import scalers
from recserve.importers.pipelines.pieces import Array, Terms
from recserve.importers.pipelines.vectors import Vector
from recserve.importers.sklearn import encoders
from recserve.importers.sklearn.table import Part, Table, array, kind_of, unsupported
from recserve.scoring.graph import Graph, Value

Transform = Callable[[Any, Table], Table]

_UFUNCS = {
    "log": "log",
    "log1p": "log1p",
    "log2": "log2",
    "log10": "log10",
    "exp": "exp",
    "expm1": "expm1",
    "sqrt": "sqrt",
    "square": "square",
    "abs": "abs",
    "absolute": "abs",
    "fabs": "abs",
    "negative": "negate",
    "reciprocal": "reciprocal",
    "sign": "sign",
    "floor": "floor",
    "ceil": "ceil",
    "rint": "rint",
    "sin": "sin",
    "cos": "cos",
    "tan": "tan",
    "tanh": "tanh",
}


def transform(step: Any, table: Table) -> Table:
    """A table after one step.

    Raises:
        ConfigError: "unsupported_element" where recserve lacks the step, or an option of it.
    """
    if step is None or (isinstance(step, str) and step == "passthrough"):
        return table
    kind = kind_of(step)
    table.frame.report.count(kind)
    if kind in TRANSFORMERS:
        return TRANSFORMERS[kind](step, table)
    if hasattr(step, "get_support"):
        return table.select([int(i) for i in step.get_support(indices=True)])
    raise unsupported(step, f"transformer {kind!r} is not supported")


def _as_table(table: Table, vector: Vector) -> Table:
    return Table(table.frame, [vector])


def _pipeline(pipeline: Any, table: Table) -> Table:
    for _, step in pipeline.steps:
        table = transform(step, table)
    return table


def _columns(transformer: Any, table: Table) -> Table:
    """ColumnTransformer: each step on its columns, the results side by side."""
    parts: list[Part] = []
    places = transformer._transformer_to_input_indices
    for name, step, _ in transformer.transformers_:
        if (isinstance(step, str) and step == "drop") or not len(places[name]):
            continue
        own = table.select([int(i) for i in places[name]])
        weights = transformer.transformer_weights or {}
        parts += _weighted(transform(step, own), weights.get(name)).parts
    return Table(table.frame, parts)


def _union(union: Any, table: Table) -> Table:
    """FeatureUnion: the results of all steps side by side."""
    parts: list[Part] = []
    for name, step in union.transformer_list:
        if not (isinstance(step, str) and step == "drop"):
            parts += _weighted(transform(step, table), (union.transformer_weights or {}).get(name)).parts
    return Table(table.frame, parts)


def _weighted(table: Table, weight: float | None) -> Table:
    if weight is None:
        return table
    vector = table.vector()
    return _as_table(table, vector.scale(np.full(vector.size, float(weight))))


def _standard(scaler: Any, table: Table) -> Table:
    vector = table.vector()
    mean = array(scaler.mean_) if scaler.with_mean else np.zeros(vector.size)
    scale = array(scaler.scale_) if scaler.with_std else np.ones(vector.size)
    return _as_table(table, vector.affine(1.0 / scale, mean))


def _min_max(scaler: Any, table: Table) -> Table:
    graph, vector = table.graph, table.vector()
    scaled = vector.scale(array(scaler.scale_)).affine(np.ones(vector.size), -array(scaler.min_))
    if not scaler.clip:
        return _as_table(table, scaled)
    low, high = (float(end) for end in scaler.feature_range)

    def symbolic(x: Value, _: int) -> Value:
        return graph.apply("max", graph.apply("min", x, high), low)

    return _as_table(table, scaled.map(symbolic, lambda x, _: np.clip(x, low, high)))


def _max_abs(scaler: Any, table: Table) -> Table:
    return _as_table(table, table.vector().scale(1.0 / array(scaler.scale_)))


def _robust(scaler: Any, table: Table) -> Table:
    vector = table.vector()
    center = array(scaler.center_) if scaler.with_centering else np.zeros(vector.size)
    scale = array(scaler.scale_) if scaler.with_scaling else np.ones(vector.size)
    return _as_table(table, vector.affine(1.0 / scale, center))


def _normalize(normalizer: Any, table: Table) -> Table:
    powers = {"l1": 1.0, "l2": 2.0, "max": math.inf}
    return _as_table(table, scalers.normalize(table.vector(), powers[normalizer.norm]))


def _binarize(binarizer: Any, table: Table) -> Table:
    vector = table.vector()
    return _as_table(table, scalers.binarize(vector, np.full(vector.size, float(binarizer.threshold))))


def _polynomial(expansion: Any, table: Table) -> Table:
    return _as_table(table, scalers.products(table.vector(), np.asarray(expansion.powers_).tolist()))


def _pca(pca: Any, table: Table) -> Table:
    components = array(pca.components_)
    if getattr(pca, "whiten", False) and hasattr(pca, "explained_variance_"):
        spread = np.sqrt(array(pca.explained_variance_))
        components = components / np.maximum(spread, np.finfo(np.float64).eps)[:, None]
    mean = getattr(pca, "mean_", None)
    biases = None if mean is None else -components @ array(mean)
    return _as_table(table, scalers.project(table.vector(), components, biases))


def _quantiles(transformer: Any, table: Table) -> Table:
    """QuantileTransformer: the mean of the interpolations from below and from above."""
    graph, vector, values = table.graph, table.vector(), []
    references = array(transformer.references_)
    is_normal = transformer.output_distribution == "normal"
    for i in range(vector.size):
        quantiles, x = array(transformer.quantiles_)[:, i], vector.element(i)
        up = _interpolate(graph, x, quantiles, references)
        down = _interpolate(graph, graph.apply("negate", x), -quantiles[::-1], -references[::-1])
        found = graph.apply("linear", up, down, weights=[0.5, -0.5])
        low, high = float(quantiles[0]), float(quantiles[-1])
        margin = 1e-7 if is_normal else 0.0
        is_low = graph.apply("less", graph.apply("subtract", x, margin), low)
        is_high = graph.apply("greater", graph.apply("add", x, margin), high)
        if not is_normal:
            is_low, is_high = graph.apply("equal", x, low), graph.apply("equal", x, high)
        found = graph.apply("select", is_high, 1.0, found)
        found = graph.apply("select", is_low, 0.0, found)
        if is_normal:
            found = graph.apply("normal_quantile", found)
            end = NormalDist().inv_cdf(1.0 - (1e-7 - float(np.spacing(1.0))))
            found = graph.apply("max", graph.apply("min", found, end), -end)
        values.append(found)
    return _as_table(table, Vector.of(graph, values))


def _interpolate(graph: Graph, x: Value, xs: Array, ys: Array) -> Value:
    """Linear between points, constant outside, as `numpy.interp`."""
    return graph.apply("piecewise", x, xs=xs, ys=ys, outside="clamp")


def _power(transformer: Any, table: Table) -> Table:
    """PowerTransformer: Yeo-Johnson or Box-Cox, and scaling after it."""
    graph, vector = table.graph, table.vector()
    values = []
    for i, power in enumerate(array(transformer.lambdas_).tolist()):
        x = vector.element(i)
        values.append(_box_cox(graph, x, power) if transformer.method == "box-cox" else _yeo_johnson(graph, x, power))
    found = _as_table(table, Vector.of(graph, values))
    return _standard(transformer._scaler, found) if transformer.standardize else found


def _box_cox(graph: Graph, x: Value, power: float) -> Value:
    """(x^power - 1) / power, or log x; through expm1, which keeps the digits of small powers."""
    log = graph.apply("log", x)
    if power == 0.0:
        return log
    return graph.apply("divide", graph.apply("expm1", graph.apply("multiply", log, power)), power)


def _yeo_johnson(graph: Graph, x: Value, power: float) -> Value:
    upper = _box_cox_of_one_plus(graph, x, power)
    lower = graph.apply("negate", _box_cox_of_one_plus(graph, graph.apply("negate", x), 2.0 - power))
    return graph.apply("select", graph.apply("greater_equal", x, 0.0), upper, lower)


def _box_cox_of_one_plus(graph: Graph, x: Value, power: float) -> Value:
    log = graph.apply("log1p", x)
    if abs(power) < np.spacing(1.0):
        return log
    return graph.apply("divide", graph.apply("expm1", graph.apply("multiply", log, power)), power)


def _function(transformer: Any, table: Table) -> Table:
    function = transformer.func
    if function is None or getattr(getattr(function, "func", None), "__name__", "") == "check_array":
        return table
    name = getattr(function, "__name__", "?")
    if name not in _UFUNCS or type(function).__name__ != "ufunc" or transformer.kw_args:
        raise unsupported(transformer, f"function {name!r} is none that recserve knows: {', '.join(_UFUNCS)}")
    graph, op = table.graph, _UFUNCS[name]
    with np.errstate(all="ignore"):
        return _as_table(table, table.vector().map(lambda x, _: graph.apply(op, x), lambda x, _: function(x)))


def _spline(transformer: Any, table: Table) -> Table:
    """SplineTransformer: each basis function as the polynomial of the interval that holds x."""
    if transformer.extrapolation not in {"constant", "error"}:
        raise unsupported(transformer, f"extrapolation {transformer.extrapolation!r} is not supported")
    graph, vector, values = table.graph, table.vector(), []
    degree = int(transformer.degree)
    for i, spline in enumerate(transformer.bsplines_):
        count = spline.c.shape[1]
        low, high = float(spline.t[degree]), float(spline.t[-degree - 1])
        x = vector.element(i)
        x = graph.apply("max", graph.apply("min", x, high), low)
        values += _basis(graph, x, np.asarray(spline.t, dtype=np.float64), degree)[:count]
    kept = values
    if not transformer.include_bias:
        width = len(values) // len(transformer.bsplines_)
        kept = [value for i, value in enumerate(values) if (i + 1) % width]
    return _as_table(table, Vector.of(graph, kept))


def _basis(graph: Graph, x: Value, knots: Array, degree: int) -> list[Value]:
    """The B-splines of a degree at x, by de Boor's recursion."""
    last = len(knots) - degree - 2
    found = [graph.constant(0.0)] * (len(knots) - 1)
    for i in range(degree, last + 1):
        # The right end belongs to the last interval.
        interval = (float(knots[i]), float(knots[i + 1]), True, i == last)
        found[i] = graph.apply("discretize", x, intervals=[interval], values=[1.0], default=0.0)
    for size in range(1, degree + 1):
        step = []
        for i in range(len(found) - 1):
            left, right = knots[i + size] - knots[i], knots[i + size + 1] - knots[i + 1]
            rising = graph.apply("multiply", graph.apply("subtract", x, float(knots[i])), found[i])
            falling = graph.apply("multiply", graph.apply("subtract", float(knots[i + size + 1]), x), found[i + 1])
            weights = [1.0 / left if left else 0.0, 1.0 / right if right else 0.0]
            step.append(graph.apply("linear", rising, falling, weights=weights))
        found = step
    return found


def _text_steps(vectorizer: Any) -> list[list[Any]]:
    """How a vectorizer takes texts apart."""
    if vectorizer.preprocessor is not None or vectorizer.tokenizer is not None or callable(vectorizer.analyzer):
        raise unsupported(vectorizer, "a preprocessor, tokenizer or analyzer of your own is code; it cannot be read")
    steps: list[list[Any]] = [["lower"]] if vectorizer.lowercase else []
    if vectorizer.strip_accents is not None:
        if callable(vectorizer.strip_accents):
            raise unsupported(vectorizer, "strip_accents is a function of your own; it cannot be read")
        steps.append(["accents", vectorizer.strip_accents])
    low, high = (int(size) for size in vectorizer.ngram_range)
    if vectorizer.analyzer == "char":
        return [*steps, ["characters", low, high]]
    if vectorizer.analyzer == "char_wb":
        return [*steps, ["characters_in_words", low, high]]
    steps.append(["find", vectorizer.token_pattern])
    words = vectorizer.get_stop_words()
    if words:
        steps.append(["stop", sorted(words), True])
    return steps if (low, high) == (1, 1) else [*steps, ["ngram_range", low, high]]


def _terms(vectorizer: Any, table: Table, index: dict[str, Any], width: int, *, is_log: bool = False) -> Vector:
    text = table.column(0, is_text=True)
    binary = bool(vectorizer.binary)
    spec = json.dumps({"steps": _text_steps(vectorizer), "index": index, "binary": binary, "log": is_log})
    return Vector(table.graph, [Terms((text,), spec, width)])


def _vocabulary(vectorizer: Any) -> dict[str, Any]:
    words = [""] * len(vectorizer.vocabulary_)
    for word, place in vectorizer.vocabulary_.items():
        words[int(place)] = str(word)
    return {"kind": "words", "words": words}


def _count(vectorizer: Any, table: Table) -> Table:
    index = _vocabulary(vectorizer)
    return _as_table(table, _terms(vectorizer, table, index, len(index["words"])))


def _tfidf(vectorizer: Any, table: Table) -> Table:
    index = _vocabulary(vectorizer)
    counts = _terms(vectorizer, table, index, len(index["words"]), is_log=bool(vectorizer.sublinear_tf))
    weights = array(vectorizer.idf_) if vectorizer.use_idf else None
    return _as_table(table, _weigh(counts, weights, vectorizer.norm))


def _tfidf_of_counts(transformer: Any, table: Table) -> Table:
    vector = table.vector()
    if transformer.sublinear_tf:
        raise unsupported(transformer, "sublinear_tf after a separate vectorizer is not supported; use TfidfVectorizer")
    weights = array(transformer.idf_) if transformer.use_idf else None
    return _as_table(table, _weigh(vector, weights, transformer.norm))


def _weigh(vector: Vector, weights: Array | None, norm: str | None) -> Vector:
    found = vector if weights is None else vector.scale(weights)
    return found if norm is None else scalers.normalize(found, {"l1": 1.0, "l2": 2.0}[norm])


def _hash(vectorizer: Any, table: Table) -> Table:
    index = {"kind": "murmur3", "width": int(vectorizer.n_features), "signed": bool(vectorizer.alternate_sign)}
    counts = _terms(vectorizer, table, index, int(vectorizer.n_features))
    return _as_table(table, _weigh(counts, None, vectorizer.norm))


TRANSFORMERS: dict[str, Transform] = {
    "Pipeline": _pipeline,
    "ColumnTransformer": _columns,
    "FeatureUnion": _union,
    "StandardScaler": _standard,
    "MinMaxScaler": _min_max,
    "MaxAbsScaler": _max_abs,
    "RobustScaler": _robust,
    "Normalizer": _normalize,
    "Binarizer": _binarize,
    "PolynomialFeatures": _polynomial,
    "PCA": _pca,
    "IncrementalPCA": _pca,
    "TruncatedSVD": _pca,
    "QuantileTransformer": _quantiles,
    "PowerTransformer": _power,
    "FunctionTransformer": _function,
    "SplineTransformer": _spline,
    "CountVectorizer": _count,
    "TfidfVectorizer": _tfidf,
    "TfidfTransformer": _tfidf_of_counts,
    "HashingVectorizer": _hash,
    "OneHotEncoder": encoders.one_hot,
    "OrdinalEncoder": encoders.ordinal,
    "TargetEncoder": encoders.target,
    "KBinsDiscretizer": encoders.discretize,
    "SimpleImputer": encoders.impute,
    "MissingIndicator": encoders.mark_missing,
}
"""Each transformer by its class name; selectors need none, as they tell their columns."""
