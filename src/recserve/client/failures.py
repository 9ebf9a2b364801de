"""What calls raise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from recserve.errors import RecserveError

OF_HTTP: Final[Mapping[int, str]] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    409: "ALREADY_EXISTS",
    413: "RESOURCE_EXHAUSTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_OVERLOAD: Final = frozenset({429, 503})


class CallFailedError(RecserveError):
    """A call was refused, failed, or got no answer.

    Attributes:
        status: gRPC's name of what happened (`INVALID_ARGUMENT`, `NOT_FOUND`, `UNAVAILABLE`, ...), on HTTP too.
        code: the server's stable code, such as `queue_full`; the status in lower case where it tells none.
        is_retryable: whether the same call may succeed a little later.
        retry_after_s: seconds that the server asks to wait; None where it does not say.
    """

    def __init__(
        self,
        problem: str,
        *,
        status: str,
        code: str | None = None,
        where: str | None = None,
        hint: str | None = None,
        is_retryable: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(problem, code=code or status.lower(), where=where, hint=hint)
        self.status, self.is_retryable, self.retry_after_s = status, is_retryable, retry_after_s


def http_failure(status: int, headers: Mapping[str, str], body: bytes) -> CallFailedError:
    """The error of an HTTP answer, whichever protocol words it."""
    name = OF_HTTP.get(status, "INTERNAL" if status >= 500 else "INVALID_ARGUMENT")
    facts = _facts(body)
    return CallFailedError(
        facts.get("message") or f"HTTP {status}",
        status=name,
        code=facts.get("code"),
        where=facts.get("where"),
        hint=facts.get("hint"),
        is_retryable=status in _OVERLOAD,
        retry_after_s=read_seconds(headers.get("retry-after")),
    )


def _facts(body: bytes) -> Mapping[str, Any]:
    """`{"error": "text"}`, or `{"error": {"code", "message", ...}}`; the text itself where it is neither."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {"message": body[:1024].decode("utf-8", "replace").strip()}
    error = document.get("error") if isinstance(document, dict) else None
    if isinstance(error, dict):
        return {key: value for key, value in error.items() if isinstance(value, str)}
    return {"message": error} if isinstance(error, str) else {}


def read_seconds(text: str | None) -> float | None:
    """The seconds of a `Retry-After`; None where there is none, or where it is a date."""
    try:
        seconds = float(text) if text else None
    except ValueError:
        return None
    return seconds if seconds is not None and 0 <= seconds < 86_400 else None


def no_answer(where: str, problem: str) -> CallFailedError:
    """A connection that failed."""
    return CallFailedError(
        problem, status="UNAVAILABLE", code="no_answer", where=where, hint="Is the server up?", is_retryable=True
    )


def too_late(where: str, timeout_s: float) -> CallFailedError:
    """A deadline that passed."""
    return CallFailedError(
        f"no answer within {timeout_s:g} s", status="DEADLINE_EXCEEDED", where=where, hint="Give it more time."
    )


def not_understood(where: str, problem: str) -> CallFailedError:
    """An answer that is none."""
    return CallFailedError(problem, status="INTERNAL", code="bad_answer", where=where)
