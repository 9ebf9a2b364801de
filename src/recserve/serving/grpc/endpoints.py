"""A method and what answers it; how a call gets from gRPC's event loop to a rank thread and back.

Parsing, running and encoding happen on a rank thread, so that a large message does not keep the event loop from others.
Methods that only look something up are answered on the event loop, and models are loaded on threads of their own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

import grpc
from google.protobuf.message import DecodeError

from recserve.errors import InvariantError
from recserve.serving import observation
from recserve.serving.grpc.failures import Failure, RefusedError, Wording, failure_of
from recserve.serving.overload.turn import Priority, Turn, enter_turn
from recserve.serving.oversight import Oversight
from recserve.serving.rank_threads import RankThreads
from recserve.serving.security.targets import grpc_target
from recserve.serving.status import as_recserve_error
from recserve.serving.traffic.user import enter_user
from recserve.wire.pool import Message, Method

Answer = Callable[[Message, Turn], Message]
"""Request → response, on a rank thread or on the event loop; raises what `failure_of` words."""

StreamedFailure = Callable[[Failure], Message]
"""What a stream sends instead of an answer, so that it goes on after an error."""

PROTOCOL: Final = "grpc"
_MODEL_FIELDS: Final = ("model_spec", "model_name", "model", "name")

_log: Final = logging.getLogger("recserve.serving")


@dataclass(frozen=True)
class Endpoint:
    """A method and what answers it.

    Attributes:
        method: of a service.
        answer: makes the response.
        wording: the protocol's own texts of errors.
        runs_on: `rank thread`; `event loop` for what only looks something up; `own thread` for what takes long and is
            no inference, such as loading a model.
        streamed_failure: of a streaming method: what an error becomes.
    """

    method: Method
    answer: Answer
    wording: Wording
    runs_on: Literal["rank thread", "event loop", "own thread"] = "rank thread"
    streamed_failure: StreamedFailure | None = None


class Endpoints(grpc.GenericRpcHandler):  # type: ignore[misc] # grpc is untyped
    """The handlers of the endpoints, as gRPC looks them up.

    Args:
        endpoints: each of another path.
        threads: where answers are made.
        oversight: observes and guards the calls; None only observes them.
    """

    def __init__(self, endpoints: Iterable[Endpoint], threads: RankThreads, oversight: Oversight | None = None) -> None:
        self._threads = threads
        self._oversight = oversight or Oversight()
        self._handlers = {endpoint.method.path: self._handler(endpoint) for endpoint in endpoints}

    def service(self, handler_call_details: Any) -> Any:
        """The handler of a path, or None."""
        return self._handlers.get(handler_call_details.method)

    def _handler(self, endpoint: Endpoint) -> Any:
        # Without (de)serialisers: messages are parsed and written where the work is done.
        if endpoint.method.takes_stream:

            async def stream(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
                async for body in requests:
                    yield await self._streamed(endpoint, body, context)

            return grpc.stream_stream_rpc_method_handler(stream)

        async def unary(body: bytes, context: Any) -> bytes:
            try:
                return await self._run(endpoint, body, context)
            except Exception as caught:
                failure = _failure(endpoint, caught)
            await context.abort(failure.status, failure.text, failure.trailers)
            raise InvariantError("an aborted call went on")  # abort never returns

        return grpc.unary_unary_rpc_method_handler(unary)

    async def _streamed(self, endpoint: Endpoint, body: bytes, context: Any) -> bytes:
        try:
            return await self._run(endpoint, body, context)
        except Exception as caught:
            failure = _failure(endpoint, caught)
            if endpoint.streamed_failure is None:
                await context.abort(failure.status, failure.text, failure.trailers)
                raise InvariantError("an aborted call went on") from None
            content: bytes = endpoint.streamed_failure(failure).SerializeToString()
            return content

    async def _run(self, endpoint: Endpoint, body: bytes, context: Any) -> bytes:
        """Answer a call, observed from here to its end."""
        path, known = endpoint.method.path, dict(context.invocation_metadata() or ())
        seen = self._oversight.begin(PROTOCOL, path, str(known.get("x-request-id", "")), known.get("traceparent", ""))
        observation.observe(seen)
        seen.code = "OK"
        try:
            self._oversight.admit(seen, grpc_target(path), str(known.get("authorization", "")))
            return await self._answer(endpoint, body, context)
        except asyncio.CancelledError:
            seen.code = grpc.StatusCode.CANCELLED.name
            raise
        except Exception as caught:
            seen.code = failure_of(caught, endpoint.wording).status.name
            raise
        finally:
            self._oversight.finish(seen)

    async def _answer(self, endpoint: Endpoint, body: bytes, context: Any) -> bytes:
        turn = Turn(context.time_remaining(), priority=_priority(context), size_bytes=len(body))
        enter_turn(turn)
        enter_user(context.invocation_metadata() or ())
        if endpoint.runs_on == "event loop":
            return work(endpoint, body, turn)
        try:
            if endpoint.runs_on == "own thread":
                return await asyncio.to_thread(work, endpoint, body, turn)
            return await self._threads.run(lambda: work(endpoint, body, turn))
        except asyncio.CancelledError:
            turn.cancel()
            raise


def _priority(context: Any) -> Priority:
    """The urgency that the call's metadata asks for; unknown words are none."""
    word = next((value for name, value in context.invocation_metadata() or () if name == "x-request-priority"), "")
    return Priority.__members__.get(str(word).upper(), Priority.NORMAL)


def work(endpoint: Endpoint, body: bytes, turn: Turn) -> bytes:
    """Parse a request, answer it and write the response.

    Raises:
        RefusedError: the bytes are not the request's message.
        RecserveError: what the answer raises, or the end of the caller's time.
    """
    turn.check()
    try:
        request = endpoint.method.request.FromString(body)
    except DecodeError:
        name = endpoint.method.request.DESCRIPTOR.full_name
        raise RefusedError(f"{len(body)} bytes are no {name}") from None
    _check_named_model(request)
    response = endpoint.answer(request, turn)
    turn.check()
    content: bytes = response.SerializeToString()
    return content


def _check_named_model(request: Message) -> None:
    """Refuse a request that names a model which its caller may not ask, even where no model is leased for it."""
    for name in _MODEL_FIELDS:
        if name in request.DESCRIPTOR.fields_by_name:
            value = getattr(request, name)
            value = value.name if name == "model_spec" else value
            if value or name == "name":  # without one, statistics are those of all models
                observation.check_model(value)
            return


def _failure(endpoint: Endpoint, caught: Exception) -> Failure:
    if as_recserve_error(caught) is not caught:
        _log.error("A call of %s failed", endpoint.method.path, exc_info=caught)
    return failure_of(caught, endpoint.wording)
