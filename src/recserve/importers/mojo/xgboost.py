"""XGBoost models inside MOJOs: a binary booster over one-hot levels and float32 numbers."""

from __future__ import annotations

from recserve.importers.mojo.archive import damaged
from recserve.importers.mojo.deep_learning import hot_places
from recserve.importers.mojo.ini import MAX_COLUMNS, Info, unsupported
from recserve.importers.mojo.prediction import Prediction, calibrate, classify
from recserve.importers.trees.boosted_sums import Feature, answer, margins
from recserve.importers.trees.xgboost_binary import parse_binary
from recserve.scoring.graph import Graph, Value

NEWEST = 1.1


def read_features(graph: Graph, info: Info, row: list[Value]) -> list[Feature]:
    """The booster's features: each level of each categorical column, the last for missing ones, then the numbers."""
    levels, numbers = info.count("cats", MAX_COLUMNS), info.count("nums", MAX_COLUMNS)
    offsets = info.integers("cat_offsets", (0,)) or [0]
    if len(offsets) <= levels or levels + numbers > len(row):
        raise damaged(f"has {len(offsets)} offsets for {levels} columns of {len(row)}", info.where("cat_offsets"))
    is_sparse, all_levels = info.flag("sparse"), info.flag("use_all_factor_levels")
    features = []
    for column in range(levels):
        width = offsets[column + 1] - offsets[column]
        size = max(len(info.domains[column] or ()), 1)
        places = hot_places(size, width, all_levels)
        place = graph.apply("pick", row[column], values=places)
        place = graph.apply("replace_missing", place, float(width - 1))
        features += [Feature(place, hot, is_sparse) for hot in range(width)]
    for column in range(levels, levels + numbers):
        value = graph.apply("to_float32", row[column])
        if is_sparse:
            value = graph.apply("mark_missing", value, graph.apply("equal", value, 0.0))
        features.append(Feature(value))
    return features


def lower_xgboost(graph: Graph, info: Info, row: list[Value], offset: Value | None) -> Prediction:
    """The booster's answer as probabilities or a number."""
    if info.version > NEWEST:
        raise unsupported(f"MOJO version {info.version:.2f} is newer than {NEWEST:.2f}", info.where("mojo_version"))
    where = info.archive.where("boosterBytes")
    booster = parse_binary(info.archive.data("boosterBytes"), where)
    features = read_features(graph, info, row)
    if len(features) < booster.features:
        raise damaged(f"the booster has {booster.features} features, model.ini {len(features)}", where)
    if booster.kind == "gblinear" and info.version == 1.0 and info.count("cats", MAX_COLUMNS):
        raise unsupported("gblinear of MOJO version 1.00 reads levels in a way of its own", where)
    shift = offset if info.flag("has_offset", False) else None
    sums = margins(graph, booster, features[: booster.features], shift)
    found = answer(graph, booster, sums, where)
    if info.classes > 2:
        return classify(graph, info, found, row, balance=False)
    if info.classes == 2:
        first = graph.apply("to_float32", graph.apply("subtract", 1.0, found[0]))
        return calibrate(graph, info, classify(graph, info, [first, found[0]], row, balance=False))
    return Prediction(found[0])
