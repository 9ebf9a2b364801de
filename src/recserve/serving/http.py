"""The ASGI application.

The routes of calls are plain ASGI, because Starlette's routing costs as much as a whole bare request; Starlette has the
rest. Calls on tensors are those of TensorFlow Serving; see `tfs`.

One request costs the event loop the same whatever its candidates: parsing, ranking and encoding run on a rank thread.
"""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from time import perf_counter
from typing import Final, NamedTuple

from recserve.errors import NotFoundError, suggest
from recserve.serving.body import Receive, Scope, Send, read_body
from recserve.serving.dialects import App, Serving
from recserve.serving.messages import RankAnswer, checked_request_id, decode_rank, encode_rank
from recserve.serving.pages import build_pages
from recserve.serving.refusals import MethodNotAllowedError
from recserve.serving.status import OK, as_recserve_error, error_body, headers_of, status_of
from recserve.serving.tfs.endpoint import answer_route, send_reply
from recserve.serving.tfs.routes import Call, parse_route

_log: Final = logging.getLogger("recserve.serving")
_JSON: Final = (b"content-type", b"application/json")
_CALL: Final = re.compile(r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>[0-9]{1,18}))?:(?P<verb>[^/:]*)")
_VERBS: Final = ("rank", "predict", "classify", "regress")


class Target(NamedTuple):
    """The model that a path names; version None is the highest."""

    model: str
    version: int | None


@lru_cache(maxsize=1024)
def parse_call_path(path: str) -> Target | NotFoundError | None:
    """The target of `/v1/models/{name}[/versions/{v}]:rank`; an error for an unknown verb; None for any other path."""
    match = _CALL.fullmatch(path)
    if match is None:
        return None
    if (verb := match["verb"]) not in _VERBS:
        hint = suggest(verb, _VERBS) or "A model answers ':rank', ':predict', ':classify' and ':regress'."
        return NotFoundError(f"no verb {verb!r}", code="route_not_found", where=path, hint=hint)
    return Target(match["name"], int(match["version"]) if match["version"] else None) if verb == "rank" else None


@lru_cache(maxsize=1024)
def parse_tensor_path(method: str, path: str) -> Call | None:
    """The TensorFlow Serving call that a request asks for; None for none, and where recserve has its own page."""
    route = parse_route(method, path)
    return route if isinstance(route, Call) and route.verb != "status" else None


def build_recserve(serving: Serving) -> App:
    """The application of recserve's own dialect."""
    return HttpApp(serving)


class HttpApp:
    """The HTTP front end of recserve's own dialect, as an ASGI 3 application."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._service = serving.service
        self._threads = serving.threads
        self._limits = serving.limits
        self._pages = build_pages(serving.registry, serving.readiness)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; other kinds of connection go to Starlette, which refuses them."""
        target = parse_call_path(scope["path"]) if scope["type"] == "http" else None
        if target is None and scope["type"] == "http":
            call = parse_tensor_path(scope["method"], scope["raw_path"].decode("latin-1"))
            if call is not None:
                reply = await answer_route(self._serving, call, scope, receive)
                if reply is not None:
                    await send_reply(self._serving, reply, send)
                return
        if target is None:
            await self._pages(scope, receive, send)
            return
        headers = [_JSON]
        try:
            body = await self._rank(scope, receive, target)
            if body is None:  # nobody is there to answer
                return
            status = OK
        except Exception as caught:
            error = as_recserve_error(caught)
            if error is not caught:
                _log.exception("A request to %s failed", scope["path"])
            status, body = status_of(error), error_body(error)
            headers += headers_of(error)
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _rank(self, scope: Scope, receive: Receive, target: Target | NotFoundError) -> bytes | None:
        if isinstance(target, NotFoundError):
            raise NotFoundError(target.problem, code=target.code, where=target.where, hint=target.hint)
        if scope["method"] != "POST":
            raise MethodNotAllowedError(f"{scope['method']} is not for ranking", allowed="POST", where=scope["path"])
        body = await read_body(scope, receive, self._limits)
        if body is None:
            return None
        header_id = next((value for name, value in scope["headers"] if name == b"x-request-id"), None)
        arrived_s = perf_counter()
        return await self._threads.run(lambda: self._answer(target, body, header_id, arrived_s))

    def _answer(self, target: Target, body: bytes, header_id: bytes | None, arrived_s: float) -> bytes:
        begin_s = perf_counter()
        call = decode_rank(body, self._limits)
        if header_id is not None and call.request_id is None:
            request_id = checked_request_id(header_id.decode("latin-1"), "header x-request-id")
            call = call.with_request_id(request_id)
        decoded_s = perf_counter()
        answer = self._service.rank(target.model, target.version, call)
        if call.has_timings:
            waited = {"queue": (begin_s - arrived_s) * 1e6, "parse": (decoded_s - begin_s) * 1e6}
            answer = RankAnswer(answer.request_id, answer.result, {**waited, **answer.timings_us})
        return encode_rank(answer, call)
