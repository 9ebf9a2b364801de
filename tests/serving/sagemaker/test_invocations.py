from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from recserve.serving.sagemaker.invocations import build_invocations

Ask = Callable[..., Any]
JSON = {"Content-Type": "application/json"}
CSV = {"Content-Type": "text/csv"}
SAGEMAKER = {"SAGEMAKER_REGION": "x"}


@pytest.fixture
def app_of(make_serving: Any, call_app: Ask) -> Callable[..., Ask]:
    def build(name: str, environment: dict[str, str] | None = None) -> Ask:
        app = build_invocations(make_serving(name, environment=environment))
        return lambda *arguments, **options: call_app(app, *arguments, **options)

    return build


def npy(tensor: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, tensor)
    return file.getvalue()


def test_the_platform_decides_what_a_body_means(app_of: Callable[..., Ask]) -> None:
    body = {"inputs": [1.0]}
    assert app_of("half_plus_three")("POST", "/invocations", body, headers=JSON).json() == {"predictions": [[3.5]]}
    ask = app_of("half_plus_three", SAGEMAKER)
    assert ask("POST", "/invocations", body, headers=JSON).json() == {"outputs": [3.5]}
    assert ask("POST", "/invocations", b"[1.0]", headers=JSON).status == 200
    assert app_of("half_plus_three")("POST", "/invocations", b"[1.0]", headers=JSON).status == 400


def test_dataframes_are_always_mlflows(app_of: Callable[..., Ask]) -> None:
    body = {"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2]]}}
    for environment in ({}, SAGEMAKER):
        reply = app_of("pyfunc_sum_ab", environment)("POST", "/invocations", body, headers=JSON)
        assert reply.json() == {"predictions": [3.0]}


def test_csv_has_a_header_where_the_first_row_names_inputs(app_of: Callable[..., Ask]) -> None:
    for environment in ({}, SAGEMAKER):
        reply = app_of("pyfunc_sum_ab", environment)("POST", "/invocations", b"b,a\n1,2\n", headers=CSV)
        assert reply.json() == {"predictions": [3.0]}
        reply = app_of("half_plus_three", environment)("POST", "/invocations", b"1.0\n2.0\n", headers=CSV)
        assert reply.json() == {"predictions": [3.5, 4.0]}
    assert app_of("half_plus_three")("POST", "/invocations", b'\xff"', headers=CSV).status == 400
    reply = app_of("half_plus_three")("POST", "/invocations", b"sepal\n1.0\n", headers=CSV)
    assert reply.json() == {"predictions": [[3.5]]}
    assert app_of("half_plus_three", SAGEMAKER)("POST", "/invocations", b"sepal\n1.0\n", headers=CSV).status == 400


def test_ping_is_the_platforms(app_of: Callable[..., Ask]) -> None:
    assert app_of("simple")("GET", "/ping").body == b"\n"
    assert app_of("simple", SAGEMAKER)("GET", "/ping").body == b""
    for environment in ({}, SAGEMAKER):
        ask = app_of("simple", environment)
        assert ask("GET", "/execution-parameters").status == 200
        assert ask("GET", "/health").status == 200
        assert ask("GET", "/version").status == 200
        assert ask("GET", "/nope").status == 404


def test_errors_are_the_dialects(app_of: Callable[..., Ask]) -> None:
    assert "error_code" in app_of("simple")("POST", "/invocations", b"{bad", headers=JSON).json()
    assert "error" in app_of("simple", SAGEMAKER)("POST", "/invocations", b"{bad", headers=JSON).json()


def test_numpy_bodies_are_tensors(app_of: Callable[..., Ask]) -> None:
    ask = app_of("half_plus_three")
    headers = {"Content-Type": "application/x-npy"}
    body = npy(np.array([[1.0], [2.0]]))
    assert ask("POST", "/invocations", body, headers=headers).json() == {"predictions": [[3.5], [4.0]]}
    reply = ask("POST", "/invocations", body, headers={**headers, "Accept": "application/x-npy"})
    assert np.load(io.BytesIO(reply.body)).tolist() == [[3.5], [4.0]]
    file = io.BytesIO()
    np.savez(file, a=np.array([1.0]), b=np.array([2.0]))
    ask = app_of("pyfunc_sum_ab")
    headers = {"Content-Type": "application/x-npz", "Accept": "application/x-npz"}
    reply = ask("POST", "/invocations", file.getvalue(), headers=headers)
    assert np.load(io.BytesIO(reply.body))["sum"].tolist() == [3.0]
    reply = ask("POST", "/invocations", body, headers={"Content-Type": "application/x-npy"})
    assert (reply.status, "the model has 2 inputs. Send them as .npz" in reply.json()["error"]) == (400, True)
    reply = ask("POST", "/invocations", b"junk", headers=headers)
    assert (reply.status, "the .npz body cannot be read" in reply.json()["error"]) == (400, True)
