from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.serving.tfs.errors import WireError
from recserve.serving.tfs.routes import Call, parse_route


@pytest.mark.parametrize(
    ("line", "call"),
    [
        ("POST /v1/models/m:predict", Call("m", None, None, "predict")),
        ("POST /V1/Models/m/Versions/0012:classify", Call("m", 12, None, "classify")),
        ("POST /v1/models/a%21b/labels/x%20y:regress", Call("a!b", None, "x y", "regress")),
        ("GET /v1/models/m", Call("m", None, None, "status")),
        ("GET /v1/models/m/versions/9", Call("m", 9, None, "status")),
        ("GET /v1/models/m/labels/l/metadata", Call("m", None, "l", "metadata")),
    ],
)
def test_a_path_names_a_call(line: str, call: Call) -> None:
    assert parse_route(*line.split()) == call


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("GET /v1/models", "Missing model name in request."),
        ("GET /v1/models/m:predict", "Malformed request: GET /v1/models/m:predict"),
        ("POST /v1/models/m:PREDICT", "Malformed request: POST /v1/models/m:PREDICT"),
        ("POST /v1/models/m:predict?x=1", "Malformed request: POST /v1/models/m:predict?x=1"),
        ("POST /v1/models/m/versions/1/labels/l:a", "Malformed request: POST /v1/models/m/versions/1/labels/l:a"),
        ("PUT /v1/models/m:predict", "Malformed request: PUT /v1/models/m:predict"),
        ("DELETE /v1/models/m", "Malformed request: DELETE /v1/models/m"),
        ("GET /v1/", "Malformed request: GET /v1/"),
        (f"POST /v1/models/m/versions/{2**63}:predict", f"Failed to convert version: {2**63} to numeric."),
    ],
)  # fmt: skip
def test_a_wrong_path_is_told(line: str, message: str) -> None:
    route = parse_route(*line.split())
    assert isinstance(route, WireError)
    assert (route.message, route.code) == (message, "INVALID_ARGUMENT")


@pytest.mark.parametrize("target", ["/", "/v1", "/v2/models", "/statuspage", ""])
def test_other_paths_are_not_ours(target: str) -> None:
    assert parse_route("GET", target) is None


@settings(max_examples=100)
@given(st.sampled_from(["GET", "POST", "PUT"]), st.text("/v1models:predictversionslabels%2F?\n0129é", max_size=40))
def test_any_path_has_an_answer(method: str, rest: str) -> None:
    assert isinstance(parse_route(method, "/v1/" + rest), Call | WireError)
