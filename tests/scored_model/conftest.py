"""A scorecard-like model of four fields, as an importer gives it, and its directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from recserve.importers.model import ImportedModel, Output, Report
from recserve.scored_model.stored import publish
from recserve.scoring.graph import Graph

SIDES = {"age": "user", "hour": "context", "price": "item", "brand": "item", "place": "candidate"}


def build(*, can_fail: bool = True) -> ImportedModel:
    """score = 0.5 + 0.1 age + 0.01 hour + 2 price + points of the brand - 0.3 place; a label; a vector."""
    g = Graph()
    age, hour, price, place = (g.input(name, "number") for name in ("age", "hour", "price", "place"))
    brand = g.input("brand", "string")
    if can_fail:
        price = g.apply("fail", price, g.apply("less", price, 0.0), message="the value of 'price' is invalid")
    points = g.apply("lookup", brand, keys=[["a"], ["b"]], values=[1.0, 3.0], default=-1.0, missing=0.0, dtype="number")
    ages = g.apply("replace_missing", age, 30.0)
    terms = [ages, hour, price, points, place]
    score = g.apply("linear", *terms, weights=[0.1, 0.01, 2.0, 1.0, -0.3], bias=0.5)
    g.output("score", score)
    is_good = g.apply("greater", score, 5.0)
    g.output("is good", is_good)
    g.output("label", g.apply("select", is_good, g.constant("good"), g.constant("bad")))
    g.output("v0", score)
    g.output("v1", g.apply("sigmoid", score))
    inputs = {"age": "float64", "hour": "float64", "price": "float64", "brand": "string", "place": "float64"}
    outputs = [
        Output("score", "float64", ("score",)),
        Output("is good", "bool", ("is good",)),
        Output("label", "string", ("label",)),
        Output("both", "float64", ("v0", "v1"), "vector"),
    ]
    return ImportedModel(g.build(), inputs, outputs, Report("pmml", elements={"Scorecard": 1}, targets=["score"]))


@pytest.fixture
def model() -> ImportedModel:
    return build()


@pytest.fixture
def directory(tmp_path: Path, model: ImportedModel) -> Path:
    return publish(model, tmp_path / "card" / "3")


@pytest.fixture
def ranker_directory(tmp_path: Path, model: ImportedModel) -> Path:
    return publish(model, tmp_path / "cards" / "1", sides=SIDES, score="score")


@pytest.fixture(scope="module")
def shared_model() -> ImportedModel:
    return build()
