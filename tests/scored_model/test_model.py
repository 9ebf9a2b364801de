"""A scored model as tensors see it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recserve.errors import RequestError
from recserve.importers.model import ImportedModel, Output, Report
from recserve.scored_model.model import ScoredModel
from recserve.scored_model.stored import publish, read_stored
from recserve.scoring.graph import Graph


def opened(directory: Path, name: str | None = None) -> ScoredModel:
    model = ScoredModel(read_stored(directory), name)
    model.warm()
    return model


def texts(*cells: bytes) -> np.ndarray[Any, Any]:
    array = np.empty(len(cells), object)
    array[:] = cells
    return array


def test_rows_are_scored_and_a_row_that_fails_says_why(directory: Path) -> None:
    model = opened(directory)
    inputs = {"age": np.array([20.0, np.nan, 20.0]), "price": np.array([1.0, 1.0, -1.0]), "place": np.zeros(3)}
    inputs |= {"hour": np.zeros(3), "brand": texts(b"b", b"", b"b")}
    answer = model.run("serving_default", inputs)
    assert list(answer) == ["score", "is good", "label", "both", "error"]
    np.testing.assert_allclose(answer["score"], [7.5, 5.5, np.nan])
    np.testing.assert_allclose(answer["both"][:, 0], answer["score"])
    assert answer["both"].shape == (3, 2)
    assert answer["is good"].tolist() == [b"true", b"true", b""]
    assert answer["label"].tolist() == [b"good", b"good", b""]
    assert answer["error"].tolist() == [b"", b"", b"the value of 'price' is invalid"]
    only = model.run("serving_default", inputs, ["error", "label"])
    assert list(only) == ["error", "label"]
    del inputs["brand"]
    np.testing.assert_allclose(model.run("serving_default", inputs, ["score"])["score"][0], 4.5)


def test_a_model_whose_rows_cannot_fail_has_no_error_output(tmp_path: Path) -> None:
    g = Graph()
    g.output("error", g.input("x", "number"))
    specs = [Output("error", "float64", ("error",))]
    model = opened(publish(ImportedModel(g.build(), {"x": "float64"}, specs, Report("mojo")), tmp_path / "m" / "1"))
    assert list(model.signatures["serving_default"].outputs) == ["error"]
    g = Graph()
    x = g.input("x", "number")
    g.output("error", g.apply("fail", x, g.apply("less", x, 0.0), message="negative"))
    specs = [Output("error", "float64", ("error",))]
    model = opened(publish(ImportedModel(g.build(), {"x": "float64"}, specs, Report("mojo")), tmp_path / "m" / "2"))
    assert list(model.signatures["serving_default"].outputs) == ["error", "recserve_error"]
    answer = model.run("serving_default", {"x": np.array([1.0, -1.0])})
    assert answer["recserve_error"].tolist() == [b"", b"negative"]


def test_it_describes_itself_and_takes_another_name(directory: Path) -> None:
    model = opened(directory, "other")
    assert (model.name, model.version) == ("other", 3)
    described = model.describe()
    assert described["inputs"]["brand"] == "string"
    assert described["outputs"]["both"] == {"dtype": "float64", "shape": (None, 2)}
    assert described["report"]["elements"] == {"Scorecard": 1}
    model.close()


def test_other_signatures_are_refused(directory: Path) -> None:
    with pytest.raises(RequestError, match="there is no signature 'other'"):
        opened(directory).run("other", {"age": np.zeros(1)})
