"""What a call over gRPC raises."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from recserve.client.grpc_transport import rpc_failure
from recserve.wire.ranking import ErrorInfo, RetryInfo, RpcStatus


class FakeRpcError(grpc.RpcError):  # type: ignore[misc] # grpc is untyped
    def __init__(self, code: grpc.StatusCode, trailers: Any = ()) -> None:
        self._code, self._trailers = code, trailers

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return "text"

    def trailing_metadata(self) -> Any:
        return self._trailers


def details(*messages: Any) -> bytes:
    status = RpcStatus()
    for message in messages:
        status.details.add().Pack(message)
    content: bytes = status.SerializeToString()
    return content


def test_details_give_the_stable_code_and_the_wait() -> None:
    retry = RetryInfo()
    retry.retry_delay.seconds, retry.retry_delay.nanos = 1, 500_000_000
    content = details(ErrorInfo(reason="queue_full"), retry)
    error = rpc_failure(
        FakeRpcError(grpc.StatusCode.RESOURCE_EXHAUSTED, (("grpc-status-details-bin", content),)), "h:1/m"
    )
    assert (error.status, error.code, error.retry_after_s, error.is_retryable) == (
        "RESOURCE_EXHAUSTED",
        "queue_full",
        1.5,
        True,
    )
    assert str(error) == "h:1/m: text"


def test_retry_after_is_read_where_there_are_no_details() -> None:
    trailers = (("retry-after", "2"), ("grpc-status-details-bin", b"\xff"))
    assert rpc_failure(FakeRpcError(grpc.StatusCode.UNAVAILABLE, trailers), "h").retry_after_s == 2


@pytest.mark.parametrize(
    ("code", "is_retryable"),
    [
        ("UNAVAILABLE", True),
        ("CANCELLED", True),
        ("RESOURCE_EXHAUSTED", False),
        ("NOT_FOUND", False),
        ("DEADLINE_EXCEEDED", False),
    ],
)
def test_only_overload_and_servers_that_end_are_worth_another_try(code: str, is_retryable: bool) -> None:
    """RESOURCE_EXHAUSTED without details is gRPC's own: a message that is too large."""
    error = rpc_failure(FakeRpcError(grpc.StatusCode[code], None), "h")
    assert (error.status, error.code, error.is_retryable) == (code, code.lower(), is_retryable)
