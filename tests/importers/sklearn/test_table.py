"""scikit-learn readers without scikit-learn: they look at names and fitted attributes only, and open no pickle."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from recserve.errors import ConfigError
from recserve.importers import read
from recserve.importers.pipelines.frame import Frame
from recserve.importers.pipelines.vectors import Vector
from recserve.importers.sklearn import read_estimator
from recserve.importers.sklearn.table import Raw, Single, Table


def estimator(kind: str, **fitted: Any) -> Any:
    return type(kind, (SimpleNamespace,), {})(**fitted)


def logistic(**more: Any) -> Any:
    fitted = {"coef_": [[1.0, -2.0]], "intercept_": [0.5], "classes_": np.array(["no", "yes"]), "n_features_in_": 2}
    return estimator("LogisticRegression", predict=None, **{**fitted, **more})


class _Trap:
    """Fails the test when it is unpickled."""

    def __reduce__(self) -> Any:
        return (pytest.fail, ("a pickle was opened",))


@pytest.mark.parametrize("name", ["model.pkl", "model.joblib", "model.bin"])
def test_a_pickle_is_never_opened_and_the_error_shows_the_way(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(pickle.dumps(_Trap()))
    with pytest.raises(ConfigError, match=r"recserve opens none.*joblib\.load.*read_estimator") as caught:
        read(path)
    assert caught.value.code == "unsafe_pickle"


def test_inputs_are_named_by_features_or_by_number_and_outputs_by_classes() -> None:
    model = read_estimator(logistic())
    assert list(model.inputs) == ["x0", "x1"]
    assert list(model.outputs) == ["predict", "probability(no)", "probability(yes)", "decision"]
    scores = model.score({"x0": [2.0, None], "x1": [0.25, 1.0]})
    assert scores.outputs["predict"][0] == "yes"
    np.testing.assert_allclose(scores.outputs["decision"], [2.0, np.nan])
    named = read_estimator(logistic(feature_names_in_=np.array(["age", "price"])))
    assert named.inputs == {"age": "float64", "price": "float64"}


def test_labels_that_are_numbers_or_booleans_stay_so() -> None:
    for classes, want in ((np.array([3, 8]), 8.0), (np.array([False, True]), True)):
        assert (
            read_estimator(logistic(classes_=classes)).score({"x0": [9.0], "x1": [0.0]}).outputs["predict"][0] == want
        )


def test_a_scaler_before_a_model_is_folded_into_its_weights() -> None:
    scaler = estimator("StandardScaler", with_mean=True, with_std=True, mean_=[1.0, 2.0], scale_=[2.0, 4.0])
    model = estimator("Pipeline", steps=[("scale", scaler), ("model", logistic())], n_features_in_=2)
    scores = read_estimator(model).score({"x0": [3.0], "x1": [6.0]})
    np.testing.assert_allclose(scores.outputs["decision"], [1.0 - 2.0 + 0.5])


@pytest.mark.parametrize(
    ("broken", "code", "words"),
    [
        (estimator("Mystery", n_features_in_=1, predict=None), "unsupported_element", "regressor 'Mystery'"),
        (estimator("Mystery", n_features_in_=1), "unsupported_element", "transformer 'Mystery'"),
        (
            estimator("Mystery", n_features_in_=1, predict=None, classes_=[0]),
            "unsupported_element",
            "classifier 'Mystery'",
        ),
        (estimator("Mystery"), "invalid_model", "it is not fitted"),
        (
            estimator("RandomForestRegressor", n_features_in_=1, predict=None),
            "invalid_model",
            "not fitted, or of a version",
        ),
        (
            estimator("FunctionTransformer", n_features_in_=1, func=lambda x: x, kw_args=None),
            "unsupported_element",
            "function '<lambda>' is none that recserve knows",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_cannot_be_taken_exactly_is_refused(broken: Any, code: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        read_estimator(broken)
    assert caught.value.code == code


def test_columns_are_chosen_across_parts_and_typed_by_their_reader() -> None:
    frame = Frame("sklearn")
    graph = frame.graph
    numbers = Vector.of(graph, [graph.constant(float(i)) for i in range(3)])
    table = Table(frame, [Raw("a"), numbers, Single(graph.constant("7"))])
    chosen = table.select([3, 1, 4, 0])
    assert [type(part).__name__ for part in chosen.parts] == ["Vector", "Single", "Raw"]
    assert chosen.size == 4
    assert chosen.column(3, is_text=True).dtype == "string"
    assert chosen.column(2, is_text=False).dtype == "number"
    assert frame.inputs == {"a": "string"}
    with pytest.raises(ConfigError, match="no column 9 of 5"):
        table.select([9])
    with pytest.raises(ConfigError, match="needs texts where an earlier one makes numbers"):
        table.column(1, is_text=True)
