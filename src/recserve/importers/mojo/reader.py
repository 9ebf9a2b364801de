"""Reads a MOJO: its files, its columns, and the algorithm that lowers it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from recserve.errors import suggest
from recserve.importers.model import ImportedModel, Output, Report
from recserve.importers.mojo import clusters, deep_learning, ensembles, gam, glm, isolation, shared_trees
from recserve.importers.mojo.archive import open_archive
from recserve.importers.mojo.coxph import lower_coxph
from recserve.importers.mojo.ini import Info, read_info, unsupported
from recserve.importers.mojo.prediction import Prediction, declare_outputs
from recserve.importers.mojo.rows import Row, read_row
from recserve.importers.mojo.rulefit import lower_rulefit
from recserve.importers.mojo.target_encoder import lower_target_encoder
from recserve.importers.mojo.xgboost import lower_xgboost
from recserve.scoring.graph import Graph, Value

Lower = Callable[[Graph, Info, list[Value], Value | None], Prediction]

ALGORITHMS: dict[str, Lower] = {
    "gbm": shared_trees.lower_gbm,
    "drf": shared_trees.lower_drf,
    "upliftdrf": shared_trees.lower_uplift,
    "isolationforest": shared_trees.lower_isolation,
    "extendedisolationforest": isolation.lower_extended_isolation,
    "glm": glm.lower_glm,
    "deeplearning": deep_learning.lower_deep_learning,
    "xgboost": lower_xgboost,
    "kmeans": clusters.lower_kmeans,
    "pca": clusters.lower_pca,
    "isotonicregression": clusters.lower_isotonic,
    "targetencoder": lower_target_encoder,
    "stackedensemble": lambda graph, info, row, _: ensembles.lower_stacked(graph, info, row, lower_model),
    "coxph": lower_coxph,
    "rulefit": lambda graph, info, row, _: lower_rulefit(graph, info, row, lower_model),
    "klime": lambda graph, info, row, _: ensembles.lower_klime(graph, info, row, lower_model),
}
# Algorithms whose scorer takes an offset; the others have none, or ignore it as genmodel does.
_WITH_OFFSET = {"gbm", "glm", "xgboost", "coxph"}
_OFFSET_CATEGORIES = {"Binomial", "Regression", "Ordinal", "CoxPH"}


def lower_model(graph: Graph, info: Info, row: list[Value], offset: Value | None) -> Prediction:
    """The answer of a model of any algorithm for a row of its columns.

    Raises:
        ConfigError: "unsupported_element" for an algorithm that recserve lacks.
    """
    name = info.algorithm
    if name not in ALGORITHMS:
        hint = suggest(name, ALGORITHMS) or f"Known: {', '.join(ALGORITHMS)}"
        raise unsupported(f"the algorithm {name!r} is unknown", info.where("algo"), hint)
    return ALGORITHMS[name](graph, info, row, offset)


def read(path: Path) -> ImportedModel:
    """Read a MOJO's zip file or the directory that it unpacks to.

    Raises:
        ConfigError: "damaged_model" or "unsupported_element"; the message names the file and the entry or key.
    """
    info = read_info(open_archive(path))
    graph = Graph()
    is_gam = info.algorithm == "gam"
    row = read_row(graph, info, gam.expanded_columns(info) if is_gam else frozenset())
    if is_gam:  # its splines read raw columns, not those of its row
        prediction = gam.lower_gam(graph, info, row.values, row)
    else:
        prediction = lower_model(graph, info, row.values, _read_offset(row, info))
    dtypes = declare_outputs(graph, info, prediction)
    outputs = [Output(name, dtype, (name,)) for name, dtype in dtypes.items()]
    return ImportedModel(graph.build(), row.inputs, outputs, _report(info, row))


def _read_offset(row: Row, info: Info) -> Value | None:
    """The offset column where model.ini names one and the scorer takes it. A missing offset fails the row."""
    if not info.has("offset_column") or info.algorithm not in _WITH_OFFSET or info.category not in _OFFSET_CATEGORIES:
        return None
    name = info.text("offset_column")
    value = row.number(name)
    absent = row.graph.apply("is_missing", value)
    return row.graph.apply("fail", value, absent, message=f"the offset column {name!r} is missing")


def _report(info: Info, row: Row) -> Report:
    report = Report("mojo", fields=dict(row.inputs))
    report.count(info.text("algorithm", info.algorithm))
    for key, value in info.values.items():
        if key.startswith("submodel_key_"):
            report.count("submodel")
            report.transformations.append(value)
    if info.supervised:
        report.targets.append(info.columns[-1])
    report.notes.append(f"H2O {info.text('h2o_version', 'unknown')}, MOJO version {info.text('mojo_version')}.")
    return report
