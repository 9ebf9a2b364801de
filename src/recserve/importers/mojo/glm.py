"""Generalised linear models: all families and links, multinomial and ordinal ones."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from recserve.importers.mojo.archive import damaged
from recserve.importers.mojo.ini import MAX_COLUMNS, Info, unsupported
from recserve.importers.mojo.prediction import Prediction, label_binomial
from recserve.scoring.graph import Graph, Value

_TWO_CLASSES = ("binomial", "fractionalbinomial", "quasibinomial")


@dataclass(frozen=True)
class Design:
    """How a row of level codes and numbers meets the coefficients.

    Attributes:
        categories: how many columns are level codes; they come first.
        offsets: [categories + 1] where each column's coefficients start.
        all_levels: whether level 0 has a coefficient too.
    """

    categories: int
    offsets: tuple[int, ...]
    all_levels: bool

    def coefficients(self, beta: np.ndarray, column: int, levels: int) -> list[float]:
        """Of each level of a categorical column; 0 for those that have none."""
        start, end = self.offsets[column], self.offsets[column + 1]
        shift = 0 if self.all_levels else 1
        places = np.arange(levels) - shift + start
        known = (np.arange(levels) >= shift) & (places < end)
        return [float(beta[place]) if good else 0.0 for place, good in zip(places, known, strict=True)]


def read_design(info: Info) -> Design:
    """The design that model.ini states.

    Raises:
        ConfigError: "damaged_model" for offsets that do not rise.
    """
    categories = info.count("cats", MAX_COLUMNS, 0)
    offsets = info.integers("cat_offsets", (0,)) or [0]
    if len(offsets) <= categories or any(b < a for a, b in itertools.pairwise(offsets)) or offsets[0] < 0:
        raise damaged(f"is {offsets[:8]} for {categories} columns", info.where("cat_offsets"))
    return Design(categories, tuple(offsets[: categories + 1]), info.flag("use_all_factor_levels", False))


def impute(graph: Graph, row: list[Value], modes: list[int], means: np.ndarray, where: str) -> list[Value]:
    """The row with modes and means for what is missing: categorical columns first."""
    fills = [*map(float, modes), *means.tolist()]
    if len(fills) > len(row):
        raise damaged(f"fills {len(fills)} of {len(row)} columns", where)
    # A column that training never saw a value of has no mean.
    filled = [
        value if math.isnan(fill) else graph.apply("replace_missing", value, fill)
        for value, fill in zip(row, fills, strict=False)
    ]
    return filled + row[len(fills) :]


def linear_score(  # noqa: PLR0917  (what a row needs)
    graph: Graph, design: Design, row: list[Value], beta: np.ndarray, levels: list[int], where: str
) -> Value:
    """Σ of the levels' coefficients, of the numbers', and the intercept, which comes last in `beta`.

    Args:
        graph: to add to.
        design: of the row.
        row: values of the columns.
        beta: coefficients [levels of all columns, numbers, intercept].
        levels: of each column, how many levels it has (0 for a number, or unknown).
        where: for messages.
    """
    first = design.offsets[design.categories]
    count = len(beta) - 1 - first
    if count < 0 or design.categories + count > len(row):
        raise damaged(f"has {len(beta)} coefficients for {first} levels and {len(row)} columns", where)
    terms = []
    for column in range(design.categories):
        size = max(levels[column], design.offsets[column + 1] - design.offsets[column] + 1)
        values = design.coefficients(beta, column, size)
        terms.append(graph.apply("pick", row[column], values=values))
    numbers = row[design.categories : design.categories + count]
    weights = beta[first : first + count]
    return graph.apply(
        "linear", *terms, *numbers, weights=[1.0] * len(terms) + weights.tolist(), bias=float(beta[-1]), bias_last=True
    )


def _levels(info: Info, row: list[Value]) -> list[int]:
    sizes = [len(domain) if domain else 0 for domain in info.domains]
    return (sizes + [0] * len(row))[: len(row)]


def lower_glm(graph: Graph, info: Info, row: list[Value], offset: Value | None) -> Prediction:
    """A GLM's answer; see `read_design` and `impute` for its row."""
    design = read_design(info)
    family = info.text("family")
    row = list(row)
    if info.flag("mean_imputation", False):
        modes, means = info.integers("cat_modes", ()), info.numbers("num_means", ())
        row = impute(graph, row, modes[: design.categories], means, info.where("num_means"))
    else:
        message = "a categorical column is missing and the model imputes none"
        for column in range(design.categories):
            absent = graph.apply("is_missing", row[column])
            row[column] = graph.apply("fail", row[column], absent, message=message)
    beta = info.numbers("beta")
    if family in ("multinomial", "ordinal"):
        return _many_classes(graph, info, design, row, beta, offset if family == "ordinal" else None)
    score = linear_score(graph, design, row, beta, _levels(info, row), info.where("beta"))
    if offset is not None:
        score = graph.apply("add", score, offset)
    mean = inverse_link(graph, info.text("link"), score, info.number("tweedie_link_power", 0.0), info.where("link"))
    if family not in _TWO_CLASSES:
        return Prediction(mean)
    rest = (graph.apply("subtract", 1.0, mean), mean)
    names = ("predict", "0", "1") if info.classes == 2 and info.response_domain is None else ()
    return Prediction(label_binomial(graph, mean, info.threshold), rest, names)


def _many_classes(  # noqa: PLR0917  (what a row needs)
    graph: Graph, info: Info, design: Design, row: list[Value], beta: np.ndarray, offset: Value | None
) -> Prediction:
    classes = info.classes
    if classes < 2 or len(beta) % classes:
        raise damaged(f"has {len(beta)} coefficients for {classes} classes", info.where("beta"))
    table = beta.reshape(classes, -1)
    levels = _levels(info, row)
    is_ordinal = info.text("family") == "ordinal"
    scores = [
        linear_score(graph, design, row, one, levels, info.where("beta"))
        for one in (table[:-1] if is_ordinal else table)
    ]
    if is_ordinal:
        shifted = scores if offset is None else [graph.apply("add", score, offset) for score in scores]
        probabilities = ordinal_probabilities(graph, shifted)
    else:
        probabilities = graph.apply_many("softmax", scores)
    return Prediction(graph.apply("argmax", *probabilities), tuple(probabilities))


def ordinal_probabilities(graph: Graph, scores: list[Value]) -> list[Value]:
    """Probability of each class from the cumulative scores: differences of their sigmoids, the last one to 1."""
    cumulative = [graph.apply("sigmoid", score) for score in scores]
    probabilities = [cumulative[0]]
    probabilities += [graph.apply("subtract", b, a) for a, b in itertools.pairwise(cumulative)]
    return [*probabilities, graph.apply("subtract", 1.0, cumulative[-1])]


def inverse_link(graph: Graph, link: str, score: Value, power: float, where: str) -> Value:
    """The mean from a linear score.

    Raises:
        ConfigError: "unsupported_element" for a link that H2O's scorer lacks too.
    """
    if link == "identity":
        return score
    if link == "logit":
        return graph.apply("sigmoid", score)
    if link == "log":
        return graph.apply("exp", score)
    if link == "inverse":
        negative = graph.apply("less", score, 0.0)
        low, high = graph.apply("min", score, -1e-5), graph.apply("max", score, 1e-5)
        return graph.apply("reciprocal", graph.apply("select", negative, low, high))
    if link == "tweedie":
        if power == 0:
            return graph.apply("max", graph.apply("exp", score), 2e-16)
        return graph.apply("power", score, 1.0 / power)
    raise unsupported(f"the link {link!r} is unknown", where)
