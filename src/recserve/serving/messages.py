"""The JSON of a rank request and of its answer.

Axes: N candidates of a request, K of them returned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import orjson

from recserve.errors import RequestError, suggest
from recserve.serving.candidates import json_type, parse_candidates, parse_inline_items
from recserve.serving.contract import Candidates, ItemId, RankResult
from recserve.serving.json_document import load_json
from recserve.serving.json_rows import read_rows

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
    "user_id",
    "explain",
)
MULTI_FIELDS: Final = (*REQUEST_FIELDS, "models")
MAX_MODELS: Final = 16
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
class ModelChoice:
    """A model that a request for several asks; version and label None for the highest version."""

    name: str
    version: int | None = None
    label: str | None = None


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
        user_id: of a kept user, whose columns those of `user` go before; or None.
        explains: whether the answer tells the features of its best candidates.
        models: what to ask, of a request for several models; else empty.
    """

    user: Mapping[str, Any]
    context: Mapping[str, Any] | None
    candidates: Candidates
    top_k: int | None = None
    items: Mapping[Any, Mapping[str, Any]] | None = None
    request_id: str | None = None
    format: Format = "columns"
    has_timings: bool = False
    user_id: str | int | None = None
    explains: bool = False
    models: tuple[ModelChoice, ...] = ()

    def with_request_id(self, request_id: str | None) -> RankCall:
        """The same call under an id that did not come in its body."""
        return replace(self, request_id=request_id)


@dataclass(frozen=True)
class Explanation:
    """One candidate.

    Attributes:
        item_id: its id.
        lines: features, payload and outputs, for people.
    """

    item_id: ItemId
    lines: list[str]


@dataclass(frozen=True)
class RankAnswer:
    """A result under the id of its request.

    Attributes:
        request_id: of the request.
        result: of the ranker.
        timings_us: the server's own stages and the ranker's.
        explanations: of the best candidates, where the call asks for them.
        is_user_found: whether the user that the call names is kept; None where it names none.
    """

    request_id: str
    result: RankResult
    timings_us: Mapping[str, float]
    explanations: tuple[Explanation, ...] = ()
    is_user_found: bool | None = None


def decode_rank(body: bytes, limits: Limits, *, is_arrow: bool = False, is_multi: bool = False) -> RankCall:
    """Parse a rank request.

    Args:
        body: JSON, or Arrow streams.
        limits: of the request.
        is_arrow: which.
        is_multi: whether the request names several models.

    Raises:
        RequestError: not JSON (NaN and Infinity are not), not an object, an unknown field, a field of the wrong type
            or out of range, or a limit exceeded; or no Arrow, see `arrow_rank`.
        DataError: the candidates or inline items are inconsistent.
    """
    document = _read_arrow(body, limits.max_candidates) if is_arrow else _read_json(body)
    fields = MULTI_FIELDS if is_multi else REQUEST_FIELDS
    if not isinstance(document, dict):
        raise RequestError(
            f"expected an object, got {json_type(document)}", where="$", hint='Give {"user": ..., "candidates": ...}.'
        )
    if unknown := document.keys() - set(fields):
        name = min(unknown)
        raise RequestError(
            f"unknown field {name!r}",
            code="unknown_field",
            where="$",
            hint=suggest(name, fields) or f"Fields: {', '.join(fields)}.",
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
        user_id=_user_id(document.get("user_id")),
        explains=_boolean(document, "explain"),
        models=_models(document.get("models")) if is_multi else (),
    )


def _read_json(body: bytes) -> Any:
    document = read_rows(body)
    return decode_json(body) if document is None else document


def _read_arrow(body: bytes, max_candidates: int) -> dict[str, Any]:
    from recserve.serving.arrow_rank import read_document  # Arrow takes a while to import, and few send it

    return read_document(body, max_candidates)


def _user_id(value: object) -> str | int | None:
    if value is None or (type(value) is int and -(1 << 63) <= value < 1 << 63) or (isinstance(value, str) and value):
        return value
    raise RequestError(f"expected a text or an int64, got {json_type(value)}", where="$.user_id")


def _models(value: object) -> tuple[ModelChoice, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_MODELS:
        raise RequestError(
            f"expected a list of 1 to {MAX_MODELS} models, got "
            + (f"{len(value)}" if isinstance(value, list) else json_type(value)),
            where="$.models",
            hint='Give ["name", {"name": "name", "version": 7}, ...].',
        )
    return tuple(_model(choice, f"$.models[{n}]") for n, choice in enumerate(value))


def _model(value: object, where: str) -> ModelChoice:
    if isinstance(value, str):
        return ModelChoice(value)
    if not isinstance(value, dict) or not isinstance(value.get("name"), str) or value.keys() - _CHOICE_FIELDS:
        raise RequestError(
            f"expected a name or an object with 'name', got {json_type(value)}",
            where=where,
            hint=f"Fields: {', '.join(sorted(_CHOICE_FIELDS))}.",
        )
    version, label = value.get("version"), value.get("label")
    if (version is not None and type(version) is not int) or (label is not None and not isinstance(label, str)):
        raise RequestError("'version' is an integer and 'label' a text", where=where)
    if version is not None and label is not None:
        raise RequestError("both 'version' and 'label' are given", where=where, hint="Give one of them.")
    return ModelChoice(value["name"], version, label)


_CHOICE_FIELDS: Final = {"name", "version", "label"}


def decode_json(body: bytes) -> Any:
    """Decode strict JSON: UTF-8, no NaN, no Infinity, at most 1,024 levels deep.

    Raises:
        RequestError: with the place in the body.
    """
    try:
        return load_json(body)
    except orjson.JSONDecodeError as error:
        place, message = error.pos, error.msg
    try:
        body.decode()
    except UnicodeDecodeError as error:  # orjson does not say where
        place, message = error.start, f"0x{body[error.start]:02x} is not UTF-8 here"
    raise RequestError(f"not JSON: {message}", code="invalid_json", where=f"body at {place} of {len(body)}")


def encode_rank(answer: RankAnswer, call: RankCall, *, as_arrow: bool = False) -> bytes:
    """The response body. NaN and infinite scores become null in JSON, which is what it can say; Arrow keeps them.

    `columns` costs a handful of Python operations whatever K; `rows` builds K objects.
    """
    if not as_arrow:
        return orjson.dumps(answer_document(answer, call), option=orjson.OPT_SERIALIZE_NUMPY)
    from recserve.serving.arrow_rank import write_answer

    document = answer_document(answer, replace(call, format="columns"))
    return write_answer(document, answer.result.positions)


def encode_answers(answers: Sequence[RankAnswer], call: RankCall) -> bytes:
    """The response body to a request for several models, their answers in the order of the request."""
    document = {"answers": [answer_document(answer, call) for answer in answers]}
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def answer_document(answer: RankAnswer, call: RankCall) -> dict[str, Any]:
    """The answer as JSON will have it, with arrays."""
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
    if answer.is_user_found is not None:
        document["user_found"] = answer.is_user_found
    if call.has_timings or call.explains:
        document["timings_us"] = answer.timings_us
    if call.explains:
        document["explanations"] = [{"item_id": told.item_id, "lines": told.lines} for told in answer.explanations]
    return document


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
