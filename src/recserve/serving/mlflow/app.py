"""MLflow scoring as an ASGI application."""

from __future__ import annotations

import asyncio
import logging
from importlib.metadata import version as package_version
from time import perf_counter_ns
from typing import Final

from recserve.errors import OverloadedError, RecserveError, RequestError
from recserve.serving.body import Receive, Scope, Send
from recserve.serving.compression import inflate, read_coding
from recserve.serving.dialects import App, Serving
from recserve.serving.http_answer import HttpAnswer, HttpRequest, json_answer, read_request, send_answer
from recserve.serving.mlflow.content_types import MediaTypeError
from recserve.serving.mlflow.scoring import score
from recserve.serving.refusals import ModelNotFoundError
from recserve.serving.status import NOT_READY, headers_of, logged_error, status_of

_log: Final = logging.getLogger("recserve.serving")
TIMEOUT_VARIABLE: Final = "MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT"
_TIMEOUT_S: Final = 60.0
_PAGES: Final = {"/ping": "GET", "/health": "GET", "/version": "GET", "/invocations": "POST"}


def build_mlflow(serving: Serving) -> App:
    """The application of the dialect `mlflow`."""
    return MlflowApp(serving)


class MlflowApp:
    """The routes of an MLflow scoring server."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._timeout_s = _read_timeout(serving.environment.get(TIMEOUT_VARIABLE, ""))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        answer = await self.answer_route(scope, receive)
        if answer is not None:  # else nobody is there to answer
            await send_answer(send, answer, has_body=scope["method"] != "HEAD")

    async def answer_route(self, scope: Scope, receive: Receive) -> HttpAnswer | None:
        """The answer to a request; None where the client went away."""
        method = _PAGES.get(scope["path"])
        if method is None:
            return json_answer({"detail": "Not Found"}, 404)
        if scope["method"] != method:
            return json_answer({"detail": "Method Not Allowed"}, 405, (("allow", method),))
        if scope["path"] == "/version":
            return HttpAnswer(200, package_version("recserve").encode())
        if scope["path"] != "/invocations":
            return HttpAnswer(200 if self._serving.readiness() else NOT_READY, b"\n")
        try:
            request = await read_request(scope, receive, self._serving.limits)
        except RecserveError as error:
            return error_answer(error)
        return None if request is None else await self.answer_invocation(request)

    async def answer_invocation(self, request: HttpRequest) -> HttpAnswer:
        """The answer to a POST on /invocations."""
        arrived_ns = perf_counter_ns()
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._serving.threads.run(lambda: self._score(request, arrived_ns))
        except TimeoutError:
            return HttpAnswer(504, b"Request processing time exceeded limit")
        except Exception as caught:
            return error_answer(logged_error(caught, _log, "A scoring request failed"))

    def _score(self, request: HttpRequest, arrived_ns: int) -> HttpAnswer:
        coding = read_coding(request.headers.get("content-encoding", ""))
        body = inflate(request.body, coding, self._serving.limits.max_body_bytes)
        return HttpAnswer(200, score(self._serving, request.headers.get("content-type", ""), body, arrived_ns))


def error_answer(error: RecserveError) -> HttpAnswer:
    """`{"error_code": ..., "message": ...}`; plain text for a type of body that is not read."""
    headers = tuple((name.decode(), value.decode()) for name, value in headers_of(error))
    if isinstance(error, MediaTypeError):
        return HttpAnswer(415, error.problem.encode("utf-8", "backslashreplace"), "text/plain; charset=utf-8")
    status = status_of(error)
    match error:
        case OverloadedError():
            code = "TEMPORARILY_UNAVAILABLE"
        case ModelNotFoundError():  # the port's own model is gone: no fault of the caller
            code, status = "TEMPORARILY_UNAVAILABLE", NOT_READY
        case RequestError():
            code = "BAD_REQUEST"
        case _:
            code = "INTERNAL_ERROR"
    return json_answer({"error_code": code, "message": str(error)}, status, headers)


def _read_timeout(text: str) -> float:
    """Seconds that a request may take; the usual ones where the variable says nothing that makes sense."""
    try:
        seconds = float(text) if text else _TIMEOUT_S
    except ValueError:
        _log.warning("%s is %r, no number of seconds; %g s it is", TIMEOUT_VARIABLE, text, _TIMEOUT_S)
        return _TIMEOUT_S
    return seconds if seconds > 0 else _TIMEOUT_S
