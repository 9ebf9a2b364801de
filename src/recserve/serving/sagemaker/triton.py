"""The Triton container of SageMaker as an ASGI application: Open Inference on /invocations."""

from __future__ import annotations

import logging
import os
from time import perf_counter_ns
from typing import Final

from recserve.errors import InvariantError, OverloadedError, RecserveError, RequestError
from recserve.serving.body import Receive, Scope, Send
from recserve.serving.compression import inflate, read_coding
from recserve.serving.dialects import App, Serving
from recserve.serving.http_answer import HttpAnswer, HttpRequest, json_answer, read_request, send_answer
from recserve.serving.oip.app import error_answer as oip_error
from recserve.serving.oip.app import infer_http_answer
from recserve.serving.oip.inference import answer_infer
from recserve.serving.sagemaker.environment import Platform
from recserve.serving.sagemaker.headers import ATTRIBUTES, echo_attributes, read_attributes
from recserve.serving.status import logged_error

_log: Final = logging.getLogger("recserve.serving")
BINARY_TYPE: Final = "application/vnd.sagemaker-triton.binary+json;json-header-size="
_BAD_REQUEST: Final = 400


def build_sagemaker_triton(serving: Serving) -> App:
    """The application of the dialect `sagemaker-triton`."""
    return SageMakerTritonApp(serving)


def read_binary_type(content_type: str) -> str | None:
    """The JSON's length, as text, that the content type of a body with binary data tells; None for any other type.

    Raises:
        RequestError: the type stands somewhere within the header.
    """
    compact = content_type.replace(" ", "")
    place = compact.lower().find(BINARY_TYPE)
    if place > 0:
        raise RequestError(f"expect MIME type for binary data starts with '{BINARY_TYPE}', got: {content_type[:200]}")
    return None if place < 0 else compact[len(BINARY_TYPE) :]


class SageMakerTritonApp:
    """/ping, /invocations and /execution-parameters. What is wrong gets 400, as from the container."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._platform = Platform(serving.environment)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        answer = await self._answer(scope, receive)
        if answer is not None:  # else nobody is there to answer
            await send_answer(send, answer, has_body=scope["method"] != "HEAD")

    async def _answer(self, scope: Scope, receive: Receive) -> HttpAnswer | None:
        match scope["path"]:
            case "/ping" if scope["method"] == "GET":
                return HttpAnswer(200 if self._serving.readiness() else _BAD_REQUEST, content_type="")
            case "/execution-parameters" if scope["method"] == "GET":
                limits = self._serving.limits
                return json_answer(self._platform.execution_parameters(os.cpu_count() or 1, limits.max_body_bytes))
            case "/ping" | "/execution-parameters":
                return json_answer({"error": "Method Not Allowed"}, 405, (("allow", "GET"),))
            case "/invocations" if scope["method"] != "POST":
                return json_answer({"error": "Method Not Allowed"}, 405, (("allow", "POST"),))
            case "/invocations":
                return await self._invoke(scope, receive)
        return json_answer({"error": "Not Found"}, _BAD_REQUEST)

    async def _invoke(self, scope: Scope, receive: Receive) -> HttpAnswer | None:
        request: HttpRequest | None = None
        try:
            request = await read_request(scope, receive, self._serving.limits)
            if request is None:
                return None
            given, arrived_ns = request, perf_counter_ns()
            answer = await self._serving.threads.run(lambda: self._infer(given, arrived_ns))
        except Exception as caught:
            answer = _error_answer(logged_error(caught, _log, "An invocation failed"))
        echoed = echo_attributes(request.headers if request else {})
        return HttpAnswer(answer.status, answer.body, answer.content_type, answer.headers + echoed)

    def _infer(self, request: HttpRequest, arrived_ns: int) -> HttpAnswer:
        length = read_binary_type(request.headers.get("content-type", ""))
        coding = read_coding(request.headers.get("content-encoding", ""))
        attributes = read_attributes(request.headers.get(ATTRIBUTES, ""))
        answer = answer_infer(
            self._serving.registry,
            self._serving.statistics,
            attributes.model or self._serving.default_model(),
            attributes.version,
            inflate(request.body, coding, self._serving.limits.max_body_bytes),
            json_length=length,
            header="inference header size",
            arrived_ns=arrived_ns,
        )
        return infer_http_answer(answer, request, f"{BINARY_TYPE}{answer.json_bytes}")


def _error_answer(error: RecserveError) -> HttpAnswer:
    answer = oip_error(error)
    keeps = isinstance(error, OverloadedError | InvariantError)  # the platform tries those again
    return answer if keeps else HttpAnswer(_BAD_REQUEST, answer.body, answer.content_type, answer.headers)
