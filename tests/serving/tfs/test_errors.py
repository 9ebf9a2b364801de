from __future__ import annotations

import json

import pytest

from recserve.errors import ConfigError, NotFoundError, OverloadedError, RequestError
from recserve.serving.refusals import (
    BodyTimeoutError,
    BodyTooLargeError,
    InputNamesError,
    LabelNotFoundError,
    ModelNotFoundError,
    SignatureNotFoundError,
    UnsupportedError,
)
from recserve.serving.tfs.errors import WireError, error_answer


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (WireError("x", "RESOURCE_EXHAUSTED"), 429, "x"),
        (ModelNotFoundError("x", model="m", version=None), 404, "Servable not found for request: Latest(m)"),
        (ModelNotFoundError("x", model="m", version=3), 404, "Servable not found for request: Specific(m, 3)"),
        (LabelNotFoundError("x", model="m", label="l"), 400, "Unrecognized servable version label: l"),
        (
            SignatureNotFoundError("x", signature="s", known=[]),
            400,
            'Serving signature name: "s" not found in signature def',
        ),
        (
            InputNamesError(sent=["b"], expected=["a"], missing=["a"]),
            400,
            "input size does not match signature: 1!=1 len({b}) != len({a}). "
            "Sent extra: {b}. Missing but required: {a}.",
        ),
        (NotFoundError("x"), 404, "x"),
        (UnsupportedError("x"), 501, "x"),
        (RequestError("x"), 400, "x"),
        (OverloadedError("x"), 503, "x"),
        (ConfigError("x"), 500, "x"),
        (BodyTooLargeError("x"), 413, "x"),
        (BodyTimeoutError("x"), 408, "x"),
        (KeyError("secret"), 500, "The server failed on this request (KeyError)"),
        (WireError('a"\udcff\n'), 400, 'a"?\n'),
    ],
)
def test_an_error_has_its_status_and_words(error: Exception, status: int, message: str) -> None:
    got, body, _ = error_answer(error)
    assert (got, json.loads(body)) == (status, {"error": message})


def test_an_overloaded_server_says_when_to_come_back() -> None:
    assert error_answer(OverloadedError("x"))[2] == [(b"retry-after", b"1")]
