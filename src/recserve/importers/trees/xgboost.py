"""XGBoost's own files: JSON, UBJSON and the old binary form."""

from __future__ import annotations

import json
from pathlib import Path

from recserve.importers.model import ImportedModel, Output, Report
from recserve.importers.mojo.archive import damaged
from recserve.importers.trees.boosted_sums import Feature, answer, margins
from recserve.importers.trees.booster import Booster
from recserve.importers.trees.inputs import Inputs
from recserve.importers.trees.ubjson import parse_ubjson
from recserve.importers.trees.xgboost_binary import parse_binary
from recserve.importers.trees.xgboost_json import parse_document
from recserve.scoring.graph import Graph, Value

MAX_BYTES = 4 << 30


def read(path: Path) -> ImportedModel:
    """Read a model that `Booster.save_model` or an estimator's `save_model` wrote.

    Scores equal those of `Booster.predict`; those of an estimator that stopped early use its best iteration. Outputs:
    `prediction`, a number, or a vector with one number a class or target.

    Raises:
        ConfigError: "damaged_model" or "unsupported_element"; the message names the file and the element.
    """
    booster = load(path)
    graph = Graph()
    inputs = Inputs(graph, "XGBoost")
    features = [Feature(_feature(graph, inputs, booster, number)) for number in range(booster.features)]
    found = answer(graph, booster, margins(graph, booster, features), str(path))
    output = declare_prediction(graph, found)
    report = Report("xgboost", fields=dict(inputs.dtypes), targets=["prediction"])
    report.elements[f"{booster.kind} {booster.objective}"] = 1
    if booster.trees:
        report.elements["tree"] = len(booster.trees)
    return ImportedModel(graph.build(), inputs.dtypes, [output], report)


def load(path: Path) -> Booster:
    """Parse a file of any of XGBoost's forms."""
    if (size := path.stat().st_size) > MAX_BYTES:
        raise damaged(f"has {size} bytes; {MAX_BYTES} are allowed", str(path))
    data = path.read_bytes()
    where = str(path)
    head = data.lstrip()[:2]
    if head[:1] != b"{":
        return parse_binary(data, where)
    if head[1:2] in b'" \n\r\t}' and not _is_ubjson(data):
        try:
            return parse_document(json.loads(data), where)
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise damaged(f"is no JSON: {error}", where) from None
    return parse_document(parse_ubjson(data, where), where)


def _is_ubjson(data: bytes) -> bool:
    """Whether the first key is written with the type of its length, as XGBoost does."""
    return data[:2] in (b"{L", b"{i", b"{U", b"{l", b"{I")


def _feature(graph: Graph, inputs: Inputs, booster: Booster, number: int) -> Value:
    """A feature as a float32 number, or the code of its category."""
    name = booster.names[number] if number < len(booster.names) else f"f{number}"
    kind = booster.types[number] if number < len(booster.types) else "q"
    if kind != "c":
        return graph.apply("to_float32", inputs.number(name))
    levels = booster.levels.get(number)
    return graph.apply("truncate", inputs.number(name)) if levels is None else inputs.level(name, levels)


def declare_prediction(graph: Graph, values: list[Value], name: str = "prediction", dtype: str = "float64") -> Output:
    """One output of one value, or a vector of several."""
    if len(values) == 1:
        graph.output(name, values[0])
        return Output(name, dtype, (name,))
    parts = tuple(f"{name}[{number}]" for number in range(len(values)))
    for part, value in zip(parts, values, strict=True):
        graph.output(part, value)
    return Output(name, dtype, parts, "vector")
