"""Errors as gRPC says them: code, text and details. No other file of this room knows gRPC's codes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from grpc import StatusCode

from recserve.errors import NotFoundError, OverloadedError, RecserveError, RequestError
from recserve.serving.overload.turn import CallCancelledError, DeadlineExceededError
from recserve.serving.refusals import ForbiddenError, UnauthenticatedError, UnsupportedError
from recserve.serving.status import RETRY_AFTER_S, as_recserve_error
from recserve.wire.ranking import ErrorInfo, RetryInfo, RpcStatus

MAX_TEXT_LENGTH: Final = 1024
"""Characters of an error's text; what is longer is cut, as TensorFlow Serving does."""

DOMAIN: Final = "recserve"
_DETAILS: Final = "grpc-status-details-bin"

Wording = Callable[[RecserveError], "tuple[StatusCode, str] | None"]
"""A protocol's own code and text for an error; None where it has none."""


class RefusedError(RequestError):
    """A refusal with its gRPC code and text, as the protocol prescribes them."""

    default_code = "invalid_request"

    def __init__(self, problem: str, status: StatusCode = StatusCode.INVALID_ARGUMENT) -> None:
        super().__init__(problem)
        self.status = status


@dataclass(frozen=True)
class Failure:
    """An error ready to be sent.

    Attributes:
        status: gRPC's code.
        text: at most `MAX_TEXT_LENGTH` characters and a mark.
        trailers: metadata: `google.rpc.Status` with `ErrorInfo` (reason: the stable code of the error) and, where a
            later try may succeed, `RetryInfo` and `retry-after` in seconds.
    """

    status: StatusCode
    text: str
    trailers: tuple[tuple[str, str | bytes], ...]


def failure_of(caught: BaseException, wording: Wording) -> Failure:
    """What to answer for an error; foreign ones tell the caller nothing of our insides."""
    error = as_recserve_error(caught)
    status, text = wording(error) or own_words(error)
    if len(text) > MAX_TEXT_LENGTH:
        text = text[:MAX_TEXT_LENGTH] + "...TRUNCATED"
    details = RpcStatus(code=status.value[0], message=text)
    facts = {"where": error.where or "", "hint": error.hint or ""}
    known = {key: value[:MAX_TEXT_LENGTH] for key, value in facts.items() if value}
    details.details.add().Pack(ErrorInfo(reason=error.code, domain=DOMAIN, metadata=known))
    trailers: list[tuple[str, str | bytes]] = []
    if isinstance(error, OverloadedError):
        retry = RetryInfo()
        retry.retry_delay.seconds = RETRY_AFTER_S
        details.details.add().Pack(retry)
        trailers.append(("retry-after", str(RETRY_AFTER_S)))
    trailers.append((_DETAILS, details.SerializeToString()))
    return Failure(status, text, tuple(trailers))


def own_words(error: RecserveError) -> tuple[StatusCode, str]:
    """Code and text where the protocol prescribes none."""
    match error:
        case RefusedError():
            return error.status, error.problem
        case DeadlineExceededError():
            return StatusCode.DEADLINE_EXCEEDED, error.problem
        case CallCancelledError():
            return StatusCode.CANCELLED, error.problem
        case UnsupportedError():
            return StatusCode.UNIMPLEMENTED, str(error)
        case NotFoundError():
            return StatusCode.NOT_FOUND, str(error)
        case UnauthenticatedError():
            return StatusCode.UNAUTHENTICATED, str(error)
        case ForbiddenError():
            return StatusCode.PERMISSION_DENIED, str(error)
        case RequestError():
            return StatusCode.INVALID_ARGUMENT, str(error)
        case OverloadedError():
            # A loading model is there soon, wherever the call goes; a full queue is this server's own.
            is_full = error.code == "queue_full"
            return StatusCode.RESOURCE_EXHAUSTED if is_full else StatusCode.UNAVAILABLE, str(error)
    return StatusCode.INTERNAL, str(error)


def no_words(error: RecserveError) -> tuple[StatusCode, str] | None:  # noqa: ARG001 - a Wording
    """The wording of a protocol that prescribes none."""
    return None
