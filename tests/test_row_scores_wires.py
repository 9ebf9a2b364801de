"""A ranker behind the protocols of tensors: rows over each wire are scored as the flat pipeline scores them."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from recserve.client import CallFailedError, Client

PORTS = ("tfs", "grpc", "oip", "kserve-v1", "mlflow=sums", "sagemaker-tfs=sums", "vertex=sums", "h2o=sums")
FEATURES: list[dict[str, Any]] = [
    {"feature_name": "bias", "feature_type": "raw_feature", "expression": "user:bias"},
    {"feature_name": "value", "feature_type": "raw_feature", "expression": "item:value"},
    {"feature_name": "hit", "feature_type": "lookup_feature", "map": "user:clicks", "key": "item:category"},
]
ROWS = [
    {"bias": 1.5, "value": 2.0, "clicks": "a:3\x1db:4", "category": "b"},
    {"bias": -1.0, "value": 0.25, "clicks": "a:3", "category": "a"},
]
WANTED = [7.5, 2.25]
DOUBLED = [15.0, 4.5]


@pytest.fixture
def urls(sum_model: Callable[..., Path]) -> Iterator[dict[str, str]]:
    """Dialect → address of one `recserve serve` with a ranker."""
    names = [entry["feature_name"] for entry in FEATURES]
    path = sum_model(FEATURES, {"ctr": names, "double": [*names, *names]}, score="ctr")
    ports = [part for text in PORTS for part in ("--dialect", text.replace("=", ":0=") if "=" in text else f"{text}:0")]
    command = [sys.executable, "-c", "from recserve.cli import main; main()", "serve", str(path), *ports]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        found = {}
        while len(found) < len(PORTS):
            line = process.stdout.readline()
            assert line, f"the server ended with {process.wait()}"
            if line.startswith("Serving "):
                name, _, url = line.removeprefix("Serving ").strip().partition(" on ")
                found[name] = url
        yield found
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)


def columns() -> dict[str, Any]:
    numbers = {name: np.array([row[name] for row in ROWS]) for name in ("bias", "value")}
    texts = {name: np.array([str(row[name]).encode() for row in ROWS], object) for name in ("clicks", "category")}
    return numbers | texts


def post(url: str, body: Any, status: int = 200) -> Any:
    answer = httpx.post(url, json=body, timeout=30)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_rows_are_scored_over_every_wire(urls: dict[str, str]) -> None:
    check_tensorflow_serving(urls["tfs"])
    check_client(urls)
    check_frames(urls)
    check_examples(urls["tfs"])
    check_refusals(urls)


def check_tensorflow_serving(url: str) -> None:
    predict = f"{url}/v1/models/sums:predict"
    both = [{"ctr": one, "double": two} for one, two in zip(WANTED, DOUBLED, strict=True)]
    assert post(predict, {"instances": ROWS})["predictions"] == both
    by_column = {name: [row[name] for row in ROWS] for name in ROWS[0]}
    assert post(predict, {"inputs": by_column})["outputs"] == {"ctr": WANTED, "double": DOUBLED}
    metadata = httpx.get(f"{url}/v1/models/sums/metadata").json()["metadata"]["signature_def"]["signature_def"]
    assert {name: spec["dtype"] for name, spec in metadata["serving_default"]["inputs"].items()} == {
        "bias": "DT_DOUBLE",
        "value": "DT_DOUBLE",
        "clicks": "DT_STRING",
        "category": "DT_STRING",
    }
    assert set(metadata) == {"serving_default", "regress", "classify"}
    assert post(f"{url}/v1/models/sums:rank", {"user": {"bias": 1}, "candidates": ["i"]})["unknown_items"] == ["i"]


def check_client(urls: dict[str, str]) -> None:
    for address in (urls["tfs"], f"grpc://{urls['grpc']}"):
        with Client(address) as client:
            assert client.predict("sums", columns())["ctr"].tolist() == WANTED
            assert client.predict("sums", columns(), outputs=["double"])["double"].tolist() == DOUBLED
    for address in (urls["oip"], f"grpc://{urls['grpc']}"):
        with Client(address) as client:
            assert client.infer("sums", columns())["ctr"].tolist() == WANTED
    described = httpx.get(f"{urls['oip']}/v2/models/sums").json()
    assert [(one["name"], one["datatype"], one["shape"]) for one in described["inputs"]] == [
        ("bias", "FP64", [-1]),
        ("value", "FP64", [-1]),
        ("clicks", "BYTES", [-1]),
        ("category", "BYTES", [-1]),
    ]
    assert [one["name"] for one in described["outputs"]] == ["ctr", "double"]


def check_frames(urls: dict[str, str]) -> None:
    frame = {"columns": list(ROWS[0]), "data": [list(row.values()) for row in ROWS]}
    for body in ({"dataframe_split": frame}, {"dataframe_records": ROWS}):
        predictions = post(f"{urls['mlflow']}/invocations", body)["predictions"]
        assert [row["ctr"] for row in predictions] == WANTED
    for name, path in (("sagemaker-tfs", "invocations"), ("kserve-v1", "v1/models/sums:predict")):
        predictions = post(f"{urls[name]}/{path}", {"instances": ROWS})["predictions"]
        assert [row["double"] for row in predictions] == DOUBLED
    table = {"fields": list(ROWS[0]), "rows": [[str(cell) for cell in row.values()] for row in ROWS]}
    scored = post(f"{urls['h2o']}/model/score", table)
    assert [[float(cell) for cell in row] for row in scored["score"]] == [[7.5, 15.0], [2.25, 4.5]]


def check_examples(url: str) -> None:
    body = {"signature_name": "regress", "examples": ROWS}
    assert post(f"{url}/v1/models/sums:regress", body)["results"] == WANTED
    classified = post(f"{url}/v1/models/sums:classify", body | {"signature_name": "classify"})["results"]
    assert classified[0] == [["ctr", 7.5], ["double", 15.0]]


def check_refusals(urls: dict[str, str]) -> None:
    predict = f"{urls['tfs']}/v1/models/sums:predict"
    without = [{name: cell for name, cell in row.items() if name != "value"} for row in ROWS]
    assert "value" in post(predict, {"instances": without}, 400)["error"]
    assert "not of expected type: double" in post(predict, {"instances": [ROWS[0] | {"bias": "x"}]}, 400)["error"]
    refused = post(predict, {"instances": [ROWS[0], ROWS[1] | {"clicks": "a:x"}]}, 400)["error"]
    assert "'clicks'" in refused
    assert "row 1" in refused
    with Client(f"grpc://{urls['grpc']}") as client:
        short = columns() | {"bias": np.zeros(3)}
        with pytest.raises(CallFailedError, match="rows"):
            client.predict("sums", short)
        with pytest.raises(CallFailedError, match="value"):
            client.predict("sums", {name: tensor for name, tensor in columns().items() if name != "value"})
