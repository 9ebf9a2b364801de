"""Models of other platforms behind every protocol: imported, served by a real process, asked over each wire."""

from __future__ import annotations

import json
import runpy
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from recserve import importers
from recserve.client import Client
from recserve.importers.model import ImportedModel
from recserve.importers.sklearn import read_estimator
from recserve.scored_model import publish

HERE = Path(__file__).resolve().parent
DIALECTS = ("tfs", "grpc", "oip", "mlflow=pmml", "h2o=pmml", "sagemaker-tfs=pmml")
PMML = """<PMML version="4.4" xmlns="http://www.dmg.org/PMML-4_4"><Header/><DataDictionary>
<DataField name="age" optype="continuous" dataType="double"/>
<DataField name="city" optype="categorical" dataType="string"><Value value="x"/><Value value="y"/></DataField>
<DataField name="y" optype="continuous" dataType="double"/></DataDictionary>
<RegressionModel functionName="regression"><MiningSchema>
<MiningField name="age" missingValueReplacement="30"/><MiningField name="city"/>
<MiningField name="y" usageType="target"/></MiningSchema><RegressionTable intercept="1">
<NumericPredictor name="age" coefficient="0.5"/><CategoricalPredictor name="city" value="y" coefficient="10"/>
</RegressionTable></RegressionModel></PMML>"""
ROWS = [{"age": 10.0, "city": "x"}, {"age": float("nan"), "city": "y"}, {"age": 20.0, "city": "nowhere"}]
WANTED = [6.0, 26.0, float("nan")]
INVALID = "city"


def pmml(folder: Path) -> ImportedModel:
    path = folder / "line.pmml"
    path.write_text(PMML)
    return importers.read(path)


def mojo(folder: Path) -> ImportedModel:
    tools = runpy.run_path(str(HERE / "importers" / "mojo" / "conftest.py"))
    info = {"algo": "glm", "family": "gaussian", "link": "identity", "cats": 1, "cat_offsets": [0, 2], "cat_modes": [1]}
    info |= {"nums": 1, "num_means": [0.5], "mean_imputation": True, "beta": [10.0, 20.0, 2.0, 100.0]}
    files = tools["mojo_files"](info, ["city", "a", "y"], {0: ["x", "y", "z"]})
    return importers.read(tools["write_zip"](folder / "glm.zip", files))


def xgboost(folder: Path) -> ImportedModel:
    tools = runpy.run_path(str(HERE / "importers" / "trees" / "conftest.py"))
    rng = np.random.default_rng(3)
    document = tools["write_document"]([tools["random_tree"](rng, 3) for _ in range(5)], "reg:squarederror", 3)
    path = folder / "trees.json"
    path.write_text(json.dumps(document))
    return importers.read(path)


def mleap(folder: Path) -> ImportedModel:
    tools = runpy.run_path(str(HERE / "importers" / "mleap" / "bundle_files.py"))
    spread = {"mean": tools["tensor"]([0.5, 1.0]), "std": tools["tensor"]([0.5, 2.0])}
    scaler = tools["Node"]("standard_scaler", {"input": "v"}, {"output": "o"}, **spread)
    nodes = {"assemble": tools["assemble"]("a", "b"), "scale": scaler}
    return importers.read(tools["write_zip"](folder / "bundle.zip", tools["bundle_files"](nodes)))


def sklearn(folder: Path) -> ImportedModel:
    linear = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3))
    return read_estimator(linear.LogisticRegression().fit(x, x[:, 0] + x[:, 1] > 0))


MODELS = {"pmml": pmml, "mojo": mojo, "xgboost": xgboost, "mleap": mleap, "sklearn": sklearn}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ImportedModel]:
    folder = tmp_path_factory.mktemp("sources")
    return {name: make(folder) for name, make in MODELS.items()}


@pytest.fixture(scope="module")
def urls(models: dict[str, ImportedModel], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Dialect → address of one `recserve serve` with all models."""
    base = tmp_path_factory.mktemp("models")
    for name, model in models.items():
        publish(model, base / name / "1")
    sides = {"age": "user", "city": "item"}
    publish(models["pmml"], base / "ranked" / "1", sides=sides)
    items = base / "items.ndjson"
    items.write_text('{"item_id": "i1", "city": "x"}\n{"item_id": "i2", "city": "y"}\n')
    ports = [
        part for text in DIALECTS for part in ("--dialect", text.replace("=", ":0=") if "=" in text else f"{text}:0")
    ]
    command = [sys.executable, "-c", "from recserve.cli import main; main()", "serve", str(base), *ports]
    command += ["--items", f"ranked={items}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        found = {}
        assert process.stdout is not None
        while len(found) < len(DIALECTS):
            line = process.stdout.readline()
            assert line, f"the server ended with {process.wait()}"
            if line.startswith("Serving "):
                name, _, url = line.removeprefix("Serving ").strip().partition(" on ")
                found[name] = url
        yield found
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)


def drawn(model: ImportedModel) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tensors of four rows, and the same rows as the importer takes them."""
    rng = np.random.default_rng(1)
    tensors: dict[str, Any] = {}
    columns: dict[str, Any] = {}
    for name, dtype in model.inputs.items():
        if dtype == "string":
            columns[name] = ["x", "y", "z", "x"]
            tensors[name] = np.array([b"x", b"y", b"z", b"x"], object)
        else:
            columns[name] = tensors[name] = rng.normal(size=4)
    return tensors, columns


def as_texts(values: Any) -> list[Any]:
    """Values as they leave: numbers, or texts."""
    array = np.asarray(values)
    if array.dtype.kind == "f":
        return array.ravel().tolist()
    flat = [x.decode() if isinstance(x, bytes) else x for x in array.ravel().tolist()]
    return ["" if x is None else str(x).lower() if isinstance(x, bool) else x for x in flat]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("wire", ["tfs", "grpc", "oip"])
def test_each_model_answers_over_each_wire(
    urls: dict[str, str], models: dict[str, ImportedModel], name: str, wire: str
) -> None:
    tensors, columns = drawn(models[name])
    wanted = models[name].score(columns)
    with Client(urls[wire] if wire != "grpc" else f"grpc://{urls[wire]}") as client:
        call = client.infer if wire == "oip" else client.predict
        if wire == "tfs" and len(models[name].outputs) == 1 and not wanted.errors and name != "pmml":
            answer = call(name, tensors, outputs=list(models[name].outputs))
        else:
            answer = call(name, tensors)
    for output in models[name].outputs:
        got, want = as_texts(answer[output]), as_texts(wanted.outputs[output])
        if isinstance(want[0], float):
            np.testing.assert_allclose(np.float64(got), np.float64(want), rtol=1e-6 if wire == "tfs" else 1e-12)
        else:
            assert got == want


def test_a_row_that_fails_says_so_and_the_others_are_scored(urls: dict[str, str]) -> None:
    tensors = {"age": np.array([row["age"] for row in ROWS]), "city": np.array([b"x", b"y", b"nowhere"], object)}
    with Client(f"grpc://{urls['grpc']}") as client:
        answer = client.predict("pmml", tensors)
        np.testing.assert_array_equal(answer["y"], WANTED)
        assert [bool(text) for text in answer["error"].tolist()] == [False, False, True]
        assert INVALID in answer["error"].tolist()[2].decode()
        np.testing.assert_array_equal(client.predict("pmml", {"city": tensors["city"][:1]}, outputs=["y"])["y"], [16.0])


def test_data_frames_go_through_mlflow_and_sagemaker(urls: dict[str, str]) -> None:
    frame = {"columns": ["age", "city"], "data": [[10.0, "x"], [None, "y"], [20.0, "nowhere"]]}
    answer = httpx.post(f"{urls['mlflow']}/invocations", json={"dataframe_split": frame}).json()
    rows = answer["predictions"]
    np.testing.assert_array_equal([row["y"] for row in rows], WANTED)
    assert INVALID in rows[2]["error"]
    instances = [{"age": 10.0, "city": "x"}, {"age": 20.0, "city": "y"}]
    answer = httpx.post(f"{urls['sagemaker-tfs']}/invocations", json={"instances": instances}).json()
    assert [row["y"] for row in answer["predictions"]] == [6.0, 21.0]


def test_tables_of_texts_go_through_h2o(urls: dict[str, str]) -> None:
    body = {"fields": ["age", "city"], "rows": [["10", "x"], ["", "y"], ["20", "nowhere"]]}
    answer = httpx.post(f"{urls['h2o']}/model/score", json=body).json()
    assert answer["fields"] == ["y", "error"]
    scores = [row[0] for row in answer["score"]]
    assert [float(score) for score in scores[:2]] == [6.0, 26.0]
    assert INVALID in answer["score"][2][1]


def test_a_model_with_sides_ranks(urls: dict[str, str]) -> None:
    body = {"user": {"age": 10.0}, "candidates": ["i1", "i2", "i3"]}
    answer = httpx.post(f"{urls['tfs']}/v1/models/ranked:rank", json=body).json()
    assert answer["item_ids"] == ["i2", "i1"]
    assert answer["scores"] == [16.0, 6.0]
    with Client(f"grpc://{urls['grpc']}") as client:
        assert client.predict("ranked", {"age": np.array([10.0])}, outputs=["y"])["y"].shape == (1,)
