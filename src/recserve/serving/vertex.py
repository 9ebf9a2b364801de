"""Vertex AI's contract for containers: one health route and one predict route, told by environment variables.

`AIP_HEALTH_ROUTE` (default `/health`) answers 200 when the model can be asked. `AIP_PREDICT_ROUTE` (default `/predict`)
takes `{"instances": [...], "parameters": {...}}` and answers `{"predictions": [...]}`. `AIP_HTTP_PORT` is the usual
port of the dialect.
"""

from __future__ import annotations

from typing import Final

import orjson

from recserve.serving.body import Receive, Scope, Send
from recserve.serving.dialects import App, Serving
from recserve.serving.tfs.endpoint import OK, Answer, answer_route, send_reply
from recserve.serving.tfs.errors import WireError, error_answer
from recserve.serving.tfs.routes import Call

NOT_READY: Final = 503
NOT_ALLOWED: Final = 405


def build_vertex(serving: Serving) -> App:
    """The application of a port that follows Vertex AI's contract."""
    return VertexApp(serving)


class VertexApp:
    """Vertex AI's two routes as an ASGI 3 application."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._health = serving.environment.get("AIP_HEALTH_ROUTE") or "/health"
        self._predict = serving.environment.get("AIP_PREDICT_ROUTE") or "/predict"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path, method = scope["path"], scope["method"]
        reply: Answer | None
        if path not in (self._health, self._predict):
            reply = error_answer(WireError(f"There is no {path}", "NOT_FOUND"))
        elif path == self._predict and method == "POST":
            reply = await self._answer(scope, receive)
        elif path == self._health and method in ("GET", "HEAD"):
            is_ready = self._serving.readiness()
            reply = (OK if is_ready else NOT_READY, orjson.dumps({"ready": is_ready}), [])
        else:
            allowed = b"GET" if path == self._health else b"POST"
            _, body, _ = error_answer(WireError(f"{method} is not for {path}"))
            reply = (NOT_ALLOWED, body, [(b"allow", allowed)])
        if reply is not None:
            await send_reply(self._serving, reply, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer | None:
        try:
            model = self._serving.default_model()
        except Exception as error:
            return error_answer(error)
        return await answer_route(self._serving, Call(model, None, None, "predict"), scope, receive)
