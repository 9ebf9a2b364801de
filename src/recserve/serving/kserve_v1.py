"""KServe's V1 protocol: TensorFlow Serving's predict calls, with pages of its own."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import unquote

import orjson

from recserve.serving.body import Receive, Scope, Send
from recserve.serving.dialects import App, Serving
from recserve.serving.tfs.endpoint import OK, Answer, answer_route, send_reply
from recserve.serving.tfs.errors import WireError, error_answer
from recserve.serving.tfs.routes import Call, parse_route

_MODEL: Final = re.compile(r"/v1/models/([^/:]+)")
_EXPLAIN: Final = re.compile(r"/v1/models/[^/:]+:explain")
NOT_READY: Final = 503


def build_kserve_v1(serving: Serving) -> App:
    """The application of a port that speaks KServe V1."""
    return KserveApp(serving)


class KserveApp:
    """KServe V1 as an ASGI 3 application."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path: str = scope["raw_path"].decode("latin-1")
        route = parse_route(scope["method"], path)
        reply: Answer | None
        if isinstance(route, Call) and route.verb in ("predict", "classify", "regress"):
            reply = await answer_route(self._serving, route, scope, receive)
        elif scope["method"] in ("GET", "HEAD"):
            reply = self._page(path)
        elif scope["method"] == "POST" and _EXPLAIN.fullmatch(path):
            reply = error_answer(WireError("This server explains no predictions", "UNIMPLEMENTED"))
        else:
            reply = _not_found(scope["method"], path)
        if reply is not None:
            await send_reply(self._serving, reply, send)

    def _page(self, path: str) -> Answer:
        registry = self._serving.registry
        if path == "/":
            return _json({"status": "alive"})
        if path == "/v1/models":
            return _json({"models": registry.names()})
        if path in ("/healthz", "/readyz"):
            is_ready = path == "/healthz" or self._serving.readiness()
            return _json({"status": "ready" if is_ready else "not ready"}, OK if is_ready else NOT_READY)
        match = _MODEL.fullmatch(path)
        if match is None:
            return _not_found("GET", path)
        name = unquote(match[1])
        states = registry.states(name)
        if not states:
            return error_answer(WireError(f"Model with name {name} does not exist.", "NOT_FOUND"))
        is_ready = registry.is_served(name)
        return _json({"name": name, "ready": is_ready}, OK if is_ready else NOT_READY)


def _json(document: dict[str, Any], status: int = OK) -> Answer:
    return status, orjson.dumps(document), []


def _not_found(method: str, path: str) -> Answer:
    return error_answer(WireError(f"There is no {method} {path}", "NOT_FOUND"))
