"""The protocol as an ASGI application.

The event loop reads bodies and sends answers; parsing, running and encoding go to the rank threads, and loading models
to a thread of its own, so that it delays no request.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from time import perf_counter_ns
from typing import Any, Final

from recserve.errors import NotFoundError, RecserveError, RequestError
from recserve.serving.body import Receive, Scope, Send
from recserve.serving.compression import UnsupportedCodingError, choose_coding, deflate, inflate, read_coding
from recserve.serving.dialects import App, Serving
from recserve.serving.direct import DirectRoute, Headers, Reply, Request
from recserve.serving.http_answer import HttpAnswer, HttpRequest, json_answer, read_request, send_answer
from recserve.serving.inference import tensor_model
from recserve.serving.json_document import read_json
from recserve.serving.oip.header import HEADER
from recserve.serving.oip.infer_answer import InferAnswer
from recserve.serving.oip.inference import answer_infer, unknown_model
from recserve.serving.oip.metadata import describe_config, describe_model, describe_server
from recserve.serving.oip.paths import METHODS, Target, parse_path
from recserve.serving.oip.repository import index_models, load_model, unload_model
from recserve.serving.refusals import BodyTooLargeError, MethodNotAllowedError, ModelNotFoundError, UnsupportedError
from recserve.serving.status import NOT_READY, headers_of, logged_error, status_of

_log: Final = logging.getLogger("recserve.serving")
_OCTETS: Final = "application/octet-stream"
_HEADER: Final = HEADER.lower().encode()
_JSON: Final = (b"content-type", b"application/json")
_BINARY: Final = (b"content-type", _OCTETS.encode())
_MAX_DIGITS: Final = 10
_NO_TRACE: Final = {
    "trace_file": "",
    "trace_level": ["OFF"],
    "trace_rate": "1000",
    "trace_count": "-1",
    "log_frequency": "0",
    "trace_mode": "triton",
}


def build_oip(serving: Serving) -> App:
    """The application of the dialect `oip`."""
    return OipApp(serving)


class OipApp:
    """The routes of the protocol and of Triton's extensions."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    def find_route(self, path: str) -> DirectRoute | None:
        """What answers the infer requests of a path, see `direct`."""
        target = parse_path(path)
        return InferRoute(self._serving, target) if target is not None and target.action == "infer" else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            answer = await self._answer(scope, receive)
            if answer is None:  # nobody is there to answer
                return
        except Exception as caught:
            answer = error_answer(logged_error(caught, _log, "A request to %s failed", scope["path"]))
        await send_answer(send, answer, has_body=scope["method"] != "HEAD")

    async def _answer(self, scope: Scope, receive: Receive) -> HttpAnswer | None:
        target = parse_path(scope["path"])
        if target is None:
            raise NotFoundError("Not Found", code="route_not_found")
        allowed = METHODS.get(target.action, ("GET",))
        if scope["method"] not in allowed:
            raise MethodNotAllowedError("Method Not Allowed", allowed=", ".join(allowed))
        request = await read_request(scope, receive, self._serving.limits)
        if request is None:
            return None
        if target.action == "infer":
            arrived_ns = perf_counter_ns()
            return await self._serving.threads.run(lambda: self._infer(target, request, arrived_ns))
        if target.action in {"load", "unload"}:
            return await asyncio.to_thread(self._control, target, request)
        if target.action == "stats":  # it reads the files of other workers
            return await asyncio.to_thread(self._statistics, target)
        return self._describe(target, request)

    def _infer(self, target: Target, request: HttpRequest, arrived_ns: int) -> HttpAnswer:
        coding = read_coding(request.headers.get("content-encoding", ""))
        body = inflate(request.body, coding, self._serving.limits.max_body_bytes)
        answer = answer_infer(
            self._serving.registry,
            self._serving.statistics,
            target.model,
            target.version_number(),
            body,
            json_length=request.headers.get(HEADER.lower()),
            arrived_ns=arrived_ns,
        )
        return infer_http_answer(answer, request)

    def _describe(self, target: Target, request: HttpRequest) -> HttpAnswer:
        """Answers that cost next to nothing."""
        match target.action:
            case "server":
                return json_answer(describe_server())
            case "live":
                return json_answer({"live": True})
            case "ready":
                is_ready = self._serving.readiness()
                return json_answer({"ready": is_ready}, 200 if is_ready else NOT_READY)
            case "model_ready":
                return self._model_ready(target)
            case "index":
                return json_answer(index_models(self._serving.registry, self._serving.repository, request.body))
            case "trace":
                return _tell_settings(request, "trace", _NO_TRACE)
            case "logging":
                levels = {f"log_{level.lower()}": _log.isEnabledFor(getattr(logging, level)) for level in _LEVELS}
                settings = {"log_file": "", **levels, "log_verbose_level": 0, "log_format": "default"}
                return _tell_settings(request, "log", settings)
            case "memory_status":
                return json_answer([])
            case "memory_change":
                raise UnsupportedError("shared memory is not supported", hint="Send tensors in the request.")
        with self._serving.registry.lease(target.model, target.version_number()) as leased:
            model = tensor_model(leased)
            if target.action == "config":
                return json_answer(describe_config(model))
            return json_answer(describe_model(model, self._serving.registry))

    def _model_ready(self, target: Target) -> HttpAnswer:
        version = target.version_number()
        rows = self._serving.registry.states(target.model)
        if not any(row.state == "AVAILABLE" and version in (None, row.version) for row in rows):
            raise RequestError("Model version not ready", code="model_not_ready")
        return json_answer({"name": target.model, "ready": True})

    def _statistics(self, target: Target) -> HttpAnswer:
        version = target.version_number()
        if target.model:  # refuses an unknown one
            with self._serving.registry.lease(target.model, version):
                pass
        versions = [
            (row.name, row.version)
            for row in self._serving.registry.states(target.model or None)
            if row.state == "AVAILABLE" and version in (None, row.version)
        ]
        return json_answer({"model_stats": self._serving.statistics.describe(versions)})

    def _control(self, target: Target, request: HttpRequest) -> HttpAnswer:
        """Load or unload a model; takes as long as the model does."""
        if target.action == "load":
            load_model(self._serving.repository, target.model, request.body)
        else:
            unload_model(self._serving.registry, self._serving.repository, target.model, request.body)
            for row in self._serving.registry.states(target.model):
                self._serving.statistics.forget(row.name, row.version)
        return HttpAnswer(200)


_LEVELS: Final = ("INFO", "WARNING", "ERROR")


def _tell_settings(request: HttpRequest, kind: str, settings: Mapping[str, Any]) -> HttpAnswer:
    """Settings as they are; a request that would change one is refused."""
    if request.method == "POST" and request.body.strip():
        document = read_json(request.body)
        if not isinstance(document, dict):
            raise RequestError("attempt to access JSON non-object as object")
        if any(value is not None for value in document.values()):
            raise UnsupportedError(f"{kind} settings cannot be changed through the network")
    return json_answer(settings)


class InferRoute:
    """A `DirectRoute` of infer requests.

    Args:
        serving: what every dialect shares.
        target: that the path names.
    """

    def __init__(self, serving: Serving, target: Target) -> None:
        self._serving, self._target = serving, target

    def answer(self, request: Request) -> Reply:
        """Infer."""
        headers, target, serving = request.headers, self._target, self._serving
        json_length = headers.get(_HEADER)
        answer = answer_infer(
            serving.registry,
            serving.statistics,
            target.model,
            target.version_number(),
            request.body,
            json_length=None if json_length is None else json_length.decode("latin-1"),
            arrived_ns=request.received_ns,
        )
        if b"accept-encoding" in headers:
            accepted = headers[b"accept-encoding"].decode("latin-1")
            return _as_reply(infer_http_answer(answer, HttpRequest("POST", "", {"accept-encoding": accepted})))
        if answer.json_bytes is None:
            return Reply(200, answer.body, [_JSON])
        return Reply(200, answer.body, [(_HEADER, b"%d" % answer.json_bytes), _BINARY])

    def refuse(self, error: Exception) -> Reply:
        """`{"error": "..."}`."""
        return _as_reply(error_answer(logged_error(error, _log, "A request to infer failed")))

    def count(self, error: Exception | None, time_s: float) -> None:
        """Its statistics are counted where the model is known."""

    def aligned_at(self, headers: Mapping[bytes, bytes]) -> int:
        """Where the binary data begin."""
        length = headers.get(_HEADER, b"")
        return int(length) if length.isdigit() and len(length) <= _MAX_DIGITS else 0


def _as_reply(answer: HttpAnswer) -> Reply:
    headers: Headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    return Reply(answer.status, answer.body, [*headers, (b"content-type", answer.content_type.encode("latin-1"))])


def infer_http_answer(answer: InferAnswer, request: HttpRequest, binary_type: str = "") -> HttpAnswer:
    """An infer answer with its headers, compressed as the request accepts it.

    Args:
        answer: to send.
        request: that it answers.
        binary_type: content type of an answer with binary data, which then tells the JSON's length in its own way;
            empty for the protocol's own.
    """
    headers: list[tuple[str, str]] = []
    coding = choose_coding(request.headers.get("accept-encoding", ""))
    if coding != "identity":
        headers.append(("content-encoding", coding))
    content_type = "application/json"
    if answer.json_bytes is not None:
        content_type = binary_type or _OCTETS
        if not binary_type:
            headers.append((HEADER.lower(), str(answer.json_bytes)))
    return HttpAnswer(200, deflate(answer.body, coding), content_type, tuple(headers))


def error_answer(error: RecserveError) -> HttpAnswer:
    """`{"error": "..."}` with the status that the protocol's clients know."""
    if isinstance(error, ModelNotFoundError):
        error = unknown_model(error)
    match error:
        case UnsupportedCodingError():
            status: int = status_of(UnsupportedError(""))
        case BodyTooLargeError():
            status = status_of(RequestError(""))
        case _:
            status = status_of(error)
    headers: list[Any] = [(name.decode(), value.decode()) for name, value in headers_of(error)]
    if isinstance(error, UnsupportedCodingError):
        headers.append(("accept-encoding", "gzip, deflate"))
    message = error.problem if isinstance(error, MethodNotAllowedError) else str(error)
    return json_answer({"error": message}, status, tuple(headers))
