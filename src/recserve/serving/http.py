"""The ASGI application.

The rank route is plain ASGI, because Starlette's routing costs as much as a whole bare request; Starlette has the rest.

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
from recserve.serving.messages import Limits, RankAnswer, checked_request_id, decode_rank, encode_rank
from recserve.serving.pages import Readiness, build_pages
from recserve.serving.rank_threads import RankThreads
from recserve.serving.refusals import MethodNotAllowedError
from recserve.serving.service import RankService
from recserve.serving.status import OK, as_recserve_error, error_body, headers_of, status_of

_log: Final = logging.getLogger("recserve.serving")
_JSON: Final = (b"content-type", b"application/json")
_CALL: Final = re.compile(r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>[0-9]{1,18}))?:(?P<verb>[^/:]*)")
_VERBS: Final = ("rank",)


class Target(NamedTuple):
    """The model that a path names; version None is the highest."""

    model: str
    version: int | None


@lru_cache(maxsize=1024)
def parse_call_path(path: str) -> Target | NotFoundError | None:
    """The target of `/v1/models/{name}[/versions/{v}]:rank`; an error for another verb; None for any other path."""
    match = _CALL.fullmatch(path)
    if match is None:
        return None
    if (verb := match["verb"]) not in _VERBS:
        hint = suggest(verb, _VERBS) or "A model answers ':rank'."
        return NotFoundError(f"no verb {verb!r}", code="route_not_found", where=path, hint=hint)
    return Target(match["name"], int(match["version"]) if match["version"] else None)


def build_recserve(serving: Serving) -> App:
    """The application of recserve's own dialect."""
    return HttpApp(serving.service, serving.threads, serving.limits, serving.readiness)


class HttpApp:
    """The HTTP front end of a rank service, as an ASGI 3 application.

    Args:
        service: what answers.
        threads: where it answers.
        limits: what one request may ask for.
        readiness: whether the process takes requests; `/readyz` shows it.
    """

    def __init__(self, service: RankService, threads: RankThreads, limits: Limits, readiness: Readiness) -> None:
        self._service = service
        self._threads = threads
        self._limits = limits
        self._pages = build_pages(service.registry, readiness)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; other kinds of connection go to Starlette, which refuses them."""
        target = parse_call_path(scope["path"]) if scope["type"] == "http" else None
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
