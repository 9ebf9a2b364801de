"""A training set: one row per shown candidate, with labels and the columns that the plan reads.

Axes: N samples.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recserve.dtypes import F32, I64, Bool
from recserve.errors import ConfigError, suggest

BOOKKEEPING: Final = ("request_id", "time", "position", "score")
"""Columns of a Samples table that no feature reads. `user_id` and `item_id` stand beside them, and features may."""
LABEL_PREFIX: Final = "label_"


@dataclass(frozen=True)
class JoinReport:
    """What a join saw, to be looked at before training: a low positive rate or many lost events is a broken log.

    Attributes:
        requests: distinct requests.
        duplicate_records: records beyond the first of their request_id.
        impressions: distinct (request, shown item).
        not_shown: candidates without a position, and repeats of an item within a request.
        events: distinct events.
        duplicate_events: events equal to another in every field.
        unattributed_events: distinct events without an impression before them.
        unknown_items: impressions left out because the items table lacks their item.
        positives: {goal: samples with label 1}.
    """

    requests: int
    duplicate_records: int
    impressions: int
    not_shown: int
    events: int
    duplicate_events: int
    unattributed_events: int
    unknown_items: int
    positives: dict[str, int]


@dataclass(frozen=True, eq=False)
class Samples:
    """N samples, in the order of time.

    Attributes:
        table: N rows of request_id (string), time (int64, ms UTC), user_id, item_id, position (int32), score (float64),
            `label_<goal>` (int8: 0, 1, or null where unknown) per goal, then the columns of the user, context,
            candidate and item sides.
        goals: names of the goals, in order.
        report: of the join; None where the samples come from elsewhere.
    """

    table: pa.Table
    goals: tuple[str, ...]
    report: JoinReport | None = field(default=None)

    def __len__(self) -> int:
        """Number of samples."""
        return int(self.table.num_rows)

    @property
    def columns(self) -> pa.Table:
        """The columns for `Plan.run`: the table without bookkeeping and labels."""
        labels = [LABEL_PREFIX + goal for goal in self.goals]
        return self.table.drop_columns([*BOOKKEEPING, *labels])

    def label(self, goal: str) -> F32:
        """float32[N]: 1 where the goal was reached, 0 where not, NaN where that has no answer.

        Raises:
            ConfigError: there is no such goal.
        """
        if goal not in self.goals:
            raise ConfigError(f"there is no goal {goal!r}", hint=suggest(goal, self.goals))
        labels: F32 = self.table[LABEL_PREFIX + goal].to_numpy().astype(np.float32)
        return labels

    @property
    def labels(self) -> dict[str, F32]:
        """{goal: float32[N]}; see `label`."""
        return {goal: self.label(goal) for goal in self.goals}

    @property
    def times(self) -> I64:
        """int64[N], milliseconds since 1970 UTC."""
        times: I64 = self.table["time"].to_numpy()
        return times

    @property
    def groups(self) -> I64:
        """int64[N], one number per user: the groups of GAUC. Samples of anonymous users are grouped by request."""
        users = self.table["user_id"]
        if not users.null_count:
            return _codes(users)
        return _codes(
            pc.if_else(
                pc.is_valid(users),
                pc.binary_join_element_wise("u", users.cast(pa.string()), ":"),
                pc.binary_join_element_wise("r", self.table["request_id"], ":"),
            )
        )

    @property
    def request_groups(self) -> I64:
        """int64[N], one number per request."""
        return _codes(self.table["request_id"])

    def take(self, rows: I64 | Bool) -> Samples:
        """The samples at these rows, or where the mask is true; without the report."""
        index = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        return Samples(self.table.take(pa.array(index)), self.goals)


def _codes(column: pa.ChunkedArray) -> I64:
    codes: I64 = column.combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    return codes
