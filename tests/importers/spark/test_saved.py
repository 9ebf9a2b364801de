"""Directories as Spark saves them: layouts of several versions, formulas in SQL, and what is damaged."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from recserve.errors import ConfigError
from recserve.importers import read
from recserve.importers.spark.saved import dense_matrix, dense_vector

DENSE = {"type": 1, "size": None, "indices": None}


def vector(*values: float) -> dict[str, Any]:
    return {**DENSE, "values": list(values)}


def save(
    path: Path, kind: str, rows: list[dict[str, Any]] | None = None, version: str = "3.5.1", **params: Any
) -> Path:
    extra = params.pop("extra", {})
    (path / "metadata").mkdir(parents=True)
    content = {
        "class": f"org.apache.spark.ml.x.{kind}",
        "sparkVersion": version,
        "uid": f"{kind}_1",
        "paramMap": params,
    }
    (path / "metadata" / "part-00000").write_text(json.dumps({**content, **extra}) + "\n")
    if rows is not None:
        table(path / "data", rows)
    return path


def table(path: Path, rows: list[dict[str, Any]]) -> None:
    path.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), path / "part-00000-c000.snappy.parquet")


def pipeline(path: Path, stages: list[tuple[str, list[dict[str, Any]] | None, dict[str, Any]]]) -> Path:
    uids = []
    for i, (kind, rows, params) in enumerate(stages):
        save(path / "stages" / f"{i}_{kind}_1", kind, rows, **params)
        uids.append(f"{kind}_1")
    return save(path, "PipelineModel", stageUids=uids)


def outputs(path: Path, columns: dict[str, list[Any]]) -> dict[str, Any]:
    scores = read(path).score(columns)
    assert scores.errors == {}
    return scores.outputs


def test_vectors_and_matrices_are_read_dense_sparse_and_turned() -> None:
    assert dense_vector({"type": 0, "size": 3, "indices": [1], "values": [5.0]}).tolist() == [0.0, 5.0, 0.0]
    assert dense_vector([1.0]).tolist() == [1.0]
    whole = {"type": 1, "numRows": 2, "numCols": 2, "values": [1.0, 2.0, 3.0, 4.0]}
    assert dense_matrix(whole).tolist() == [[1.0, 3.0], [2.0, 4.0]]
    assert dense_matrix({**whole, "isTransposed": True}).tolist() == [[1.0, 2.0], [3.0, 4.0]]
    sparse = {
        "type": 0,
        "numRows": 2,
        "numCols": 3,
        "colPtrs": [0, 1, 1, 2],
        "rowIndices": [1, 0],
        "values": [7.0, 8.0],
    }
    assert dense_matrix(sparse).tolist() == [[0.0, 0.0, 8.0], [7.0, 0.0, 0.0]]
    turned = {**sparse, "colPtrs": [0, 1, 2], "rowIndices": [2, 0], "isTransposed": True}
    assert dense_matrix(turned).tolist() == [[0.0, 0.0, 7.0], [8.0, 0.0, 0.0]]


def test_the_layouts_of_spark_2_and_later_are_one_model(tmp_path: Path) -> None:
    features = {"inputCols": ["x", "c_o"], "outputCol": "features"}
    weights = {"numClasses": 2, "numFeatures": 3, "isMultinomial": False, "interceptVector": vector(0.5)}
    matrix = {"type": 1, "numRows": 1, "numCols": 3, "values": [1.0, 2.0, -1.0], "isTransposed": True}
    old = pipeline(
        tmp_path / "old",
        [
            (
                "StringIndexerModel",
                [{"labels": ["a", "b"]}],
                {"inputCol": "c", "outputCol": "c_i", "handleInvalid": "keep"},
            ),
            (
                "OneHotEncoderEstimatorModel",
                [{"categorySizes": [3]}],
                {"inputCols": ["c_i"], "outputCols": ["c_o"], "version": "2.4.0"},
            ),
            ("VectorAssembler", None, features),
            ("LogisticRegressionModel", [{**weights, "coefficientMatrix": matrix}], {"thresholds": [0.4, 0.6]}),
        ],
    )
    new = pipeline(
        tmp_path / "new",
        [
            (
                "StringIndexerModel",
                [{"labelsArray": [["a", "b"]]}],
                {"inputCols": ["c"], "outputCols": ["c_i"], "handleInvalid": "keep"},
            ),
            ("OneHotEncoderModel", [{"categorySizes": [3]}], {"inputCols": ["c_i"], "outputCols": ["c_o"]}),
            ("VectorAssembler", None, features),
            ("LogisticRegressionModel", [{**weights, "coefficientMatrix": matrix}], {"threshold": 0.6}),
        ],
    )
    columns = {"x": [0.25, -3.0, 1.0], "c": ["a", "b", "z"]}
    found = [outputs(path, columns) for path in (old, new)]
    margins = np.array([0.5 + 0.25 + 2.0, 0.5 - 3.0 - 1.0, 1.5])
    for one in found:
        np.testing.assert_allclose(one["probability"][:, 1], 1 / (1 + np.exp(-margins)))
        assert one["prediction"].tolist() == [1.0, 0.0, 1.0]


def node(i: int, value: float, children: tuple[int, int] = (-1, -1), numbers: Any = (), count: int = -1) -> Any:
    split = {"featureIndex": 0, "leftCategoriesOrThreshold": list(numbers), "numCategories": count}
    own = {"id": i, "prediction": value, "impurityStats": [value, 1.0], "split": split}
    return {**own, "leftChild": children[0], "rightChild": children[1]}


@pytest.mark.parametrize(("tree", "weight"), [("treeID", "weights"), ("_1", "_3")])
def test_trees_of_an_ensemble_are_weighted_under_old_and_new_names(tree: str, weight: str, tmp_path: Path) -> None:
    rows = [
        node(0, 0.0, (1, 2), [1.5]),
        node(2, 20.0),
        node(1, 10.0),
    ]
    stage = save(
        tmp_path / "m",
        "GBTRegressionModel",
        [{"treeID": t, "nodeData": row} for t in (0, 1) for row in rows],
        extra={"numFeatures": 1},
    )
    table(stage / "treesMetadata", [{tree: 0, weight: 1.0}, {tree: 1, weight: 0.1}])
    found = outputs(stage, {"features[0]": [1.5, 2.0]})
    np.testing.assert_allclose(found["prediction"], [11.0, 22.0])


@pytest.mark.parametrize(("left", "unseen"), [([1.0], 2.0), ([0.0, 1.0, 3.0], 1.0)])
def test_an_unseen_category_goes_away_from_the_shorter_side(left: list[float], unseen: float, tmp_path: Path) -> None:
    rows = [node(0, 0.0, (1, 2), left, 4), node(1, 1.0), node(2, 2.0)]
    stage = save(tmp_path / "m", "DecisionTreeRegressionModel", rows, extra={"numFeatures": 1})
    assert outputs(stage, {"features[0]": [1.0, 2.0, 9.0]})["prediction"].tolist() == [1.0, 2.0, unseen]


SQL = [
    ("a + b * 2 - -1", [1.0 + 6.0 + 1.0, math.nan]),
    ("(a - 3D) / b", [-2.0 / 3.0, math.nan]),
    ("a / 0", [math.nan, math.nan]),
    ("a % 0.75", [0.25, 0.5]),
    ("CASE WHEN a > 1.5 THEN 10 WHEN a > 0.5 THEN 20 ELSE 30 END", [20.0, 10.0]),
    ("CASE c WHEN 'x' THEN 1 ELSE 0 END", [1.0, 0.0]),
    ("if(c = 'x', 1, 0)", [1.0, 0.0]),
    ("if(c IN ('y', 'z'), 1, 0)", [0.0, 1.0]),
    ("if(a BETWEEN 1 AND 1.5 AND NOT b IS NULL, 1, 0)", [1.0, 0.0]),
    ("coalesce(b, 7)", [3.0, 7.0]),
    ("greatest(a, b)", [3.0, 2.0]),
    ("log(a - 1)", [math.nan, 0.0]),
    ("pow(a, 2) + sqrt(4)", [3.0, 6.0]),
    ("cast(a * 1.9 AS int)", [1.0, 3.0]),
    ("if(b <=> 3, 1, 0)", None),
    ("upper(concat(c, '!'))", ["X!", "Y!"]),
    ("`a` * .5e1", [5.0, 10.0]),
]


@pytest.mark.parametrize(("expression", "want"), SQL)
def test_sql_computes_what_spark_would(expression: str, want: Any, tmp_path: Path) -> None:
    stage = save(tmp_path / "m", "SQLTransformer", statement=f"SELECT *, a, {expression} AS r FROM __THIS__")
    if want is None:
        with pytest.raises(ConfigError, match="SQL statement"):
            read(stage)
        return
    found = outputs(stage, {"a": [1.0, 2.0], "b": [3.0, None], "c": ["x", "y"]})["r"]
    if isinstance(want[0], str):
        assert list(found) == want
    else:
        np.testing.assert_allclose(found, want)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("SELECT a + 1 FROM __THIS__", "has no name"),
        ("SELECT a AS b FROM t", "__THIS__ is expected"),
        ("SELECT a AS b FROM __THIS__ WHERE a > 1", "after FROM __THIS__ is not supported"),
        ("SELECT sum(a) AS b FROM __THIS__", "function 'sum' of 1 arguments"),
        ("SELECT a # 1 AS b FROM __THIS__", "cannot be read"),
        (f"SELECT {'(' * 200}a{')' * 200} AS b FROM __THIS__", "40 deep"),
    ],
)
def test_sql_beyond_one_row_is_refused(statement: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        read(save(tmp_path / "m", "SQLTransformer", statement=statement))
    assert caught.value.code == "unsupported_element"
    assert "SQLTransformer_1" in str(caught.value)


def test_damaged_directories_are_refused_with_the_place(tmp_path: Path) -> None:
    (tmp_path / "empty" / "metadata").mkdir(parents=True)
    with pytest.raises(ConfigError, match="no metadata of a Spark stage"):
        read(tmp_path / "empty")
    (tmp_path / "empty" / "metadata" / "part-00000").write_text("{")
    with pytest.raises(ConfigError, match="the metadata are no JSON"):
        read(tmp_path / "empty")
    with pytest.raises(ConfigError, match=r"name class 'org.*' and version 'x'"):
        read(save(tmp_path / "version", "PCAModel", version="x"))
    with pytest.raises(ConfigError, match=r"class 'KMeansModl' is not supported.*'KMeansModel'"):
        read(save(tmp_path / "typo", "KMeansModl"))
    with pytest.raises(ConfigError, match="table 'data' has no Parquet file"):
        read(save(tmp_path / "bare", "LinearRegressionModel"))
    with pytest.raises(ConfigError, match="lacks the column 'coefficients'"):
        read(save(tmp_path / "other", "LinearRegressionModel", [{"x": 1}]))
    with pytest.raises(ConfigError, match="lacks the directory of stage 'gone_1'"):
        read(save(tmp_path / "gone", "PipelineModel", stageUids=["gone_1"]))
    broken = save(tmp_path / "broken", "LinearRegressionModel", [{"x": 1}])
    next((broken / "data").glob("*.parquet")).write_bytes(b"PAR1")
    with pytest.raises(ConfigError, match="the Parquet file cannot be read"):
        read(broken)
    with pytest.raises(ConfigError, match="parameter 'inputCol' is absent"):
        read(save(tmp_path / "param", "Normalizer", outputCol="o"))
    with pytest.raises(ConfigError, match="nothing tells its size"):
        read(save(tmp_path / "size", "Normalizer", inputCol="v", outputCol="o"))
