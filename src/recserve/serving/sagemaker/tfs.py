"""The TensorFlow Serving container of SageMaker as an ASGI application."""

from __future__ import annotations

import logging
import os
from typing import Final

from recserve.errors import RecserveError
from recserve.serving.body import Receive, Scope, Send
from recserve.serving.dialects import App, Serving
from recserve.serving.http_answer import HttpAnswer, HttpRequest, json_answer, read_request, send_answer
from recserve.serving.sagemaker.environment import Platform
from recserve.serving.sagemaker.headers import ATTRIBUTES, Attributes, echo_attributes, read_attributes
from recserve.serving.sagemaker.tensorflow_calls import answer_tensorflow, error_answer
from recserve.serving.status import logged_error

_log: Final = logging.getLogger("recserve.serving")
_PAGES: Final = {"/ping": "GET", "/execution-parameters": "GET", "/invocations": "POST"}
_BAD_GATEWAY: Final = 502


def build_sagemaker_tfs(serving: Serving) -> App:
    """The application of the dialect `sagemaker-tfs`."""
    return SageMakerTfsApp(serving)


class SageMakerTfsApp:
    """/ping, /invocations and /execution-parameters."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._platform = Platform(serving.environment)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        answer = await self.answer_route(scope, receive)
        if answer is not None:  # else nobody is there to answer
            await send_answer(send, answer, has_body=scope["method"] != "HEAD")

    async def answer_route(self, scope: Scope, receive: Receive) -> HttpAnswer | None:
        """The answer to a request; None where the client went away."""
        method = _PAGES.get(scope["path"])
        if method is None:
            return json_answer({"error": "Not Found"}, 404)
        if scope["method"] != method:
            return json_answer({"error": "Method Not Allowed"}, 405, (("allow", method),))
        if scope["path"] == "/execution-parameters":
            limits = self._serving.limits
            return json_answer(self._platform.execution_parameters(os.cpu_count() or 1, limits.max_body_bytes))
        if scope["path"] == "/ping":
            return HttpAnswer(200 if self._is_available() else _BAD_GATEWAY, content_type="")
        try:
            request = await read_request(scope, receive, self._serving.limits)
        except RecserveError as error:
            return error_answer(error)
        return None if request is None else await self.answer_invocation(request)

    async def answer_invocation(self, request: HttpRequest) -> HttpAnswer:
        """The answer to a POST on /invocations."""
        try:
            answer = await self._serving.threads.run(lambda: self._invoke(request))
        except Exception as caught:
            return error_answer(logged_error(caught, _log, "An invocation failed"), request.headers)
        return HttpAnswer(
            answer.status, answer.body, answer.content_type, answer.headers + echo_attributes(request.headers)
        )

    def _invoke(self, request: HttpRequest) -> HttpAnswer:
        attributes: Attributes = read_attributes(request.headers.get(ATTRIBUTES, ""))
        return answer_tensorflow(self._serving, request, attributes, attributes.model or self._serving.default_model())

    def _is_available(self) -> bool:
        """Whether the port's own model answers."""
        if not self._serving.readiness():
            return False
        try:
            name = self._serving.default_model()
        except RecserveError:  # several models: each request names its own
            return True
        return any(row.state == "AVAILABLE" for row in self._serving.registry.states(name))
