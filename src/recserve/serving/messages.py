"""The JSON of a rank request and of its answer.

Axes: N candidates of a request, K of them returned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import orjson

from recserve.errors import RequestError, suggest
from recserve.serving.candidates import json_type, parse_candidates, parse_inline_items
from recserve.serving.contract import Candidates, RankResult

Format = Literal["columns", "rows"]

REQUEST_FIELDS: Final = (
    "user",
    "context",
    "candidates",
    "top_k",
    "items",
    "request_id",
    "format",
    "timings",
)
MAX_REQUEST_ID_LENGTH: Final = 256


@dataclass(frozen=True)
class Limits:
    """What one request may ask for.

    Attributes:
        max_candidates: candidates of one request.
        max_body_bytes: bytes of its body.
        body_timeout_s: seconds in which the body has to arrive.
        max_head_bytes: bytes of its request line and headers; one more chunk from the network may pass.
        head_timeout_s: seconds in which the head has to arrive.
    """

    max_candidates: int = 20_000
    max_body_bytes: int = 32 << 20
    body_timeout_s: float = 30.0
    max_head_bytes: int = 64 << 10
    head_timeout_s: float = 30.0


@dataclass(frozen=True)
class RankCall:
    """One rank request, checked as far as that needs no model.

    Attributes:
        user: user column → value; empty where the request has none.
        context: context column → value, or None.
        candidates: ids, or columns with `item_id` among them.
        top_k: how many to return, at least 1; None for all.
        items: inline item columns by id, or None.
        request_id: the caller's id of the request, or None.
        format: how the answer lists the items.
        has_timings: whether the answer gives stage times.
    """

    user: Mapping[str, Any]
    context: Mapping[str, Any] | None
    candidates: Candidates
    top_k: int | None = None
    items: Mapping[Any, Mapping[str, Any]] | None = None
    request_id: str | None = None
    format: Format = "columns"
    has_timings: bool = False

    def with_request_id(self, request_id: str | None) -> RankCall:
        """The same call under an id that did not come in its body."""
        return replace(self, request_id=request_id)


@dataclass(frozen=True)
class RankAnswer:
    """A result under the id of its request; `timings_us` adds the server's own stages to the ranker's."""

    request_id: str
    result: RankResult
    timings_us: Mapping[str, float]


def decode_rank(body: bytes, limits: Limits) -> RankCall:
    """Parse a rank request.

    Raises:
        RequestError: not JSON (NaN and Infinity are not), not an object, an unknown field, a field of the wrong type
            or out of range, or a limit exceeded.
        DataError: the candidates or inline items are inconsistent.
    """
    document = decode_json(body)
    if not isinstance(document, dict):
        raise RequestError(
            f"expected an object, got {json_type(document)}", where="$", hint='Give {"user": ..., "candidates": ...}.'
        )
    if unknown := document.keys() - set(REQUEST_FIELDS):
        name = min(unknown)
        raise RequestError(
            f"unknown field {name!r}",
            code="unknown_field",
            where="$",
            hint=suggest(name, REQUEST_FIELDS) or f"Fields: {', '.join(REQUEST_FIELDS)}.",
        )
    if "candidates" not in document:
        raise RequestError("no 'candidates'", code="missing_field", where="$", hint="Say which items to rank.")
    candidates = parse_candidates(document["candidates"], limits.max_candidates)
    return RankCall(
        user=_object_or_none(document, "user") or {},
        context=_object_or_none(document, "context"),
        candidates=candidates,
        top_k=_top_k(document.get("top_k")),
        items=parse_inline_items(document.get("items"), candidates),
        request_id=checked_request_id(document.get("request_id"), "$.request_id"),
        format=_format(document.get("format")),
        has_timings=_boolean(document, "timings"),
    )


def decode_json(body: bytes) -> Any:
    """Decode strict JSON: UTF-8, no NaN, no Infinity, at most 1,024 levels deep.

    Raises:
        RequestError: with the place in the body.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        place, message = error.pos, error.msg
    try:
        body.decode()
    except UnicodeDecodeError as error:  # orjson does not say where
        place, message = error.start, f"0x{body[error.start]:02x} is not UTF-8 here"
    raise RequestError(f"not JSON: {message}", code="invalid_json", where=f"body at {place} of {len(body)}")


def encode_rank(answer: RankAnswer, call: RankCall) -> bytes:
    """The response body. NaN and infinite scores become null, which is what JSON can say.

    `columns` costs a handful of Python operations whatever K; `rows` builds K objects.
    """
    result = answer.result
    version = result.version
    document: dict[str, Any] = {
        "model": {
            "name": version.model,
            "version": version.version,
            "table_epoch": version.table_epoch,
            "item_epoch": version.item_epoch,
        },
        "request_id": answer.request_id,
    }
    if call.format == "rows":
        document["items"] = _rows(result)
    else:
        document["item_ids"] = result.item_ids
        document["scores"] = result.scores
        document["outputs"] = result.outputs
    document["unknown_items"] = result.unknown_items
    document["missing_columns"] = result.missing_columns
    if call.has_timings:
        document["timings_us"] = answer.timings_us
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def _rows(result: RankResult) -> list[dict[str, Any]]:
    goals = list(result.outputs)
    # Scalars of NumPy, not `tolist()`: orjson writes a float32 with the digits that a float32 has.
    outputs = zip(*result.outputs.values(), strict=True) if goals else iter([()] * len(result.item_ids))
    return [
        {"item_id": item_id, "score": score, "outputs": dict(zip(goals, values, strict=True))}
        for item_id, score, values in zip(result.item_ids, result.scores, outputs, strict=True)
    ]


def _object_or_none(document: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    value = document.get(name)
    if value is None or isinstance(value, dict):
        return value
    raise RequestError(
        f"expected an object, got {json_type(value)}", where=f"$.{name}", hint='Give {"column": value, ...}.'
    )


def _top_k(value: object) -> int | None:
    if value is None or (type(value) is int and value >= 1):
        return value
    shown = str(value) if isinstance(value, int | float) and not isinstance(value, bool) else json_type(value)
    raise RequestError(
        f"expected an integer of at least 1, got {shown}", where="$.top_k", hint="Leave it out to get all candidates."
    )


def checked_request_id(value: object, where: str) -> str | None:
    """The id if it is a text of 1 to 256 characters, None for None.

    Raises:
        RequestError: otherwise.
    """
    if value is None or (isinstance(value, str) and 0 < len(value) <= MAX_REQUEST_ID_LENGTH):
        return value
    shown = f"{len(value)} characters" if isinstance(value, str) else json_type(value)
    raise RequestError(f"expected a string of 1 to {MAX_REQUEST_ID_LENGTH} characters, got {shown}", where=where)


def _format(value: object) -> Format:
    match value:
        case None | "columns":
            return "columns"
        case "rows":
            return "rows"
    shown = repr(value) if isinstance(value, str) else json_type(value)
    raise RequestError(
        f"expected 'columns' or 'rows', got {shown}",
        where="$.format",
        hint=suggest(value, ("columns", "rows")) if isinstance(value, str) else None,
    )


def _boolean(document: Mapping[str, Any], name: str) -> bool:
    value = document.get(name, False)
    if isinstance(value, bool):
        return value
    raise RequestError(f"expected true or false, got {json_type(value)}", where=f"$.{name}")
