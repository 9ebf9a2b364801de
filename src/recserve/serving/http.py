"""The ASGI application.

The routes of calls are plain ASGI, because Starlette's routing costs as much as a whole bare request; Starlette has the
rest. Calls on tensors are those of TensorFlow Serving; see `tfs`.

One request costs the event loop the same whatever its candidates: parsing, ranking and encoding run on a rank thread.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from time import perf_counter
from typing import Final, NamedTuple

from recserve.errors import NotFoundError, suggest
from recserve.serving.body import Receive, Scope, Send, read_body
from recserve.serving.dialects import App, Serving
from recserve.serving.direct import DirectRoute, Headers, Reply, Request
from recserve.serving.messages import RankAnswer, checked_request_id, decode_rank, encode_answers, encode_rank
from recserve.serving.pages import build_pages
from recserve.serving.refusals import MethodNotAllowedError
from recserve.serving.status import OK, error_body, headers_of, logged_error, status_of
from recserve.serving.tfs.endpoint import answer_route, find_call_route, send_reply
from recserve.serving.tfs.routes import Call, parse_route
from recserve.serving.user_pages import USERS, UserPages

_log: Final = logging.getLogger("recserve.serving")
_JSON: Final = (b"content-type", b"application/json")
_CALL: Final = re.compile(r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>[0-9]{1,18}))?:(?P<verb>[^/:]*)")
_MULTI: Final = "/v1/models:rank"
_ARROW: Final = b"application/vnd.apache.arrow.stream"
_VERBS: Final = ("rank", "predict", "classify", "regress")


class Target(NamedTuple):
    """The model that a path names; version None is the highest. Without a model, the body names several."""

    model: str
    version: int | None


@lru_cache(maxsize=1024)
def parse_call_path(path: str) -> Target | NotFoundError | None:
    """The target of `/v1/models[/{name}[/versions/{v}]]:rank`; an error for an unknown verb; None for other paths."""
    if path == _MULTI:
        return Target("", None)
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
        self._pages = build_pages(serving.registry, serving.readiness)
        self._users = UserPages(serving)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; other kinds of connection go to Starlette, which refuses them."""
        target = parse_call_path(scope["path"]) if scope["type"] == "http" else None
        if target is None and scope["type"] == "http":
            call = parse_tensor_path(scope["method"], scope["raw_path"].decode("latin-1"))
            if call is not None:
                answered = await answer_route(self._serving, call, scope, receive)
                if answered is not None:
                    await send_reply(self._serving, answered, send)
                return
        if target is None:
            is_users = scope["type"] == "http" and scope["path"].startswith(USERS)
            await (self._users if is_users else self._pages)(scope, receive, send)
            return
        forms = _read_forms(dict(scope["headers"]))
        try:
            reply = await self._rank(scope, receive, target, forms)
            if reply is None:  # nobody is there to answer
                return
        except Exception as caught:
            reply = _refuse(caught, scope["path"])
        headers = [*reply.headers, (b"content-length", str(len(reply.body)).encode())]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})

    def find_route(self, path: str) -> DirectRoute | None:
        """What answers the calls of a path, see `direct`."""
        target = parse_call_path(path)
        if target is None:
            return find_call_route(self._serving, parse_tensor_path("POST", path))
        return RankRoute(self._serving, target, path) if isinstance(target, Target) else None

    async def _rank(
        self, scope: Scope, receive: Receive, target: Target | NotFoundError, forms: _Forms
    ) -> Reply | None:
        if isinstance(target, NotFoundError):
            raise NotFoundError(target.problem, code=target.code, where=target.where, hint=target.hint)
        if scope["method"] != "POST":
            raise MethodNotAllowedError(f"{scope['method']} is not for ranking", allowed="POST", where=scope["path"])
        body = await read_body(scope, receive, self._serving.limits)
        if body is None:
            return None
        route, arrived_s = RankRoute(self._serving, target, scope["path"]), perf_counter()
        return await self._serving.threads.run(lambda: route.rank(body, forms, arrived_s))


class RankRoute:
    """A `DirectRoute` of rank calls.

    Args:
        serving: what every dialect shares.
        target: that the path names.
        path: as errors name it in the log.
    """

    def __init__(self, serving: Serving, target: Target, path: str) -> None:
        self._service, self._limits = serving.service, serving.limits
        self._target, self._path = target, path

    def answer(self, request: Request) -> Reply:
        """Rank."""
        body = request.body
        text = body if isinstance(body, bytes) else bytes(body)
        return self.rank(text, _read_forms(request.headers), request.received_ns / 1e9)

    def refuse(self, error: Exception) -> Reply:
        """The error as recserve tells it."""
        return _refuse(error, self._path)

    def count(self, error: Exception | None, time_s: float) -> None:
        """Rank calls are counted with all requests."""

    def aligned_at(self, headers: Mapping[bytes, bytes]) -> int:  # noqa: ARG002 - of every route
        """The body is read as it is."""
        return 0

    def rank(self, body: bytes, forms: _Forms, arrived_s: float) -> Reply:
        """Read a body, rank, and write the answer; on a rank thread.

        Raises:
            RecserveError: as `decode_rank` and `RankService.rank`.
        """
        target, begin_s = self._target, perf_counter()
        call = decode_rank(body, self._limits, is_arrow=forms.is_arrow, is_multi=not target.model)
        if forms.request_id is not None and call.request_id is None:
            request_id = checked_request_id(forms.request_id.decode("latin-1"), "header x-request-id")
            call = call.with_request_id(request_id)
        waited = {"queue": (begin_s - arrived_s) * 1e6, "parse": (perf_counter() - begin_s) * 1e6}
        if not target.model:
            answers = [_with_timings(answer, waited) for answer in self._service.rank_by_each(call)]
            return Reply(OK, encode_answers(answers, call), [_JSON])
        answer = _with_timings(self._service.rank(target.model, target.version, call), waited)
        kind = (b"content-type", _ARROW) if forms.as_arrow else _JSON
        return Reply(OK, encode_rank(answer, call, as_arrow=forms.as_arrow), [kind])


def _refuse(caught: Exception, path: str) -> Reply:
    error = logged_error(caught, _log, "A request to %s failed", path)
    headers: Headers = [_JSON, *headers_of(error)]
    return Reply(status_of(error), error_body(error), headers)


class _Forms(NamedTuple):
    """What the headers say of the bodies.

    Attributes:
        is_arrow: whether the request is Arrow.
        as_arrow: whether the answer is to be.
        request_id: `X-Request-ID`.
    """

    is_arrow: bool
    as_arrow: bool
    request_id: bytes | None


def _read_forms(headers: Mapping[bytes, bytes]) -> _Forms:
    is_arrow = headers.get(b"content-type", b"").partition(b";")[0].strip().lower() == _ARROW
    as_arrow = _ARROW in headers.get(b"accept", b"").lower()
    return _Forms(is_arrow, as_arrow, headers.get(b"x-request-id"))


def _with_timings(answer: RankAnswer, waited: dict[str, float]) -> RankAnswer:
    return replace(answer, timings_us={**waited, **answer.timings_us})
