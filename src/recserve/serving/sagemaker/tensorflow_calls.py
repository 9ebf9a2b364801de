"""A SageMaker body, answered by the TensorFlow Serving dialect."""

from __future__ import annotations

from typing import Final

from recserve.errors import RecserveError, RequestError
from recserve.serving.compression import UnsupportedCodingError, inflate, read_coding
from recserve.serving.dialects import Serving
from recserve.serving.http_answer import HttpAnswer, HttpRequest, json_answer
from recserve.serving.refusals import BodyTooLargeError, MethodNotAllowedError
from recserve.serving.sagemaker.headers import Attributes, answer_type, echo_attributes, media_type
from recserve.serving.sagemaker.instances import CSV_TYPE, JSON_TYPES, wrap_csv, wrap_json
from recserve.serving.status import headers_of, status_of
from recserve.serving.tfs.endpoint import answer_call
from recserve.serving.tfs.routes import Call

ACCEPT_VARIABLE: Final = "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT"
"""What requests without an `Accept` header accept."""


class MediaTypeError(RequestError):
    """The body is of a type that the container does not read."""

    default_code = "unsupported_media_type"


def answer_tensorflow(serving: Serving, request: HttpRequest, attributes: Attributes, model: str) -> HttpAnswer:
    """Answer an invocation; runs on a rank thread.

    Args:
        serving: the served models.
        request: its body is JSON, JSON lines or CSV.
        attributes: the version and method.
        model: the model that answers.

    Raises:
        MediaTypeError: another type of body.
        RequestError: the body is not what its encoding or type says.
    """
    body = wrap_body(request, serving.limits.max_body_bytes)
    call = Call(model, attributes.version, None, attributes.verb)  # type: ignore[arg-type] # one of three verbs
    status, text = answer_call(serving, call, body)
    # Line breaks only separate tokens here: inside strings they are escaped.
    accept = request.headers.get("accept", "") or serving.environment.get(ACCEPT_VARIABLE, "")
    return HttpAnswer(status, text.replace(b"\n", b""), answer_type(accept))


def wrap_body(request: HttpRequest, max_bytes: int) -> bytes:
    """The body as TensorFlow Serving takes it.

    Raises:
        MediaTypeError: neither JSON, JSON lines nor CSV.
        RequestError: the body is not what its encoding or type says.
    """
    given = request.headers.get("content-type", "")
    kind = media_type(given)
    if kind not in JSON_TYPES and kind != CSV_TYPE:
        raise MediaTypeError(f"Unsupported Media Type: {given[:100] or 'Unknown'}")
    body = inflate(request.body, read_coding(request.headers.get("content-encoding", "")), max_bytes)
    return wrap_csv(body) if kind == CSV_TYPE else wrap_json(body)


def error_answer(error: RecserveError, request_headers: dict[str, str] | None = None) -> HttpAnswer:
    """`{"error": "..."}`, with the custom attributes of the request."""
    match error:
        case MediaTypeError() | UnsupportedCodingError():
            status = 415
        case BodyTooLargeError():
            status = 413
        case _:
            status = status_of(error)
    headers = tuple((name.decode(), value.decode()) for name, value in headers_of(error))
    text = error.problem if isinstance(error, MethodNotAllowedError | MediaTypeError) else str(error)
    return json_answer({"error": text}, status, headers + echo_attributes(request_headers or {}))
