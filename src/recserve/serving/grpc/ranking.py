"""recserve's own ranking service: packed ids and columns in, packed scores out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from recserve.serving.messages import Limits, RankAnswer, RankCall, checked_request_id
from recserve.serving.overload.turn import Turn
from recserve.serving.refusals import OutputNamesError
from recserve.wire.pool import Message, methods_of
from recserve.wire.ranking import SERVICE, RankResponse
from recserve.wire.values import read_cell, read_column, read_values, write_values


class RankingService:
    """Answers of the ranking service. Threads may share it.

    Args:
        serving: what every dialect shares.
    """

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    def endpoints(self) -> list[Endpoint]:
        """The methods of the service."""
        return [Endpoint(methods_of(SERVICE)["Rank"], self.rank, no_words)]

    def rank(self, request: Message, turn: Turn) -> Message:
        """Rank the candidates of a request.

        Raises:
            RequestError: the request is wrong.
            NotFoundError, OverloadedError: the model is not there, or not yet.
        """
        queued_us = (perf_counter() - turn.arrived_ns * 1e-9) * 1e6
        begin_s = perf_counter()
        call = read_call(request, self._serving.limits)
        model = request.model or self._serving.default_model()
        version = self._version(request, model)
        parse_us = (perf_counter() - begin_s) * 1e6
        turn.check()
        answer = self._serving.service.rank(model, version, call)
        timings = {"queue": queued_us, "parse": parse_us, **answer.timings_us} if call.has_timings else {}
        return _response(answer, list(request.outputs), timings)

    def _version(self, request: Message, model: str) -> int | None:
        choice = request.WhichOneof("version_choice")
        if choice == "version_label":
            with self._serving.registry.lease(model, label=request.version_label) as labelled:
                version: int = labelled.version
            return version
        return request.version if choice else None


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
    )


def _read_candidates(request: Message, limits: Limits) -> Candidates:
    ids = _read("item_ids", read_values, request.item_ids)
    if not request.candidates:
        return parse_candidates(ids, limits.max_candidates)
    if ITEM_ID in request.candidates:
        raise DataError(f"{ITEM_ID!r} is no column here", where="candidates", hint="Give the ids in `item_ids`.")
    columns = {name: _read(f"candidates[{name!r}]", read_column, column) for name, column in request.candidates.items()}
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


def _response(answer: RankAnswer, outputs: Sequence[str], timings_us: Mapping[str, float]) -> Message:
    result = answer.result
    version = result.version
    response = RankResponse(
        request_id=answer.request_id,
        item_ids=write_values(list(result.item_ids)),
        positions=np.asarray(result.positions, np.int64).tolist(),
        scores=result.scores.tolist(),
        unknown_items=write_values(list(result.unknown_items)),
        missing_columns=list(result.missing_columns),
        timings_us=timings_us,
    )
    response.version.model = version.model
    response.version.version = version.version
    response.version.table_epoch = version.table_epoch
    response.version.item_epoch = version.item_epoch
    for name in outputs or result.outputs:
        if name not in result.outputs:
            raise OutputNamesError(output=name, known=list(result.outputs))
        response.outputs[name].value.extend(result.outputs[name].tolist())
    return response
