from __future__ import annotations

import gzip

import pytest

from recserve.errors import RequestError
from recserve.serving.http_answer import HttpRequest
from recserve.serving.sagemaker.tensorflow_calls import MediaTypeError, error_answer, wrap_body


def request(body: bytes, **headers: str) -> HttpRequest:
    return HttpRequest("POST", "/invocations", {name.replace("_", "-"): text for name, text in headers.items()}, body)


def test_a_body_is_inflated_before_it_is_wrapped() -> None:
    given = request(gzip.compress(b"1,2"), content_type="text/csv", content_encoding="gzip")
    assert wrap_body(given, 100) == b'{"instances":[[1,2]]}'
    with pytest.raises(RequestError, match="failed to decompress"):
        wrap_body(request(b"1,2", content_type="text/csv", content_encoding="gzip"), 100)


def test_another_type_is_refused() -> None:
    with pytest.raises(MediaTypeError, match="Unsupported Media Type: text/html"):
        wrap_body(request(b"", content_type="text/html"), 100)


def test_an_error_carries_the_custom_attributes_of_its_request() -> None:
    answer = error_answer(RequestError("no", hint="Say yes."), {"x-amzn-sagemaker-custom-attributes": "a=1"})
    assert (answer.status, answer.body) == (400, b'{"error":"no. Say yes."}')
    assert answer.headers == (("x-amzn-sagemaker-custom-attributes", "a=1"),)
