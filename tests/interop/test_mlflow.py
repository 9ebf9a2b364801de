"""MLflow's own request builders and client against a server process.

Needs `mlflow-skinny` and `pandas`, which the development environment does not hold; run by `make test-interop`.
"""

from __future__ import annotations

import importlib.util
import io
import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.interop

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of MLflow's own imports
    pytest.importorskip("mlflow", reason="mlflow is not installed")
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    import requests
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient
    from mlflow.utils.proto_json_utils import dump_input_data


def fixture_models() -> Any:
    path = Path(__file__).parents[1] / "conformance" / "fixture_models_oip.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    base = tmp_path_factory.mktemp("mlflow") / "models"
    fixture_models().build(base)
    program = "from recserve.cli import main; main()"
    command = [sys.executable, "-c", program, "serve", str(base), "--dialect", "mlflow:0=pyfunc_sum_ab"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline().strip().rsplit(":", 1)[1])
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture(scope="module")
def client(port: int) -> Any:
    found = ScoringServerClient("127.0.0.1", port)
    found.wait_server_ready(20)
    return found


FRAME = {"a": [1.0, 3.0], "b": [2.0, 4.0]}


def test_the_client_scores_a_frame(client: Any) -> None:
    response = client.invoke(pd.DataFrame(FRAME), params={})
    assert response.get_predictions("ndarray").tolist() == [3.0, 7.0]
    assert response.get_predictions().shape == (2, 1)


def test_a_frame_with_an_index_and_missing_numbers(client: Any) -> None:
    frame = pd.DataFrame({"a": [1, 3], "b": [2, None]}, index=["x", "y"])
    first, second = client.invoke(frame)["predictions"]
    assert first == 3.0
    assert np.isnan(second)


def test_requests_of_every_builder(port: int) -> None:
    url = f"http://127.0.0.1:{port}/invocations"
    frame = pd.DataFrame(FRAME)
    parquet = io.BytesIO()
    frame.to_parquet(parquet)
    bodies = [
        ("application/json", dump_input_data(frame)),
        ("application/json", json.dumps({"inputs": FRAME, "params": {}})),
        ("application/json", json.dumps({"dataframe_split": frame.to_dict(orient="split")})),
        ("application/json", json.dumps({"dataframe_records": frame.to_dict(orient="records")})),
        ("application/json; charset=utf-8", json.dumps({"instances": frame.to_dict(orient="records")})),
        ("text/csv", frame.to_csv(index=False)),
        ("application/vnd.apache.parquet", parquet.getvalue()),
    ]
    for kind, body in bodies:
        reply = requests.post(url, data=body, headers={"Content-Type": kind}, timeout=10)
        assert (kind, reply.status_code, reply.json()) == (kind, 200, {"predictions": [3.0, 7.0]})


def test_the_client_reads_the_version_and_errors(client: Any) -> None:
    assert client.get_version().split(".")[0].isdigit()
    with pytest.raises(Exception, match=r"error code 400.*BAD_REQUEST"):
        client.invoke(pd.DataFrame({"c": [1]}))
