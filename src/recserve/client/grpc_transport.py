"""gRPC, blocking and on asyncio."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError

from recserve.client.calls import Answer, Call
from recserve.client.failures import CallFailedError, read_seconds
from recserve.client.http_transport import parse_url
from recserve.wire.ranking import ErrorInfo, RetryInfo, RpcStatus

INT32_MAX: Final = 2**31 - 1
_OPTIONS: Final = (("grpc.max_receive_message_length", INT32_MAX), ("grpc.max_send_message_length", INT32_MAX))
_PASSING: Final = frozenset({"RESOURCE_EXHAUSTED", "UNAVAILABLE", "CANCELLED"})
"""Overload, and `CANCELLED`: nobody here cancels a call that raises it, so a server did that was about to end."""

_DETAILS: Final = "grpc-status-details-bin"


class GrpcTransport:
    """Sends calls over one gRPC channel. Threads may share it.

    Args:
        url: `grpc://host:port`, or `grpcs://host:port` for TLS.
        metadata: sent with every call.
        credentials: `grpc.ChannelCredentials` of grpcs; the system's certificates if None.

    Raises:
        ConfigError: the URL is none.
    """

    def __init__(self, url: str, metadata: Mapping[str, str], credentials: Any = None) -> None:
        self._where = parse_url(url, "grpc").netloc
        self._metadata = tuple((name.lower(), value) for name, value in metadata.items())
        self._channel = _channel(grpc, url, self._where, credentials)

    def send(self, call: Call[Any], timeout_s: float) -> Answer:
        """The answer to a call.

        Raises:
            CallFailedError: the server refuses it, does not answer in time, or is not there.
        """
        try:
            body = self._channel.unary_unary(call.path)(call.body, timeout=timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            raise rpc_failure(error, f"{self._where}{call.path}") from None
        return Answer(body)

    def close(self) -> None:
        """End the connections."""
        self._channel.close()


class AsyncGrpcTransport:
    """The same on asyncio; used on one event loop."""

    def __init__(self, url: str, metadata: Mapping[str, str], credentials: Any = None) -> None:
        self._where = parse_url(url, "grpc").netloc
        self._metadata = tuple((name.lower(), value) for name, value in metadata.items())
        self._channel = _channel(grpc.aio, url, self._where, credentials)

    async def send(self, call: Call[Any], timeout_s: float) -> Answer:
        """The answer to a call; raises as `GrpcTransport.send`."""
        try:
            body = await self._channel.unary_unary(call.path)(call.body, timeout=timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            raise rpc_failure(error, f"{self._where}{call.path}") from None
        return Answer(body)

    async def close(self) -> None:
        """End the connections."""
        await self._channel.close()


def _channel(module: Any, url: str, target: str, credentials: Any) -> Any:
    if url.startswith("grpcs:"):
        return module.secure_channel(target, credentials or grpc.ssl_channel_credentials(), options=_OPTIONS)
    return module.insecure_channel(target, options=_OPTIONS)


def rpc_failure(error: Any, where: str) -> CallFailedError:
    """What a call raises for an error of gRPC, with the details that the server sent."""
    status = error.code().name
    trailers = dict(error.trailing_metadata() or ())
    facts, retry_after_s = _details(trailers.get(_DETAILS))
    is_limit = status == "RESOURCE_EXHAUSTED" and not facts  # a message is too large: it will be the next time too
    return CallFailedError(
        error.details() or status,
        status=status,
        code=facts.get("code"),
        where=where,
        is_retryable=status in _PASSING and not is_limit,
        retry_after_s=retry_after_s if retry_after_s is not None else read_seconds(trailers.get("retry-after")),
    )


def _details(content: bytes | None) -> tuple[dict[str, str], float | None]:
    """The stable code, and the seconds to wait, of `google.rpc` details."""
    facts: dict[str, str] = {}
    retry_after_s = None
    if content is None:
        return facts, retry_after_s
    try:
        details = RpcStatus.FromString(content).details
    except DecodeError:
        return facts, retry_after_s
    for detail in details:
        info, retry = ErrorInfo(), RetryInfo()
        if detail.Unpack(info):
            facts["code"] = info.reason
        elif detail.Unpack(retry):
            retry_after_s = retry.retry_delay.seconds + retry.retry_delay.nanos * 1e-9
    return facts, retry_after_s
