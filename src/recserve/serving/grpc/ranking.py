"""recserve's own ranking service: packed ids and columns in, packed scores out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import repeat
from time import perf_counter
from typing import Any

import numpy as np

from recserve.errors import DataError, RequestError
from recserve.serving.candidates import ITEM_ID, parse_candidates
from recserve.serving.contract import Candidates
from recserve.serving.dialects import Serving
from recserve.serving.grpc.endpoints import Endpoint
from recserve.serving.grpc.failures import no_words
from recserve.serving.messages import MAX_MODELS, Limits, ModelChoice, RankAnswer, RankCall, checked_request_id
from recserve.serving.overload.turn import Turn
from recserve.serving.refusals import OutputNamesError
from recserve.wire.pool import Message, methods_of
from recserve.wire.ranking import SERVICE, RankByEachResponse, RankResponse
from recserve.wire.values import read_cell, read_cells, read_column, read_values, write_values


class RankingService:
    """Answers of the ranking service. Threads may share it.

    Args:
        serving: what every dialect shares.
    """

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    def endpoints(self) -> list[Endpoint]:
        """The methods of the service."""
        methods = methods_of(SERVICE)
        return [
            Endpoint(methods["Rank"], self.rank, no_words),
            Endpoint(methods["RankByEach"], self.rank_by_each, no_words),
        ]

    def rank(self, request: Message, turn: Turn) -> Message:
        """Rank the candidates of a request.

        Raises:
            RequestError: the request is wrong.
            NotFoundError, OverloadedError: the model is not there, or not yet.
        """
        queued_us = _queued_us(turn)
        begin_s = perf_counter()
        call = read_call(request, self._serving.limits)
        model = request.model or self._serving.default_model()
        version, label = _version(request)
        parse_us = (perf_counter() - begin_s) * 1e6
        turn.check()
        answer = self._serving.service.rank(model, version, call, label)
        return _response(answer, call, list(request.outputs), {"queue": queued_us, "parse": parse_us})

    def rank_by_each(self, message: Message, turn: Turn) -> Message:
        """Rank the candidates of a request with several models.

        Raises:
            RequestError: the request is wrong.
            NotFoundError, OverloadedError: a model is not there, or not yet.
        """
        queued_us = _queued_us(turn)
        begin_s = perf_counter()
        request = message.request
        if request.model or request.outputs or request.WhichOneof("version_choice"):
            raise RequestError(
                "the model, its version and outputs are not told here",
                where="request",
                hint="Name the models in `models`; each answers with all of its outputs.",
            )
        call = replace(read_call(request, self._serving.limits), models=_read_models(message.models))
        parse_us = (perf_counter() - begin_s) * 1e6
        turn.check()
        times = {"queue": queued_us, "parse": parse_us}
        answers = self._serving.service.rank_by_each(call)
        return RankByEachResponse(answers=[_response(answer, call, (), times) for answer in answers])


def _queued_us(turn: Turn) -> float:
    return (perf_counter() - turn.arrived_ns * 1e-9) * 1e6


def _version(message: Message) -> tuple[int | None, str | None]:
    """Version and label of a request or of a choice of model."""
    choice = message.WhichOneof("version_choice")
    if choice == "version_label":
        return None, message.version_label
    return (message.version if choice else None), None


def _read_models(choices: Sequence[Message]) -> tuple[ModelChoice, ...]:
    if not 1 <= len(choices) <= MAX_MODELS:
        raise RequestError(f"expected a list of 1 to {MAX_MODELS} models, got {len(choices)}", where="models")
    return tuple(ModelChoice(choice.name, *_version(choice)) for choice in choices)


def read_call(request: Message, limits: Limits) -> RankCall:
    """The rank call of a request, checked as far as that needs no model.

    Raises:
        RequestError: no candidates or too many, a `top_k` of 0, or too long a request id.
        DataError: ids, columns or cells are inconsistent.
    """
    candidates = _read_candidates(request, limits)
    if request.HasField("top_k") and request.top_k == 0:
        raise RequestError(
            "expected an integer of at least 1, got 0", where="top_k", hint="Leave it out to get all candidates."
        )
    return RankCall(
        user=_read_cells(request.user, "user"),
        context=_read_cells(request.context, "context") or None,
        candidates=candidates,
        top_k=request.top_k if request.HasField("top_k") else None,
        items=_read_items(request.items) if request.HasField("items") else None,
        request_id=checked_request_id(request.request_id or None, "request_id"),
        has_timings=request.timings,
        user_id=_user_id(request),
        explains=request.explain,
    )


def _user_id(request: Message) -> str | int | None:
    choice = request.WhichOneof("user_choice")
    if choice == "user_id" and not request.user_id:
        raise RequestError("expected a text that is not empty", where="user_id")
    value: str | int | None = None if choice is None else getattr(request, choice)
    return value


def _read_candidates(request: Message, limits: Limits) -> Candidates:
    ids = _read("item_ids", read_values, request.item_ids)
    if not request.candidates:
        return parse_candidates(ids, limits.max_candidates)
    if ITEM_ID in request.candidates:
        raise DataError(f"{ITEM_ID!r} is no column here", where="candidates", hint="Give the ids in `item_ids`.")
    columns = {name: _read(f"candidates[{name!r}]", read_cells, column) for name, column in request.candidates.items()}
    return parse_candidates({ITEM_ID: ids, **columns}, limits.max_candidates)


def _read_cells(cells: Mapping[str, Message], place: str) -> dict[str, Any]:
    return {name: _read(f"{place}[{name!r}]", read_cell, cell) for name, cell in cells.items()}


def _read_items(items: Message) -> dict[Any, dict[str, Any]]:
    """Inline items by id."""
    ids = _read("items.item_ids", read_values, items.item_ids)
    columns = {name: _read(f"items.columns[{name!r}]", read_column, column) for name, column in items.columns.items()}
    for name, cells in columns.items():
        if len(cells) != len(ids):
            raise DataError(f"{len(cells)} cells for {len(ids)} ids", where=f"items.columns[{name!r}]")
    rows = zip(*columns.values(), strict=True) if columns else repeat((), len(ids))
    return {key: dict(zip(columns, row, strict=True)) for key, row in zip(ids, rows, strict=True)}


def _read(place: str, read: Callable[[Message], Any], message: Message) -> Any:
    try:
        return read(message)
    except DataError as error:
        raise error.at(place) from None


def _response(answer: RankAnswer, call: RankCall, outputs: Sequence[str], before_us: Mapping[str, float]) -> Message:
    result = answer.result
    version = result.version
    response = RankResponse(
        request_id=answer.request_id,
        item_ids=write_values(list(result.item_ids)),
        positions=np.asarray(result.positions, np.int64).tolist(),
        scores=result.scores.tolist(),
        unknown_items=write_values(list(result.unknown_items)),
        missing_columns=list(result.missing_columns),
        timings_us={**before_us, **answer.timings_us} if call.has_timings or call.explains else {},
        user_found=answer.is_user_found,
    )
    response.version.model = version.model
    response.version.version = version.version
    response.version.table_epoch = version.table_epoch
    response.version.item_epoch = version.item_epoch
    for name in outputs or result.outputs:
        if name not in result.outputs:
            raise OutputNamesError(output=name, known=list(result.outputs))
        values = result.outputs[name]
        output = response.outputs[name]
        output.value.extend(values.ravel().tolist())
        if values.ndim > 1:
            output.width = values.shape[1]
    for told in answer.explanations:
        response.explanations.add(item_id=write_values([told.item_id]), lines=told.lines)
    return response
