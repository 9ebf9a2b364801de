"""scikit-learn's encoders of categories, imputers and discretisers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from recserve.importers.pipelines.encoders import refuse_missing
from recserve.importers.pipelines.pieces import OneHot, Piece
from recserve.importers.pipelines.vectors import Vector
from recserve.importers.sklearn.table import Part, Single, Table, array, kind_of
from recserve.scoring.graph import Value


def is_missing(category: Any) -> bool:
    """Whether a category stands for a missing value."""
    return category is None or (isinstance(category, float | np.floating) and math.isnan(category))


def _keys(categories: Any) -> tuple[bool, list[Any]]:
    """(whether they are texts, the keys): booleans count as numbers."""
    known = [category for category in categories if not is_missing(category)]
    is_text = any(isinstance(category, str) for category in known)
    if is_text:
        return True, [None if is_missing(category) else str(category) for category in categories]
    return False, [None if is_missing(category) else float(category) for category in categories]


def _has_infrequent(encoder: Any, column: int) -> bool:
    """Whether an encoder has put the rare categories of a column together."""
    mappings = getattr(encoder, "_default_to_infrequent_mappings", None)
    return (
        bool(getattr(encoder, "_infrequent_enabled", False)) and mappings is not None and mappings[column] is not None
    )


def _places(encoder: Any, column: int, count: int) -> list[int]:
    """Per category its place among the encoder's outputs, with the infrequent ones at one place."""
    if not _has_infrequent(encoder, column):
        return list(range(count))
    return [int(place) for place in encoder._default_to_infrequent_mappings[column]]


def _coded(table: Table, encoder: Any, column: int, unknown: float | None) -> tuple[Value, int]:
    """(place of the category, number of places); unknown ones get `unknown`, or fail the row where it is None.

    A missing value is the missing category where there is one, else it is unknown.
    """
    graph = table.graph
    is_text, keys = _keys(encoder.categories_[column])
    places = _places(encoder, column, len(keys))
    value = table.column(column, is_text=is_text)
    pairs = [(key, float(place)) for key, place in zip(keys, places, strict=True) if key is not None]
    missing = next((float(place) for key, place in zip(keys, places, strict=True) if key is None), unknown)
    found = graph.apply(
        "lookup",
        value,
        keys=[(key,) for key, _ in pairs],
        values=[place for _, place in pairs],
        default=unknown,
        missing=missing,
    )
    if unknown is None:
        found = refuse_missing(graph, found, f"column {column} of {kind_of(encoder)} has an unknown category")
    return found, max(places) + 1


def one_hot(encoder: Any, table: Table) -> Table:
    """OneHotEncoder."""
    pieces: list[Piece] = []
    for column in range(len(encoder.categories_)):
        places = _places(encoder, column, len(encoder.categories_[column]))
        unknown: float | None = None
        if encoder.handle_unknown in {"infrequent_if_exist", "warn"} and _has_infrequent(encoder, column):
            unknown = float(max(places))
        elif encoder.handle_unknown != "error":
            unknown = -1.0
        value, count = _coded(table, encoder, column, unknown)
        dropped = None if encoder.drop_idx_ is None else encoder.drop_idx_[column]
        if dropped is not None:
            dropped = places[int(dropped)]
        keys = tuple(float(place) for place in range(count) if place != dropped)
        pieces.append(OneHot(value, keys, np.ones(len(keys)), np.zeros(len(keys))))
    return Table(table.frame, [Vector(table.graph, pieces)])


def ordinal(encoder: Any, table: Table) -> Table:
    """OrdinalEncoder; an encoded value that is NaN is missing."""
    graph, values = table.graph, []
    for column, categories in enumerate(encoder.categories_):
        is_text, keys = _keys(categories)
        places = _places(encoder, column, len(keys))
        value = table.column(column, is_text=is_text)
        pairs = [(key, float(place)) for key, place in zip(keys, places, strict=True) if key is not None]
        has_missing = any(key is None for key in keys)
        missing = float(encoder.encoded_missing_value) if has_missing else math.nan
        allows = encoder.handle_unknown == "use_encoded_value"
        unknown = float(encoder.unknown_value) if allows else math.nan
        default = None if math.isnan(unknown) else unknown
        absent = None if math.isnan(missing) else missing
        if not has_missing and allows:
            absent = default
        found = graph.apply(
            "lookup",
            value,
            keys=[(key,) for key, _ in pairs],
            values=[place for _, place in pairs],
            default=default,
            missing=absent,
        )
        if not allows:
            known = graph.apply("is_known", value)
            wrong = graph.apply("and", known, graph.apply("is_missing", found))
            wrong = wrong if has_missing else graph.apply("is_missing", found)
            message = f"column {column} of OrdinalEncoder has an unknown category"
            found = graph.apply("fail", found, wrong, message=message)
        values.append(found)
    return Table(table.frame, [Vector.of(graph, values)])


def target(encoder: Any, table: Table) -> Table:
    """TargetEncoder: the encoding of a category, or the mean of the target for an unknown one."""
    graph, values = table.graph, []
    classes = len(encoder.classes_) if getattr(encoder, "target_type_", "") == "multiclass" else 1
    means = np.atleast_1d(array(encoder.target_mean_))
    for i, encoding in enumerate(encoder.encodings_):
        column, label = divmod(i, classes)
        is_text, keys = _keys(encoder.categories_[column])
        value, mean = table.column(column, is_text=is_text), float(means[label])
        pairs = [(key, float(x)) for key, x in zip(keys, encoding, strict=True) if key is not None]
        missing = next((float(x) for key, x in zip(keys, encoding, strict=True) if key is None), mean)
        found = graph.apply(
            "lookup",
            value,
            keys=[(key,) for key, _ in pairs],
            values=[x for _, x in pairs],
            default=mean,
            missing=missing,
        )
        values.append(found)
    return Table(table.frame, [Vector.of(graph, values)])


def discretize(encoder: Any, table: Table) -> Table:
    """KBinsDiscretizer: the bin of a number; those outside count as the first or last."""
    graph, parts = table.graph, []
    vector = table.vector()
    for column, edges in enumerate(encoder.bin_edges_):
        inner = [float(edge) for edge in edges[1:-1]]
        ends = [None, *inner, None]
        count = len(ends) - 1
        intervals = [(ends[i], ends[i + 1], True, False) for i in range(count)]
        bins = [float(i) for i in range(count)]
        found = graph.apply("discretize", vector.element(column), intervals=intervals, values=bins)
        if encoder.encode == "ordinal":
            parts.append(Vector.of(graph, [found]))
        else:
            parts.append(Vector(graph, [OneHot(found, tuple(bins), np.ones(count), np.zeros(count))]))
    return Table(table.frame, parts)


def impute(imputer: Any, table: Table) -> Table:
    """SimpleImputer: a statistic for missing values, and a mark of them where it is asked for."""
    graph, parts = table.graph, list[Part]()
    marker, statistics = imputer.missing_values, imputer.statistics_
    for column, statistic in enumerate(statistics):
        if is_missing(statistic):
            continue  # a column that was all missing is dropped
        is_text = isinstance(statistic, str)
        value = table.column(column, is_text=is_text)
        known = _known(table, value, marker)
        filled = graph.apply("replace_missing", known, str(statistic) if is_text else float(statistic))
        parts.append(Single(filled) if is_text else Vector.of(graph, [filled]))
    if getattr(imputer, "indicator_", None) is not None:
        parts += mark_missing(imputer.indicator_, table).parts
    return Table(table.frame, parts)


def _known(table: Table, value: Value, marker: Any) -> Value:
    """The value, missing where it is what an imputer takes for missing."""
    graph = table.graph
    if is_missing(marker) or type(marker).__name__ == "NAType":
        return graph.apply("nan_to_missing", value) if value.dtype == "number" else value
    wanted = str(marker) if value.dtype == "string" else float(marker)
    return graph.apply("mark_missing", value, graph.apply("equal", value, wanted))


def mark_missing(indicator: Any, table: Table) -> Table:
    """MissingIndicator: 1 where a column is missing."""
    graph, values = table.graph, []
    for column in indicator.features_:
        (part,) = table.select([int(column)]).parts
        is_text = isinstance(part, Single) and part.value.dtype == "string"
        known = _known(table, table.column(int(column), is_text=is_text), indicator.missing_values)
        values.append(graph.apply("boolean_to_number", graph.apply("is_missing", known)))
    return Table(table.frame, [Vector.of(graph, values)])
