"""What genmodel's `score0` leaves in its array of predictions, as values of the graph, and the outputs made of it."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from recserve.importers.mojo.archive import damaged
from recserve.importers.mojo.ini import Info, unsupported
from recserve.scoring.graph import Graph, Value

_INTEGER = re.compile(r"[+-]?\d{1,10}")
_JAVA_INT = 1 << 31
_CATEGORIES = ("Binomial", "Multinomial", "Ordinal")


@dataclass(frozen=True)
class Prediction:
    """One row's answer.

    Attributes:
        first: the number itself (regression, score, cluster) or the number of the label.
        rest: probabilities of the classes, or further numbers; empty where there are none.
        names: of first and rest where they are not those of the model's category.
        calibrated: further probabilities of the classes, after calibration; empty where the model has none.
    """

    first: Value
    rest: tuple[Value, ...] = ()
    names: tuple[str, ...] = ()
    calibrated: tuple[Value, ...] = ()


def label_binomial(graph: Graph, second: Value, threshold: float) -> Value:
    """1 where the second class has at least the threshold's probability, else 0."""
    return graph.apply("boolean_to_number", graph.apply("greater_equal", second, threshold))


def classify(
    graph: Graph, info: Info, probabilities: list[Value], row: list[Value], balance: bool = True
) -> Prediction:
    """The label of class probabilities, after their correction for balanced classes where the model asks for it.

    The model's row breaks ties of more than two classes.
    """
    if balance and info.flag("balance_classes", False):
        probabilities = correct(graph, info, probabilities)
    if len(probabilities) == 2:
        return Prediction(label_binomial(graph, probabilities[1], info.threshold), tuple(probabilities))
    prior = info.numbers("prior_class_distrib") if info.has("prior_class_distrib") else None
    if prior is not None and len(prior) != len(probabilities):
        raise damaged(f"has {len(prior)} shares of {len(probabilities)} classes", info.where("prior_class_distrib"))
    label = graph.apply("h2o_label", *probabilities, *row, classes=len(probabilities), prior=prior)
    return Prediction(label, tuple(probabilities))


def correct(graph: Graph, info: Info, probabilities: list[Value]) -> list[Value]:
    """Undo the resampling of balanced classes: times prior / model share, over the sum where that is positive."""
    prior, model = info.numbers("prior_class_distrib"), info.numbers("model_class_distrib")
    if len(prior) != len(probabilities) or len(model) != len(probabilities):
        raise damaged(
            f"has {len(prior)} and {len(model)} shares of {len(probabilities)} classes",
            info.where("prior_class_distrib, model_class_distrib"),
        )
    scaled = [
        graph.apply("multiply", value, float(before / after)) if before != 0 and after != 0 else value
        for value, before, after in zip(probabilities, prior, model, strict=True)
    ]
    return normalise(graph, scaled)


def normalise(graph: Graph, values: list[Value]) -> list[Value]:
    """Each value over their sum, where that is positive."""
    total = graph.apply("sum", *values)
    positive = graph.apply("greater", total, 0.0)
    return [graph.apply("select", positive, graph.apply("divide", value, total), value) for value in values]


def calibrate(graph: Graph, info: Info, prediction: Prediction) -> Prediction:
    """The same prediction with calibrated probabilities beside it, where the MOJO holds a calibration."""
    if not info.has("calib_method") or len(prediction.rest) != 2:
        return prediction
    method = info.text("calib_method")
    if method == "platt":
        slope, intercept = info.numbers("calib_glm_beta")[:2].tolist()
        line = graph.apply("linear", prediction.rest[0], weights=[slope], bias=intercept, bias_last=True)
        second = graph.apply("sigmoid", line)
    elif method == "isotonic":
        second = isotonic(graph, info, prediction.rest[1])
    else:
        raise unsupported(f"the calibration {method!r} is unknown", info.where("calib_method"))
    first = graph.apply("subtract", 1.0, second)
    return Prediction(prediction.first, prediction.rest, prediction.names, (first, second))


def isotonic(graph: Graph, info: Info, value: Value) -> Value:
    """H2O's isotonic function: linear between thresholds, flat outside of them."""
    xs, ys = (_thresholds(info, f"calib/thresholds_{axis}") for axis in "xy")
    if len(xs) != len(ys) or not len(xs) or np.any(xs[1:] < xs[:-1]):
        raise damaged(
            f"has {len(xs)} thresholds for {len(ys)} values, or none, or out of order", info.archive.where("calib")
        )
    low, high = info.number("calib_min_x", xs[0]), info.number("calib_max_x", xs[-1])
    clipped = graph.apply("min", graph.apply("max", value, low), high)
    if len(xs) == 1:
        return graph.apply("add", graph.apply("multiply", clipped, 0.0), float(ys[0]))
    return graph.apply("piecewise", clipped, xs=xs, ys=ys, outside="clamp")


def _thresholds(info: Info, name: str) -> np.ndarray:
    head = info.archive.data(name)[:4]
    return info.big_endian(name, int.from_bytes(head, "big") if len(head) == 4 else 0, skip=4)


def class_names(labels: tuple[str, ...]) -> list[str]:
    """Names of the probabilities' columns: the labels, `p0` where the label is a whole number."""
    return [f"p{label}" if _INTEGER.fullmatch(label) and abs(int(label)) < _JAVA_INT else label for label in labels]


def declare_outputs(graph: Graph, info: Info, prediction: Prediction) -> dict[str, str]:
    """Name the prediction's values as PredictCsv names its columns; name → dtype."""
    if info.category in _CATEGORIES or prediction.calibrated:
        return _declare_classes(graph, info, prediction)
    names = prediction.names or _category_names(info)
    if len(names) != 1 + len(prediction.rest):
        raise damaged(f"gives {1 + len(prediction.rest)} numbers for {len(names)} outputs", info.where("category"))
    for name, value in zip(names, (prediction.first, *prediction.rest), strict=True):
        graph.output(name, value)
    return dict.fromkeys(names, "float64")


def _category_names(info: Info) -> tuple[str, ...]:
    names = {"Regression": ("predict",), "Clustering": ("cluster",), "CoxPH": ("lp",)}
    if info.category not in names:
        raise unsupported(f"the model category {info.category!r} has no scores", info.where("category"))
    return names[info.category]


def _declare_classes(graph: Graph, info: Info, prediction: Prediction) -> dict[str, str]:
    labels = info.response_domain or ("0", "1")
    if len(labels) != len(prediction.rest):
        raise damaged(f"gives {len(prediction.rest)} probabilities for {len(labels)} labels", info.where("n_classes"))
    names = list(prediction.names[1:]) or class_names(labels)
    graph.output("predict", graph.apply("pick", prediction.first, values=labels, dtype="string"))
    for name, value in zip(names, prediction.rest, strict=True):
        graph.output(name, value)
    for name, value in zip(names, prediction.calibrated, strict=False):
        graph.output(f"cal_{name}", value)
    calibrated = [f"cal_{name}" for name, _ in zip(names, prediction.calibrated, strict=False)]
    return {"predict": "string", **dict.fromkeys([*names, *calibrated], "float64")}
