"""Errors in TensorFlow Serving's words, with its statuses."""

from __future__ import annotations

import logging
from typing import Final, Literal

from recserve.errors import NotFoundError, OverloadedError, RecserveError, RequestError
from recserve.serving import observation
from recserve.serving.compression import UnsupportedCodingError
from recserve.serving.overload.turn import DeadlineExceededError
from recserve.serving.refusals import (
    BodyTimeoutError,
    BodyTooLargeError,
    ForbiddenError,
    InputNamesError,
    LabelNotFoundError,
    ModelNotFoundError,
    SignatureNotFoundError,
    UnauthenticatedError,
    UnsupportedError,
)
from recserve.serving.status import headers_of
from recserve.serving.tfs.values import quote

Canonical = Literal[
    "INVALID_ARGUMENT",
    "FAILED_PRECONDITION",
    "NOT_FOUND",
    "RESOURCE_EXHAUSTED",
    "UNIMPLEMENTED",
    "UNAVAILABLE",
    "DEADLINE_EXCEEDED",
    "UNAUTHENTICATED",
    "PERMISSION_DENIED",
    "INTERNAL",
]

STATUS: Final[dict[Canonical, int]] = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "INTERNAL": 500,
}

MAX_MESSAGE: Final = 1024
"""Characters of a message; a longer one is cut."""

_log: Final = logging.getLogger("recserve.serving")


class WireError(Exception):
    """An error in the words of the protocol.

    Attributes:
        code: its canonical code, of which the status follows.
        message: what the client reads.
    """

    def __init__(self, message: str, code: Canonical = "INVALID_ARGUMENT") -> None:
        super().__init__(message)
        self.message, self.code = message, code


def to_wire(error: Exception) -> WireError:
    """Any error in the words of the protocol; of a foreign one the client learns nothing of our insides."""
    observation.note_refusal(error.code.lower() if isinstance(error, RecserveError | WireError) else "internal")
    match error:
        case WireError():
            return error
        case ModelNotFoundError():
            place = f"Latest({error.model})" if error.version is None else f"Specific({error.model}, {error.version})"
            return WireError(f"Servable not found for request: {place}", "NOT_FOUND")
        case LabelNotFoundError():
            return WireError(f"Unrecognized servable version label: {error.label}")
        case SignatureNotFoundError():
            return WireError(f'Serving signature name: "{error.signature}" not found in signature def')
        case InputNamesError():
            return WireError(_input_names(error))
        case NotFoundError():
            return WireError(str(error), "NOT_FOUND")
        case UnsupportedError():
            return WireError(str(error), "UNIMPLEMENTED")
        case DeadlineExceededError():
            return WireError(str(error), "DEADLINE_EXCEEDED")
        case UnauthenticatedError():
            return WireError(str(error), "UNAUTHENTICATED")
        case ForbiddenError():
            return WireError(str(error), "PERMISSION_DENIED")
        case RequestError():
            return WireError(str(error))
        case OverloadedError():
            return WireError(str(error), "UNAVAILABLE")
        case RecserveError():
            return WireError(str(error), "INTERNAL")
    _log.error("A request failed", exc_info=error)
    return WireError(f"The server failed on this request ({type(error).__name__})", "INTERNAL")


def error_answer(error: Exception) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
    """Status, body and extra headers of an error."""
    wire = to_wire(error)
    headers = headers_of(error) if isinstance(error, RecserveError) else []
    status = STATUS[wire.code]
    if isinstance(error, BodyTooLargeError):
        status = 413
    elif isinstance(error, BodyTimeoutError):
        status = 408
    elif isinstance(error, UnsupportedCodingError):
        status = 400
    return status, error_body(wire.message), headers


def error_body(message: str) -> bytes:
    """`{"error": message}`, cut to its first 1,024 characters."""
    text = message if len(message) <= MAX_MESSAGE else f"{message[:MAX_MESSAGE]}...TRUNCATED"
    return b'{"error": ' + quote(text) + b"}"


def _input_names(error: InputNamesError) -> str:
    def listed(names: tuple[str, ...]) -> str:
        return f"{{{','.join(names)}}}"

    return (
        f"input size does not match signature: {len(error.sent)}!={len(error.expected)} "
        f"len({listed(error.sent)}) != len({listed(error.expected)}). "
        f"Sent extra: {listed(error.extra)}. Missing but required: {listed(error.missing)}."
    )
