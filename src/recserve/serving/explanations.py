"""Why candidates got their scores, as text: their features, as the ranker's own stages made them."""

from __future__ import annotations

from typing import Any, Final

from recserve.errors import RequestError
from recserve.serving.candidates import row_of
from recserve.serving.contract import RankResult
from recserve.serving.messages import Explanation, RankCall

MAX_EXPLAINED: Final = 10
"""The best candidates of an answer that are explained: each is computed once more."""


def explain(ranker: Any, call: RankCall, result: RankResult) -> tuple[Explanation, ...]:
    """The best candidates of an answer, computed once more one by one.

    Args:
        ranker: that answered.
        call: what it was asked.
        result: the answer.

    Raises:
        RequestError: the model has no features of its own to tell.
    """
    if not (hasattr(ranker, "pipeline") and hasattr(ranker, "store")):
        raise RequestError(
            f"model {ranker.name!r} does not explain its scores", code="not_explained", where="$.explain"
        )
    from recserve.debug import explain_candidate  # the rankers' libraries, which a server of plain models lacks

    found = []
    for item_id, position in zip(result.item_ids[:MAX_EXPLAINED], result.positions[:MAX_EXPLAINED], strict=True):
        cells = row_of(call.candidates, position)
        item = None if call.items is None else call.items.get(item_id)
        trace = explain_candidate(ranker, call.user, call.context, item_id, candidate=cells, item=item)
        found.append(Explanation(item_id, trace.lines()))
    return tuple(found)
