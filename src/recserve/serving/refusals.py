"""Errors that only a server has."""

from __future__ import annotations

from recserve.errors import RequestError


class BodyTooLargeError(RequestError):
    """The request body is longer than the server accepts."""

    default_code = "body_too_large"


class BodyTimeoutError(RequestError):
    """The request body did not arrive in time."""

    default_code = "body_timeout"


class MethodNotAllowedError(RequestError):
    """The route exists, but not for this HTTP method.

    Attributes:
        allowed: the methods that the route has, as the `Allow` header gives them.
    """

    default_code = "method_not_allowed"

    def __init__(self, problem: str, *, allowed: str, where: str | None = None) -> None:
        super().__init__(problem, where=where, hint=f"Use {allowed}.")
        self.allowed = allowed
