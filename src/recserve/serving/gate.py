"""What stands before the application of every HTTP port: tokens, observation, and the pages that all ports have.

`/livez`, `/readyz`, `/metrics` (and TensorFlow Serving's path of it) and `/openapi.json` are answered here, whatever
the dialect. Every other request goes through, is observed from its arrival to the last byte of its answer, and gets its
id back in the header `X-Request-ID`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

import orjson

from recserve.errors import RecserveError
from recserve.serving.body import Receive, Scope, Send
from recserve.serving.dialects import App, Serving
from recserve.serving.direct import DirectRoute, Reply
from recserve.serving.http_head import TURN, Head, KnownHeads
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

_PLAIN: Final = re.compile(rb"/[A-Za-z0-9._~:/-]*")
"""Request targets that mean what they say: no escapes, no query, no host."""

_MAX_TARGETS: Final = 1024
_Page = Callable[[], Awaitable[tuple[int, str, bytes]]]


def gate(app: App, serving: Serving, dialect: str) -> Gate:
    """The application of a port with its gate.

    Args:
        app: of the dialect.
        serving: what every dialect shares; its `oversight` watches.
        dialect: name of the dialect, as metrics and access rules have it.
    """
    return Gate(app, serving, dialect)


class DirectTarget:
    """A request target of a port that is answered without ASGI.

    Attributes:
        gate: of the port.
        route: what answers.
        path: of the target.
        label: method and path.
    """

    __slots__ = ("_target", "gate", "label", "path", "route")

    def __init__(self, gate: Gate, route: DirectRoute, path: str) -> None:
        self.gate, self.route, self.path, self.label = gate, route, path, f"POST {path}"
        self._target = http_target("POST", path)

    def admit(self, seen: Observation, authorization: str) -> None:
        """Let a request pass.

        Raises:
            UnauthenticatedError, ForbiddenError: as `Guard.admit`.
        """
        self.gate.oversight.admit(seen, self._target, authorization)


class Gate:
    """The gate of one port, as an ASGI 3 application.

    Attributes:
        serving: what every dialect shares.
        oversight: what watches its requests.
        dialect: of the port.
        known_heads: of its direct routes.
    """

    def __init__(self, app: App, serving: Serving, dialect: str) -> None:
        self._app, self.serving, self.dialect = app, serving, dialect
        self.oversight = serving.oversight or Oversight(metrics=serving.metrics)
        self._pages: dict[str, _Page] = {
            "/livez": self._live,
            "/readyz": self._ready,
            "/metrics": self._metrics,
            TFS_METRICS_PATH: self._metrics,
            "/openapi.json": self._openapi,
        }
        if path := self.oversight.options.metrics_path:
            self._pages[path] = self._metrics
        if dialect in (_OWN, "tfs"):  # they tell more about readiness
            del self._pages["/readyz"]
        self._document: bytes | None = None
        self._targets: dict[bytes, DirectTarget | None] = {}
        self.known_heads = KnownHeads()

    def find_target(self, target: bytes) -> DirectTarget | None:
        """What answers POST requests to a target, as it came, without ASGI; None where the application does."""
        try:
            return self._targets[target]
        except KeyError:
            if len(self._targets) >= _MAX_TARGETS:  # they are the callers' to choose
                self._targets.clear()
        find = getattr(self._app, "find_route", None)
        path = target.decode("latin-1")
        route = find(path) if find is not None and _PLAIN.fullmatch(target) else None
        found = self._targets[target] = None if route is None else DirectTarget(self, route, path)
        return found

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        oversight, method, path = self.oversight, scope["method"], scope["path"]
        head = Head(scope["headers"], path)
        scope[TURN] = turn = head.begin_turn()
        seen = self.begin(head, f"{method} {path}")
        head.enter(turn, seen)
        answer = _answer_of(seen, send)
        try:
            page = self._pages.get(path) if method in ("GET", "HEAD") else None
            if oversight.is_guarded:
                try:
                    oversight.admit(seen, http_target(method, scope["raw_path"].decode("latin-1")), head.authorization)
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

    def begin(self, head: Head, label: str) -> Observation:
        """Observe a request that has arrived; `label` is its method and path."""
        return self.oversight.begin(self.dialect, label, head.request_id, head.traceparent)

    async def _refuse(self, error: RecserveError, send: Send) -> None:
        reply = self.refusal(error)
        await _send(send, reply.status, _JSON, reply.body, list(reply.headers[1:]))

    def refusal(self, error: RecserveError) -> Reply:
        """An error in the form of the dialect's errors."""
        if self.dialect == _OWN:
            body = error_body(error)
        elif self.dialect == "mlflow":
            body = orjson.dumps({"error_code": error.code.upper(), "message": str(error)})
        else:
            body = orjson.dumps({"error": str(error)})
        return Reply(status_of(error), body, [(b"content-type", _JSON.encode()), *headers_of(error)])

    async def _live(self) -> tuple[int, str, bytes]:
        return OK, _JSON, b'{"status":"live"}'

    async def _ready(self) -> tuple[int, str, bytes]:
        is_ready = self.serving.readiness()
        return (OK, _JSON, b'{"status":"ready"}') if is_ready else (NOT_READY, _JSON, b'{"status":"not ready"}')

    async def _metrics(self) -> tuple[int, str, bytes]:
        text = await asyncio.to_thread(self.oversight.metrics_text)  # it reads the files of other workers
        return OK, CONTENT_TYPE, text.encode()

    async def _openapi(self) -> tuple[int, str, bytes]:
        if self._document is None:
            self._document = orjson.dumps(describe_port(self.dialect))
        return OK, _JSON, self._document


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
