"""K-means, principal components and isotonic regression."""

from __future__ import annotations

import numpy as np

from recserve.importers.mojo.archive import damaged
from recserve.importers.mojo.ini import MAX_COLUMNS, Info
from recserve.importers.mojo.prediction import Prediction, isotonic
from recserve.scoring.graph import Graph, Value

MAX_CENTRES = 1 << 16


def lower_kmeans(graph: Graph, info: Info, row: list[Value], offset: Value | None) -> Prediction:  # noqa: ARG001
    """The number of the nearest centre: squared differences of numbers, 1 for a different level.

    A missing value takes the training mean or mode where the model standardises; else it is left out and the distance
    scaled up by the share of known columns.
    """
    count = info.count("center_num", MAX_CENTRES)
    centres = np.array([_of_row(info, f"center_{number}", row) for number in range(count)]).reshape(count, len(row))
    if not count:
        raise damaged("the model has no centres", info.where("center_num"))
    standardise = info.flag("standardize")
    if standardise:
        row = _standardised(graph, info, row)
    known: Value | None = None
    if not standardise:
        known = graph.apply("sum", *[graph.apply("boolean_to_number", graph.apply("is_known", x)) for x in row])
    distances = [_distance(graph, info, row, centre, known) for centre in centres]
    return Prediction(graph.apply("argmin", *distances))


def _of_row(info: Info, key: str, row: list[Value]) -> np.ndarray:
    values = info.numbers(key)
    if len(values) != len(row):
        raise damaged(f"has {len(values)} numbers for {len(row)} columns", info.where(key))
    return values


def _standardised(graph: Graph, info: Info, row: list[Value]) -> list[Value]:
    means, modes = _of_row(info, "standardize_means", row), _of_row(info, "standardize_modes", row)
    mults = _of_row(info, "standardize_mults", row) if info.has("standardize_mults") else None
    filled = []
    for column, value in enumerate(row):
        if modes[column] != -1:
            filled.append(graph.apply("replace_missing", value, float(modes[column])))
            continue
        mean = float(means[column])
        if np.isnan(mean):
            filled.append(graph.missing("number"))
            continue
        number = graph.apply("replace_missing", value, mean)
        if mults is not None:
            number = graph.apply("multiply", graph.apply("subtract", number, mean), float(mults[column]))
        filled.append(number)
    return filled


def _distance(graph: Graph, info: Info, row: list[Value], centre: np.ndarray, known: Value | None) -> Value:
    terms = []
    for column, value in enumerate(row):
        if info.domains[column] is not None:
            different = graph.apply("not_equal", value, float(centre[column]))
            terms.append(graph.apply("boolean_to_number", different))
        else:
            terms.append(graph.apply("square", graph.apply("subtract", value, float(centre[column]))))
    if known is None:
        return graph.apply("sum", *terms)
    total = graph.apply("replace_missing", graph.apply("sum", *terms, skip_missing=True), 0.0)
    scaled = graph.apply("multiply", total, graph.apply("divide", float(len(row)), known))
    some = graph.apply("and", graph.apply("greater", known, 0.0), graph.apply("less", known, float(len(row))))
    return graph.apply("select", some, scaled, total)


def lower_pca(graph: Graph, info: Info, row: list[Value], offset: Value | None) -> Prediction:  # noqa: ARG001
    """The first k principal components. A missing level counts nothing; a missing number makes all missing."""
    width = info.count("k", MAX_COLUMNS)
    levels, numbers = info.count("ncats", MAX_COLUMNS), info.count("nnums", MAX_COLUMNS)
    order, offsets = info.integers("permutation"), info.integers("catOffsets")
    rows = info.count("eigenvector_size", MAX_COLUMNS)
    vectors = info.big_endian("eigenvectors_raw", rows * width).reshape(rows, width)
    if len(order) < levels + numbers or len(offsets) <= levels or offsets[levels] + numbers > rows or width < 1:
        raise damaged("permutation, catOffsets and eigenvector_size contradict one another", info.where("permutation"))
    if any(not 0 <= place < len(row) for place in order):
        raise damaged(f"names a column outside of 0 … {len(row) - 1}", info.where("permutation"))
    shift = 0 if info.flag("use_all_factor_levels") else 1
    parts: list[list[Value]] = [[] for _ in range(width)]
    for j in range(levels):
        table = np.zeros((shift + offsets[j + 1] - offsets[j], width))
        table[shift:] = vectors[offsets[j] : offsets[j + 1]]
        for part, value in zip(parts, graph.apply_many("gather", [row[order[j]]], table=table), strict=True):
            part.append(graph.apply("replace_missing", value, 0.0))
    if numbers:
        sub, mul = info.numbers("normSub"), info.numbers("normMul")
        scaled = [
            graph.apply("multiply", graph.apply("subtract", row[order[levels + j]], float(sub[j])), float(mul[j]))
            for j in range(numbers)
        ]
        weights = vectors[offsets[levels] : offsets[levels] + numbers]
        dense = graph.apply_many("dense", scaled, weights=weights, bias=np.zeros(width))
        for part, value in zip(parts, dense, strict=True):
            part.append(value)
    components = [graph.apply("sum", *part) if part else graph.constant(0.0) for part in parts]
    names = tuple(f"PC{number}" for number in range(1, width + 1))
    return Prediction(components[0], tuple(components[1:]), names)


def lower_isotonic(graph: Graph, info: Info, row: list[Value], offset: Value | None) -> Prediction:  # noqa: ARG001
    """Isotonic regression of one column."""
    return Prediction(isotonic(graph, info, row[0]))
