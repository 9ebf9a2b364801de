"""The rank service: what any transport calls. It knows models, calls and answers, but neither bytes nor statuses."""

from __future__ import annotations

import logging
import os
from time import perf_counter, time_ns
from typing import Final

import numpy as np

from recserve.serving.contract import RankResult, RecordSink, ServedRecord
from recserve.serving.messages import RankAnswer, RankCall
from recserve.serving.refusals import WrongKindError
from recserve.serving.registry import Registry

_log: Final = logging.getLogger("recserve.serving")


class RankService:
    """Answers rank calls from the registry's models and records what it answered. Threads may share it.

    Args:
        registry: the served versions.
        records: where served records go, or None to keep none. It outlives the service; whoever made it closes it.
    """

    def __init__(self, registry: Registry, records: RecordSink | None = None) -> None:
        self.registry = registry
        self._records = records

    def rank(self, model: str, version: int | None, call: RankCall) -> RankAnswer:
        """Rank the candidates of a call with one model version.

        Args:
            model: the model's name.
            version: its version; None for the highest.
            call: what to rank.

        Raises:
            NotFoundError: no such model or version.
            RequestError: the ranker cannot take the columns or ids of the call.
            OverloadedError: the model is still loading.
            WrongKindError: the model does not rank.
        """
        begin_s = perf_counter()
        with self.registry.lease(model, version) as ranker:
            if not hasattr(ranker, "rank"):
                raise WrongKindError(f"model {model!r} does not rank", hint=f"Ask it with /v1/models/{model}:predict.")
            result = ranker.rank(call.user, call.context, call.candidates, top_k=call.top_k, items=call.items)
        rank_us = (perf_counter() - begin_s) * 1e6
        request_id = call.request_id or os.urandom(8).hex()
        if self._records is not None:
            try:
                self._records.write(_record(request_id, call, result))
            except Exception:  # an answer matters more than its record
                _log.exception("The record of request %s could not be written", request_id)
        return RankAnswer(request_id, result, {**result.timings_us, "rank": rank_us})


def _record(request_id: str, call: RankCall, result: RankResult) -> ServedRecord:
    version = result.version
    return ServedRecord(
        request_id=request_id,
        time_us=time_ns() // 1000,
        model=version.model,
        version=version.version,
        table_epoch=version.table_epoch,
        item_epoch=version.item_epoch,
        user=call.user,
        context=call.context,
        candidates=call.candidates,
        items=call.items,
        top_k=call.top_k,
        item_ids=result.item_ids,
        positions=np.asarray(result.positions, np.int64).tolist(),
        scores=result.scores,
        outputs=result.outputs,
        unknown_items=result.unknown_items,
    )
