"""The ASGI application of TensorFlow Serving's REST interface, with recserve's `:rank` beside it.

Plain ASGI: a small request costs the event loop a look at its path and one hand-over to a rank thread.
"""

from __future__ import annotations

from typing import Final

from recserve.serving.body import Receive, Scope, Send
from recserve.serving.dialects import App, Serving
from recserve.serving.direct import DirectRoute
from recserve.serving.http import HttpApp, parse_call_path
from recserve.serving.tfs.endpoint import (
    JSON,
    OK,
    Answer,
    Headers,
    answer_call,
    answer_route,
    find_call_route,
    preflight,
    send_reply,
)
from recserve.serving.tfs.errors import error_answer
from recserve.serving.tfs.routes import Call, parse_route
from recserve.serving.user_pages import USERS

METRICS_PATH: Final = "/monitoring/prometheus/metrics"
_TEXT: Final[Headers] = [(b"content-type", b"text/plain; version=0.0.4; charset=utf-8")]
_HTML: Final[Headers] = [(b"content-type", b"text/html")]
_NOT_FOUND: Final = b"<html><head><title>404 Not Found</title></head><body><h1>Not Found</h1></body></html>\n"
_OWN_PAGES: Final = ("/healthz", "/readyz", "/version")

__all__ = ["TfsApp", "answer_call", "build_tfs"]


def build_tfs(serving: Serving) -> App:
    """The application of a port that speaks TensorFlow Serving's REST interface."""
    return TfsApp(serving)


class TfsApp:
    """TensorFlow Serving's REST interface as an ASGI 3 application."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._own = HttpApp(serving)

    def find_route(self, path: str) -> DirectRoute | None:
        """What answers the calls of a path, see `direct`."""
        route = parse_route("POST", path)
        if isinstance(route, Call):
            return find_call_route(self._serving, route)
        return self._own.find_route(path) if _is_rank(path) else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        route = parse_route(scope["method"], target_of(scope))
        reply: Answer | None
        kind = JSON
        if isinstance(route, Call):
            reply = await answer_route(self._serving, route, scope, receive)
        elif scope["path"] in _OWN_PAGES or scope["path"].startswith(USERS) or _is_rank(scope["path"]):
            await self._own(scope, receive, send)
            return
        elif route is None and scope["method"] == "GET" and scope["path"] == METRICS_PATH:
            reply, kind = (OK, self._serving.metrics.text().encode(), []), _TEXT
        elif route is None:
            reply, kind = (404, _NOT_FOUND, []), _HTML
        else:
            reply = preflight(scope) if scope["method"] == "OPTIONS" else error_answer(route)
        if reply is not None:
            await send_reply(self._serving, reply, send, kind)


def target_of(scope: Scope) -> str:
    """Path and query as they came."""
    target: str = scope["raw_path"].decode("latin-1")
    return f"{target}?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else target


def _is_rank(path: str) -> bool:
    return path.endswith(":rank") and parse_call_path(path) is not None
