"""The rank service: what any transport calls. It knows models, calls and answers, but neither bytes nor statuses."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from time import perf_counter_ns, time_ns
from typing import Final

import numpy as np

from recserve.errors import RecserveError
from recserve.serving import observation
from recserve.serving.candidates import ITEM_ID
from recserve.serving.contract import RankResult, RecordSink, ServedRecord
from recserve.serving.explanations import explain
from recserve.serving.messages import Explanation, ModelChoice, RankAnswer, RankCall
from recserve.serving.metrics import RequestMetrics
from recserve.serving.observation import draw_request_id
from recserve.serving.refusals import WrongKindError
from recserve.serving.registry import Registry
from recserve.serving.users import UserStore, no_users

_log: Final = logging.getLogger("recserve.serving")


class RankService:
    """Answers rank calls from the registry's models and records what it answered. Threads may share it.

    Args:
        registry: the served versions.
        records: where served records go, or None to keep none. It outlives the service; whoever made it closes it.
        users: the kept users, or None; closed by whoever made it.
        metrics: counts the records, or None.
        user_id_column: user column that holds the user's id.
    """

    def __init__(
        self,
        registry: Registry,
        records: RecordSink | None = None,
        *,
        users: UserStore | None = None,
        metrics: RequestMetrics | None = None,
        user_id_column: str = "user_id",
    ) -> None:
        self.registry = registry
        self.users = users
        self._records = records
        self._metrics = metrics
        self._user_id_column = user_id_column

    def rank(self, model: str, version: int | None, call: RankCall, label: str | None = None) -> RankAnswer:
        """Rank the candidates of a call with one model version.

        Args:
            model: the model's name.
            version: its version; None for the highest, or for that of the label.
            call: what to rank.
            label: label of a version.

        Raises:
            NotFoundError: no such model, version or label.
            RequestError: the ranker cannot take the columns or ids of the call, or the call names a user and none are
                kept.
            OverloadedError: the model is still loading.
            WrongKindError: the model does not rank.
        """
        return self._rank(ModelChoice(model, version, label), *self._with_user(call))

    def rank_by_each(self, call: RankCall) -> list[RankAnswer]:
        """Rank the candidates of a call with each of its models.

        The request is parsed once, and the kept user is looked up once; features are each model's own. All answer, or
        none: the first error is that of the request.

        Raises:
            as `rank`; the place of the error names the model.
        """
        call, is_found = self._with_user(call)
        answers = []
        for number, choice in enumerate(call.models):
            try:
                answers.append(self._rank(choice, call, is_found))
            except RecserveError as error:
                raise error.at(f"$.models[{number}]") from None
        return answers

    def _with_user(self, call: RankCall) -> tuple[RankCall, bool | None]:
        """The call with the columns of the user that it names, and whether there is one."""
        if call.user_id is None:
            return call, None
        if self.users is None:
            raise no_users()
        kept = self.users.get(call.user_id)
        user = {self._user_id_column: call.user_id, **(kept or {}), **call.user}
        return replace(call, user=user), kept is not None

    def _rank(self, choice: ModelChoice, call: RankCall, is_user_found: bool | None) -> RankAnswer:
        begin_ns = perf_counter_ns()
        model = choice.name
        user_id = call.user.get(self._user_id_column)
        told: tuple[Explanation, ...] = ()
        of_user = None if user_id is None else str(user_id)
        with self.registry.lease(model, choice.version, choice.label, user_id=of_user) as ranker:
            if not hasattr(ranker, "rank"):
                raise WrongKindError(f"model {model!r} does not rank", hint=f"Ask it with /v1/models/{model}:predict.")
            result = ranker.rank(call.user, call.context, call.candidates, top_k=call.top_k, items=call.items)
            version = result.version
            observation.note_run(version.model, version.version, "rank", begin_ns, rows=count_candidates(call))
            rank_us = (perf_counter_ns() - begin_ns) / 1e3
            if call.explains:
                told = explain(ranker, call, result)
        observation.note_stages(result.timings_us)
        seen = observation.current()
        request_id = call.request_id or (draw_request_id() if seen is None else seen.request_id)
        if self._records is not None:
            self._write(self._records, _record(request_id, call, result))
        timings_us = {**result.timings_us, "rank": rank_us}
        return RankAnswer(request_id, result, timings_us, told, is_user_found)

    def _write(self, records: RecordSink, record: ServedRecord) -> None:
        code = "OK"
        try:
            records.write(record)
        except Exception:  # an answer matters more than its record
            code = "INTERNAL"
            _log.exception("The record of request %s could not be written", record.request_id)
        if self._metrics is not None:
            self._metrics.count_logged(record.model, code)


def count_candidates(call: RankCall) -> int:
    """N."""
    return len(call.candidates[ITEM_ID]) if isinstance(call.candidates, Mapping) else len(call.candidates)


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
