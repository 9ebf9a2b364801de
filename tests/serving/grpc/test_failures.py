"""Errors as gRPC says them."""

from __future__ import annotations

from typing import Any

import pytest
from grpc import StatusCode

from recserve.errors import BundleError, DataError, InvariantError, NotFoundError, OverloadedError, RequestError
from recserve.serving.grpc.failures import RefusedError, failure_of, no_words, own_words
from recserve.serving.grpc.oip_inference import oip_words
from recserve.serving.overload.turn import CallCancelledError, DeadlineExceededError
from recserve.serving.refusals import UnsupportedError
from recserve.wire.ranking import ErrorInfo, RetryInfo, RpcStatus


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RefusedError("x"), StatusCode.INVALID_ARGUMENT),
        (RefusedError("x", StatusCode.UNIMPLEMENTED), StatusCode.UNIMPLEMENTED),
        (DataError("x"), StatusCode.INVALID_ARGUMENT),
        (RequestError("x"), StatusCode.INVALID_ARGUMENT),
        (UnsupportedError("x"), StatusCode.UNIMPLEMENTED),
        (NotFoundError("x"), StatusCode.NOT_FOUND),
        (DeadlineExceededError("x"), StatusCode.DEADLINE_EXCEEDED),
        (CallCancelledError("x"), StatusCode.CANCELLED),
        (OverloadedError("x", code="queue_full"), StatusCode.RESOURCE_EXHAUSTED),
        (OverloadedError("x", code="model_loading"), StatusCode.UNAVAILABLE),
        (BundleError("x"), StatusCode.INTERNAL),
        (InvariantError("x"), StatusCode.INTERNAL),
    ],
)
def test_each_class_has_its_code(error: Any, code: StatusCode) -> None:
    assert own_words(error)[0] == code


def test_a_full_queue_is_unavailable_to_clients_of_open_inference() -> None:
    words = oip_words(OverloadedError("x", code="queue_full"))
    assert words is not None
    assert words[0] == StatusCode.UNAVAILABLE


def details(trailers: Any) -> Any:
    return RpcStatus.FromString(dict(trailers)["grpc-status-details-bin"])


def test_details_carry_the_stable_code_and_the_place() -> None:
    failure = failure_of(DataError("no", where="$.user", hint="Mend it."), no_words)
    assert failure.text == "$.user: no. Mend it."
    status = details(failure.trailers)
    info = ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (status.code, status.message) == (3, failure.text)
    assert (info.reason, info.domain) == ("invalid_data", "recserve")
    assert dict(info.metadata) == {"where": "$.user", "hint": "Mend it."}


def test_overload_says_when_to_come_again() -> None:
    failure = failure_of(OverloadedError("full", code="queue_full"), no_words)
    retry = RetryInfo()
    assert details(failure.trailers).details[1].Unpack(retry)
    assert retry.retry_delay.seconds == 1
    assert dict(failure.trailers)["retry-after"] == "1"


def test_long_texts_are_cut() -> None:
    failure = failure_of(RequestError("x" * 5000), no_words)
    assert failure.text == "x" * 1024 + "...TRUNCATED"


def test_foreign_errors_tell_nothing() -> None:
    failure = failure_of(ZeroDivisionError("secret"), no_words)
    assert failure.status == StatusCode.INTERNAL
    assert "secret" not in failure.text
