"""Cox proportional hazards: the linear predictor, less the mean of the row's stratum."""

from __future__ import annotations

import numpy as np

from recserve.importers.mojo.archive import damaged
from recserve.importers.mojo.ini import MAX_COLUMNS, Info, unsupported
from recserve.importers.mojo.prediction import Prediction
from recserve.scoring.graph import Graph, Value

MAX_STRATA = 1 << 20


def lower_coxph(graph: Graph, info: Info, row: list[Value], offset: Value | None) -> Prediction:
    """Σ coefficients of levels and numbers − the stratum's mean predictor + offset."""
    strata = [info.numbers(f"strata_{i}") for i in range(info.count("strata_count", MAX_STRATA))]
    first = len(strata[0]) if strata else 0
    coefficients = info.numbers("coef")
    row, slopes = _interactions(graph, info, row, coefficients)
    values = row[first:]
    levels, offsets = info.count("cats", MAX_COLUMNS), info.integers("cat_offsets")
    if len(offsets) <= levels or offsets[levels] > len(coefficients) or first + levels > len(row):
        raise damaged(f"is {offsets[:8]} for {levels} columns", info.where("cat_offsets"))
    all_levels = info.flag("use_all_factor_levels")
    crossed = set(info.integers("interaction_targets", ()))
    terms: list[Value] = []
    for column in range(levels):
        start, end = offsets[column], offsets[column + 1]
        shift = 0 if all_levels or column in crossed else 1
        table = [0.0] * shift + coefficients[start:end].tolist()
        size = max(len(info.domains[first + column] or ()), len(table)) + 1
        terms.append(graph.apply("pick", values[column], values=table + [0.0] * (size - len(table))))
    terms += _numbers(graph, info, values[levels:], coefficients, levels, offsets, slopes, first + levels)
    total = graph.apply("sum", *terms) if terms else graph.constant(0.0)
    total = graph.apply("subtract", total, _base(graph, info, row[:first], strata, coefficients))
    return Prediction(total if offset is None else graph.apply("add", total, offset))


def _numbers(  # noqa: PLR0917  (what a row needs)
    graph: Graph,
    info: Info,
    values: list[Value],
    coefficients: np.ndarray,
    levels: int,
    offsets: list[int],
    slopes: dict[int, Value],
    first: int,
) -> list[Value]:
    """Coefficient · value of each number; a number crossed with levels has its own coefficient a level."""
    count = info.integer("num_numerical_columns", -1)
    if count == -1:  # MOJOs before 3.34
        places = [offsets[levels] + i for i in range(len(coefficients) - offsets[levels])]
    else:
        places = info.integers("num_offsets")[:count]
    terms = []
    for i, (place, value) in enumerate(zip(places, values, strict=False)):
        if first + i in slopes:
            terms.append(graph.apply("multiply", slopes[first + i], value))
        elif 0 <= place < len(coefficients):
            terms.append(graph.apply("multiply", value, float(coefficients[place])))
        else:
            break
    return terms


def _interactions(
    graph: Graph, info: Info, row: list[Value], coefficients: np.ndarray
) -> tuple[list[Value], dict[int, Value]]:
    """The row with its crossed columns, and for numbers crossed with levels their coefficient."""
    row, slopes = list(row), dict[int, Value]()
    targets = info.integers("interaction_targets", ())
    if not targets or info.integer("num_numerical_columns", -1) == -1:
        return row, slopes
    lefts, rights = info.integers("interactions_1"), info.integers("interactions_2")
    if not len(targets) == len(lefts) == len(rights) or any(not 0 <= i < len(row) for i in targets + lefts + rights):
        raise damaged(
            "interactions_1, interactions_2 and interaction_targets contradict one another",
            info.where("interaction_targets"),
        )
    for target, left, right in zip(targets, lefts, rights, strict=True):
        known = [info.domains[left] is not None, info.domains[right] is not None]
        if all(known):
            row[target] = _cross_levels(graph, info, row, target, left, right)
        elif not any(known):
            row[target] = graph.apply("multiply", row[left], row[right])
        else:
            level, number = (left, right) if known[0] else (right, left)
            start = info.integers("num_offsets")[target - info.count("cats", MAX_COLUMNS)]
            shift = 0 if info.flag("use_all_factor_levels") else 1
            size = len(info.domains[level] or ())
            places = [start + code - shift for code in range(size)]
            table = [
                float(coefficients[place]) if code >= shift and 0 <= place < len(coefficients) else 0.0
                for code, place in enumerate(places)
            ]
            slopes[target] = graph.apply("pick", row[level], values=table)
            row[target] = row[number]
    return row, slopes


def _cross_levels(  # noqa: PLR0917  (what a row needs)
    graph: Graph,
    info: Info,
    row: list[Value],
    target: int,
    left: int,
    right: int,
) -> Value:
    domain = {level: code for code, level in enumerate(info.domains[target] or ())}
    a, b = info.domains[left] or (), info.domains[right] or ()
    if len(a) * len(b) > MAX_STRATA:
        raise unsupported(f"{len(a)} × {len(b)} levels are crossed", info.where("interaction_targets"))
    pairs = [(i, j) for i in range(len(a)) for j in range(len(b))]
    # A pair that training never met has the code behind the last one, which has no coefficient.
    codes = [float(domain.get(f"{a[i]}_{b[j]}", len(domain))) for i, j in pairs]
    # genmodel's cast of NaN to int makes a missing level the first one here.
    keys = [graph.apply("replace_missing", row[place], 0.0) for place in (left, right)]
    return graph.apply("lookup", *keys, keys=pairs, values=codes)


def _base(graph: Graph, info: Info, keys: list[Value], strata: list[np.ndarray], coefficients: np.ndarray) -> Value:
    """The mean predictor of the row's stratum; a row of an unknown stratum fails."""
    rows = max(len(strata), 1)
    means = []
    for name in ("x_mean_cat", "x_mean_num"):
        height, width = info.count(f"{name}_size1", MAX_STRATA), info.count(f"{name}_size2", MAX_COLUMNS)
        if height < rows:
            raise damaged(f"has {height} rows for {rows} strata", info.where(f"{name}_size1"))
        means.append(info.big_endian(name, height * width).reshape(height, width))
    table = np.hstack([part[:rows] for part in means])
    if table.shape[1] > len(coefficients):
        raise damaged(f"has {table.shape[1]} means for {len(coefficients)} coefficients", info.where("coef"))
    bases = [float(value) for value in table @ coefficients[: table.shape[1]]]
    if not strata:
        return graph.constant(bases[0])
    found = graph.apply("lookup", *keys, keys=[[float(int(x)) for x in stratum] for stratum in strata], values=bases)
    lost = graph.apply("is_missing", found)
    return graph.apply("fail", found, lost, message="the row is of no stratum of the training data")
