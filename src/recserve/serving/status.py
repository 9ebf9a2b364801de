"""Errors as HTTP says them. No other file knows a status."""

from __future__ import annotations

import logging
from typing import Any, Final

import orjson

from recserve.errors import (
    BundleError,
    CellError,
    ConfigError,
    DataError,
    InvariantError,
    NotFoundError,
    OverloadedError,
    RecserveError,
    RequestError,
)
from recserve.serving import observation
from recserve.serving.compression import UnsupportedCodingError
from recserve.serving.json_document import JsonError
from recserve.serving.overload.turn import CallCancelledError, DeadlineExceededError
from recserve.serving.refusals import (
    BodyTimeoutError,
    BodyTooLargeError,
    ForbiddenError,
    InputNamesError,
    InputTypeError,
    LabelNotFoundError,
    MethodNotAllowedError,
    ModelNotFoundError,
    OutputNamesError,
    SignatureNotFoundError,
    UnauthenticatedError,
    UnsupportedError,
    WrongKindError,
)
from recserve.serving.users import UsersFullError

OK: Final = 200
NOT_READY: Final = 503

STATUS: Final[dict[type[RecserveError], int]] = {
    RecserveError: 500,
    ConfigError: 500,
    BundleError: 500,
    RequestError: 400,
    UnauthenticatedError: 401,
    ForbiddenError: 403,
    DataError: 400,
    CellError: 400,
    NotFoundError: 404,
    ModelNotFoundError: 404,
    LabelNotFoundError: 404,
    WrongKindError: 400,
    SignatureNotFoundError: 400,
    InputNamesError: 400,
    InputTypeError: 400,
    OutputNamesError: 400,
    UnsupportedCodingError: 415,
    JsonError: 400,
    UnsupportedError: 501,
    MethodNotAllowedError: 405,
    BodyTimeoutError: 408,
    CallCancelledError: 499,
    DeadlineExceededError: 504,
    BodyTooLargeError: 413,
    InvariantError: 500,
    OverloadedError: 503,
    UsersFullError: 503,
}

RETRY_AFTER_S: Final = 1


def status_of(error: RecserveError) -> int:
    """The HTTP status of an error: that of its nearest class in `STATUS`."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def headers_of(error: RecserveError) -> list[tuple[bytes, bytes]]:
    """The headers that an error's status asks for."""
    match error:
        case OverloadedError():
            return [(b"retry-after", str(RETRY_AFTER_S).encode())]
        case UnauthenticatedError():
            return [(b"www-authenticate", b"Bearer")]
        case MethodNotAllowedError():
            return [(b"allow", error.allowed.encode())]
        case BodyTooLargeError() | BodyTimeoutError():
            return [(b"connection", b"close")]  # the rest of the body is still on its way
    return []


def error_body(error: RecserveError) -> bytes:
    """`{"error": {"code", "message", "where", "hint"}}` as UTF-8 JSON."""
    fields: dict[str, Any] = {
        "code": error.code,
        "message": error.problem,
        "where": error.where,
        "hint": error.hint,
    }
    try:
        return orjson.dumps({"error": fields})
    except orjson.JSONEncodeError:  # text from elsewhere that is not Unicode, such as a path with lone surrogates
        printable = {k: v and v.encode("utf-8", "backslashreplace").decode() for k, v in fields.items()}
        return orjson.dumps({"error": printable})


def logged_error(caught: Exception, log: logging.Logger, text: str, *parts: object) -> RecserveError:
    """`as_recserve_error`; a foreign error is logged, with its traceback.

    No function that an error went through may keep it in a local variable: the error holds the function's frame, and
    so whatever was read of the request would stay until the collector comes by.

    Args:
        caught: the error.
        log: where it is told.
        text: of the log's line, with places for `parts`.
        *parts: what it tells.
    """
    error = as_recserve_error(caught)
    if error is not caught:
        log.error(text, *parts, exc_info=caught)
    return error


def as_recserve_error(error: BaseException) -> RecserveError:
    """The error itself, or for a foreign one an `InvariantError` that tells the caller nothing of our insides.

    It is noted as what the current request is refused for.
    """
    if isinstance(error, RecserveError):
        observation.note_refusal(error.code)
        return error
    observation.note_refusal(InvariantError.default_code)
    return InvariantError(
        f"The server failed on this request ({type(error).__name__})",
        hint="This is a bug in recserve; the server's log has the traceback.",
    )
