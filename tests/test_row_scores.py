"""Rows through a ranker's model: equal to the flat pipeline, whatever form the cells come in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recserve import row_scores
from recserve.bundle import Bundle
from recserve.errors import RequestError
from recserve.network.model import Network
from recserve.ranker import Ranker
from recserve.row_scores import RowScores, read_columns
from recserve.staging.cuts import match_inputs
from recserve.staging.flat import FlatPipeline

Build = Callable[..., Path]


def raw(name: str, source: str, **options: Any) -> dict[str, Any]:
    return {"feature_name": name, "feature_type": "raw_feature", "expression": source} | options


FEATURES = [
    raw("bias", "user:bias"),
    raw("pair", "item:pair", value_dim=2),
    raw("boost", "candidate:boost"),
    {"feature_name": "clicks", "feature_type": "lookup_feature", "map": "user:clicks", "key": "item:category"},
]
NAMES = [entry["feature_name"] for entry in FEATURES]


@pytest.fixture
def bundle(sum_model: Build) -> Bundle:
    return Bundle.open(sum_model(FEATURES, {"ctr": NAMES, "double": [*NAMES, *NAMES]}, score="ctr * 2"))


def texts(*cells: str) -> np.ndarray[Any, Any]:
    array = np.empty(len(cells), object)
    array[:] = [cell.encode() for cell in cells]
    return array


def rows(count: int = 2) -> dict[str, np.ndarray[Any, Any]]:
    return {
        "bias": np.arange(count, dtype=np.float64),
        "pair": np.tile([[1.0, 2.0]], (count, 1)),
        "boost": np.full((count, 1), 0.5),
        "clicks": texts(*["a:3\x1db:4"] * count),
        "category": texts(*["b"] * count),
    }


def test_the_inputs_are_the_raw_columns(bundle: Bundle) -> None:
    signatures = RowScores(bundle).signatures
    specs = signatures["serving_default"].inputs
    assert {name: (spec.dtype, spec.shape) for name, spec in specs.items()} == {
        "bias": ("float64", (None,)),
        "pair": ("float64", (None, 2)),
        "boost": ("float64", (None,)),
        "clicks": ("string", (None,)),
        "category": ("string", (None,)),
    }
    assert list(signatures["serving_default"].outputs) == ["ctr", "double", "score"]
    assert {name: signature.method for name, signature in signatures.items()} == {
        "serving_default": "predict",
        "regress": "regress",
        "classify": "classify",
    }


def test_whole_ids_are_integers(sum_model: Build) -> None:
    entries = [
        {"feature_name": "a", "feature_type": "id_feature", "expression": "user:a", "num_buckets": 10}
        | {"embedding_dim": 2},
        {"feature_name": "b", "feature_type": "id_feature", "expression": "item:b", "hash_bucket_size": 10}
        | {"embedding_dim": 2},
    ]
    tables = {name: np.arange(20, dtype=np.float32).reshape(10, 2) for name in ("a_emb", "b_emb")}
    scores = RowScores(Bundle.open(sum_model(entries, {"ctr": ["a", "b"]}, tables=tables)))
    inputs = scores.signatures["serving_default"].inputs
    assert {name: spec.dtype for name, spec in inputs.items()} == {"a": "int64", "b": "string"}
    found = scores.run("serving_default", {"a": np.array([3, 4]), "b": texts("x", "x")})
    assert found["ctr"][1] - found["ctr"][0] == 4


def test_rows_are_scored_as_the_flat_pipeline_does(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network.load(bundle.path / "network" / "flat.onnx")
    inputs = match_inputs(bundle.features.graph, network)
    flat = FlatPipeline(bundle.features.compile(), inputs, bundle.tables, network)
    lists = {"bias": [0.0, 1, 2, 3, 4], "pair": [[1.0, 2.0]] * 5, "boost": [0.5] * 5}
    expected = flat.run(lists | {"clicks": ["a:3\x1db:4"] * 5, "category": ["b"] * 5})
    for block in (1024, 2):
        monkeypatch.setattr(row_scores, "BLOCK_ROWS", block)
        pauses: list[int] = []
        found = RowScores(bundle).run("serving_default", rows(5), pause=lambda pauses=pauses: pauses.append(1))
        assert {name: found[name].tolist() for name in expected} == {n: v.tolist() for n, v in expected.items()}
        assert found["score"].tolist() == (expected["ctr"] * 2).tolist() == [15, 17, 19, 21, 23]
        assert len(pauses) == (2 if block == 2 else 0)


def test_scores_are_regressed_and_outputs_classified(bundle: Bundle) -> None:
    scores = RowScores(bundle)
    assert scores.run("regress", rows())["outputs"].tolist() == [15, 17]
    classified = scores.run("classify", rows())
    assert classified["classes"].tolist() == [[b"ctr", b"double"]] * 2
    assert classified["scores"].tolist() == [[7.5, 15], [8.5, 17]]
    assert list(scores.run("serving_default", rows(), ["double"])) == ["double"]


def test_no_rows_give_no_scores(bundle: Bundle) -> None:
    assert RowScores(bundle).run("serving_default", rows(0))["ctr"].shape == (0,)


def test_a_ranker_answers_rows_as_it_ranks(bundle: Bundle) -> None:
    items = [{"item_id": "i", "pair": [1.0, 2.0], "category": "b"}]
    ranker = Ranker.open(bundle.path, items=items)
    ranked = ranker.rank({"bias": 1, "clicks": "a:3\x1db:4"}, {}, {"item_id": ["i"], "boost": [0.5]})
    assert ranker.signatures["regress"].method == "regress"
    assert ranker.run("regress", rows())["outputs"][1] == ranked.scores[0]


@given(st.lists(st.lists(st.text(max_size=3), min_size=3, max_size=3), max_size=5))
def test_tensors_of_several_values_are_lists(cells: list[list[str]]) -> None:
    tensor = np.empty((len(cells), 3), object)
    for row, values in enumerate(cells):
        tensor[row] = [value.encode() for value in values]
    columns, count = read_columns({"x": tensor})
    assert count == len(cells)
    assert columns["x"].to_pylist() == [[value for value in values if value] for values in cells]
    numbers, _ = read_columns({"x": np.arange(6.0).reshape(2, 3), "y": np.array([[1], [2]])})
    assert numbers["x"].to_pylist() == [[0, 1, 2], [3, 4, 5]]
    assert numbers["y"].to_pylist() == [1, 2]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "no input is given"),
        ({"bias": np.zeros((1, 1, 1))}, r"input 'bias': has the shape \[1, 1, 1\], not \[rows\] or \[rows, values\]"),
        ({"bias": np.zeros(2), "boost": np.zeros(3)}, "input 'boost': has 3 rows, others have 2"),
        ({"clicks": np.array([b"\xff"], object)}, "input 'clicks': holds bytes that are no UTF-8"),
    ],
)
def test_what_is_no_rows_is_refused(inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        read_columns(inputs)
