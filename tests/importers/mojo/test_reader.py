from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from recserve.errors import ConfigError
from recserve.importers import guess, read

Make = Callable[..., Path]
GLM = {
    "algo": "glm",
    "family": "gaussian",
    "link": "identity",
    "cats": 0,
    "cat_offsets": [0],
    "nums": 1,
    "beta": [2.0, 1.0],
}


def test_a_mojo_is_known_by_its_content_and_scores(make_mojo: Make) -> None:
    path = make_mojo(GLM, ["x", "y"])
    assert guess(path) == "mojo"
    model = read(path)
    assert model.inputs == {"x": "float64"}
    assert model.outputs == {"predict": "float64"}
    assert model.report.targets == ["y"]
    assert "MOJO version 1.00" in model.report.notes[0]
    for reference in (False, True):
        scores = model.score({"x": ["1.5", None, "?"]}, reference=reference)
        assert scores.outputs["predict"][0] == 4.0
        assert scores.outputs["predict"][1] != scores.outputs["predict"][1]
        assert scores.errors == {2: "column 'x': the text is no number"}


def test_an_unknown_algorithm_is_unsupported(make_mojo: Make) -> None:
    with pytest.raises(ConfigError, match="the algorithm 'glmm' is unknown") as caught:
        read(make_mojo(GLM | {"algo": "glmm"}, ["x", "y"]))
    assert caught.value.code == "unsupported_element"
    assert caught.value.hint == "Did you mean 'glm'?"


def test_an_unknown_category_is_unsupported(make_mojo: Make) -> None:
    with pytest.raises(ConfigError, match="the model category 'Unknown' has no scores"):
        read(make_mojo(GLM | {"category": "Unknown"}, ["x", "y"]))


def test_an_offset_column_is_read_and_must_be_there(make_mojo: Make) -> None:
    model = read(make_mojo(GLM | {"offset_column": "o"}, ["x", "y"]))
    scores = model.score({"x": [1.0, 1.0], "o": [0.5, None]})
    assert scores.outputs["predict"][0] == 3.5
    assert scores.errors == {1: "the offset column 'o' is missing"}
