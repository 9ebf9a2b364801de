"""Models of models: stacked ensembles and k-LIME."""

from __future__ import annotations

from collections.abc import Callable

from recserve.importers.mojo.archive import damaged
from recserve.importers.mojo.ini import Info, read_info, unsupported
from recserve.importers.mojo.prediction import Prediction
from recserve.scoring.graph import Graph, Value

Lower = Callable[[Graph, Info, list[Value], Value | None], Prediction]
MAX_MODELS = 1 << 12


def read_submodels(info: Info) -> dict[str, Info]:
    """The models that lie inside this one, by key."""
    models = {}
    for number in range(info.count("submodel_count", MAX_MODELS, 0)):
        key, folder = info.text(f"submodel_key_{number}"), info.text(f"submodel_dir_{number}")
        models[key] = read_info(info.archive.inner(folder))
    return models


def submodel(info: Info, models: dict[str, Info], key: str) -> Info:
    """The inner model that a key of model.ini names."""
    name = info.text(key)
    if name not in models:
        raise damaged(f"names the model {name!r}, which the MOJO lacks", info.where(key))
    return models[name]


def lower_stacked(graph: Graph, info: Info, row: list[Value], lower: Lower) -> Prediction:
    """A metalearner over the answers of base models; `lower` lowers an inner model."""
    models = read_submodels(info)
    transform = info.text("metalearner_transform", "NONE")
    if transform not in ("NONE", "Logit"):
        raise unsupported(f"the transform {transform!r} is unknown", info.where("metalearner_transform"))
    places = {name: place for place, name in reversed(list(enumerate(info.columns)))}
    answers: list[Value] = []
    for number in range(info.count("base_models_num", MAX_MODELS, 0)):
        key = f"base_model{number}"
        width = info.classes if info.classes > 2 else 1
        if not info.has(key):
            answers += [graph.constant(0.0)] * width
            continue
        base = submodel(info, models, key)
        if absent := [name for name in base.features if places.get(name, len(row)) >= len(row)]:
            raise damaged(f"the model reads {absent[0]!r}, which the ensemble lacks", info.where(key))
        found = lower(graph, base, [row[places[name]] for name in base.features], None)
        answers += _answers(info, found, key)
    if transform == "Logit" and info.classes >= 2:
        answers = [_logit(graph, value) for value in answers]
    meta = submodel(info, models, "metalearner")
    if len(meta.features) != len(answers):
        raise damaged(f"reads {len(meta.features)} of {len(answers)} base answers", info.where("metalearner"))
    return lower(graph, meta, answers, None)


def _answers(info: Info, found: Prediction, key: str) -> list[Value]:
    """What the metalearner sees of a base model: all probabilities, the second class's, or the number."""
    if info.classes < 2:
        return [found.first]
    if len(found.rest) != info.classes:
        raise damaged(f"has {len(found.rest)} classes of {info.classes}", info.where(key))
    return list(found.rest) if info.classes > 2 else [found.rest[1]]


def _logit(graph: Graph, value: Value) -> Value:
    clipped = graph.apply("min", graph.apply("max", value, 1e-9), 1 - 1e-9)
    odds = graph.apply("divide", clipped, graph.apply("subtract", 1.0, clipped))
    return graph.apply("max", graph.apply("log", odds), -19.0)


def lower_klime(graph: Graph, info: Info, row: list[Value], lower: Lower) -> Prediction:
    """k-LIME: the regression of the row's cluster, or the global one where the cluster has none."""
    models = read_submodels(info)
    clustering = submodel(info, models, "clustering_model")
    overall = submodel(info, models, "global_regression_model")
    places = {name: place for place, name in enumerate(overall.features)}
    if absent := [name for name in clustering.features if name not in places]:
        raise damaged(f"clusters by {absent[0]!r}, which the regression lacks", info.where("clustering_model"))
    cluster = lower(graph, clustering, [row[places[name]] for name in clustering.features], None).first
    choices = []
    for number in range(info.count("cluster_num", MAX_MODELS, 0)):
        key = f"cluster_regression_model_{number}"
        model = submodel(info, models, key) if info.has(key) else overall
        choices.append(lower(graph, model, row, None).first)
    return Prediction(graph.apply("choose", cluster, *choices), (cluster,), ("predict", "cluster"))
