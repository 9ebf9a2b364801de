"""Tokens before the services of gRPC itself, health and reflection; the other services check theirs in `endpoints`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc

from recserve.errors import RecserveError
from recserve.serving.grpc.endpoints import PROTOCOL
from recserve.serving.grpc.failures import failure_of, no_words
from recserve.serving.observation import Observation
from recserve.serving.oversight import Oversight
from recserve.serving.security.targets import grpc_target

_PREFIX: Final = "/grpc."


class GuardOfPages(grpc.aio.ServerInterceptor):  # type: ignore[misc] # grpc is untyped
    """Refuses calls of health and reflection whose callers may not make them.

    Args:
        oversight: with a guard.
    """

    def __init__(self, oversight: Oversight) -> None:
        self._oversight = oversight

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        """The handler of a call, or one that refuses it."""
        handler = await continuation(details)
        path: str = details.method
        if handler is None or not path.startswith(_PREFIX):
            return handler
        known = dict(details.invocation_metadata or ())
        try:
            self._oversight.admit(
                Observation(PROTOCOL, path, ""), grpc_target(path), str(known.get("authorization", ""))
            )
        except RecserveError as error:
            return _refusing(handler, error)
        return handler


def _refusing(handler: Any, error: RecserveError) -> Any:
    failure = failure_of(error, no_words)

    async def refuse(_: Any, context: Any) -> None:
        await context.abort(failure.status, failure.text, failure.trailers)

    async def refuse_stream(_: Any, context: Any) -> Any:
        await context.abort(failure.status, failure.text, failure.trailers)
        yield b""

    if handler.request_streaming:
        return grpc.stream_stream_rpc_method_handler(refuse_stream)
    return (
        grpc.unary_stream_rpc_method_handler(refuse_stream)
        if handler.response_streaming
        else (grpc.unary_unary_rpc_method_handler(refuse))
    )
