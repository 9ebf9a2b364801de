"""What stands before the application of every HTTP port: tokens, observation, and the pages that all ports have.

`/livez`, `/readyz`, `/metrics` (and TensorFlow Serving's path of it) and `/openapi.json` are answered here, whatever
the dialect. Every other request goes through, is observed from its arrival to the last byte of its answer, and gets its
id back in the header `X-Request-ID`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import orjson

from recserve.errors import RecserveError
from recserve.serving import observation
from recserve.serving.body import Receive, Scope, Send
from recserve.serving.dialects import App, Serving
from recserve.serving.metrics_text import CONTENT_TYPE
from recserve.serving.observation import Observation
from recserve.serving.openapi import describe_port
from recserve.serving.oversight import Oversight
from recserve.serving.security.targets import http_target
from recserve.serving.status import NOT_READY, OK, error_body, headers_of, status_of

TFS_METRICS_PATH: Final = "/monitoring/prometheus/metrics"
_JSON: Final = "application/json"
_OWN: Final = "recserve"
_GONE: Final = "499"
"""Code of a request whose caller left before the answer."""

_Page = Callable[[], Awaitable[tuple[int, str, bytes]]]


def gate(app: App, serving: Serving, dialect: str) -> App:
    """The application of a port with its gate.

    Args:
        app: of the dialect.
        serving: what every dialect shares; its `oversight` watches.
        dialect: name of the dialect, as metrics and access rules have it.
    """
    return Gate(app, serving, dialect)


class Gate:
    """The gate of one port, as an ASGI 3 application."""

    def __init__(self, app: App, serving: Serving, dialect: str) -> None:
        self._app, self._serving, self._dialect = app, serving, dialect
        self._oversight = serving.oversight or Oversight(metrics=serving.metrics)
        self._pages: dict[str, _Page] = {
            "/livez": self._live,
            "/readyz": self._ready,
            "/metrics": self._metrics,
            TFS_METRICS_PATH: self._metrics,
            "/openapi.json": self._openapi,
        }
        if path := self._oversight.options.metrics_path:
            self._pages[path] = self._metrics
        if dialect in (_OWN, "tfs"):  # they tell more about readiness
            del self._pages["/readyz"]
        self._document: bytes | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        oversight, method, path = self._oversight, scope["method"], scope["path"]
        request_id, authorization, traceparent = _read_headers(scope)
        seen = oversight.begin(self._dialect, f"{method} {path}", request_id, traceparent)
        observation.observe(seen)
        answer = _answer_of(seen, send)
        try:
            page = self._pages.get(path) if method in ("GET", "HEAD") else None
            if oversight.is_guarded:
                try:
                    oversight.admit(seen, http_target(method, scope["raw_path"].decode("latin-1")), authorization)
                except RecserveError as error:
                    await self._refuse(error, answer)
                    return
            if page is None:
                await self._app(scope, receive, answer)
            else:
                status, kind, body = await page()
                await _send(answer, status, kind, body if method == "GET" else b"", [])
        except BaseException:
            seen.code = seen.code or "500"
            raise
        finally:
            seen.code = seen.code or _GONE
            oversight.finish(seen)

    async def _refuse(self, error: RecserveError, send: Send) -> None:
        """Refuse in the form of the dialect's errors."""
        if self._dialect == _OWN:
            body = error_body(error)
        elif self._dialect == "mlflow":
            body = orjson.dumps({"error_code": error.code.upper(), "message": str(error)})
        else:
            body = orjson.dumps({"error": str(error)})
        await _send(send, status_of(error), _JSON, body, headers_of(error))

    async def _live(self) -> tuple[int, str, bytes]:
        return OK, _JSON, b'{"status":"live"}'

    async def _ready(self) -> tuple[int, str, bytes]:
        is_ready = self._serving.readiness()
        return (OK, _JSON, b'{"status":"ready"}') if is_ready else (NOT_READY, _JSON, b'{"status":"not ready"}')

    async def _metrics(self) -> tuple[int, str, bytes]:
        text = await asyncio.to_thread(self._oversight.metrics_text)  # it reads the files of other workers
        return OK, CONTENT_TYPE, text.encode()

    async def _openapi(self) -> tuple[int, str, bytes]:
        if self._document is None:
            self._document = orjson.dumps(describe_port(self._dialect))
        return OK, _JSON, self._document


def _read_headers(scope: Scope) -> tuple[str, str, str]:
    """`X-Request-ID`, `Authorization` and `traceparent`; empty for those that are not there."""
    request_id = authorization = traceparent = b""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            request_id = value
        elif name == b"authorization":
            authorization = value
        elif name == b"traceparent":
            traceparent = value
    return request_id.decode("latin-1"), authorization.decode("latin-1"), traceparent.decode("latin-1")


def _answer_of(seen: Observation, send: Send) -> Send:
    """`send`, which notes the status and adds the id of the request."""
    added = [(b"x-request-id", seen.request_id.encode("latin-1", "replace"))]
    if seen.trace is not None:
        added.append((b"traceparent", seen.trace.traceparent.encode()))

    async def answer(message: Any) -> None:
        if message["type"] == "http.response.start":
            seen.code = str(message["status"])
            message = {**message, "headers": [*message.get("headers", ()), *added]}
        await send(message)

    return answer


async def _send(send: Send, status: int, kind: str, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-type", kind.encode()), length, *headers],
        }
    )
    await send({"type": "http.response.body", "body": body})
