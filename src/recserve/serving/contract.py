"""What serving needs from its neighbours: a ranker to call, and a sink to which served records go.

Axes: N candidates of a request, K of them returned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy.typing as npt

from recserve.dtypes import F32, I64

ItemId = str | int
Cells = Sequence[Any] | npt.NDArray[Any]
"""N cells, or [N, k] numbers: a list of k in each cell. Nobody writes into them."""
Candidates = Sequence[ItemId] | Mapping[str, Cells]
"""Ids, or columns of N cells each with `item_id`, a list, among them."""


class VersionTuple(Protocol):
    """What exactly answered a request."""

    @property
    def model(self) -> str:
        """Name of the model."""

    @property
    def version(self) -> int:
        """Version of its bundle."""

    @property
    def table_epoch(self) -> int:
        """Last change of embedding rows that the answer includes."""

    @property
    def item_epoch(self) -> int:
        """Last change of items that the answer includes."""


class RankResult(Protocol):
    """The answer of a ranker, best candidate first."""

    @property
    def item_ids(self) -> Sequence[ItemId]:
        """K ids."""

    @property
    def positions(self) -> Sequence[int] | I64:
        """K places among the candidates of the request."""

    @property
    def scores(self) -> F32:
        """float32[K], never rising; NaN where the model gave NaN."""

    @property
    def outputs(self) -> Mapping[str, F32]:
        """Goal → float32[K], aligned with `item_ids`."""

    @property
    def version(self) -> VersionTuple:
        """What exactly answered."""

    @property
    def unknown_items(self) -> Sequence[ItemId]:
        """Candidates that were not scored."""

    @property
    def missing_columns(self) -> Sequence[str]:
        """User and context columns that the request lacked; defaults stood in for them."""

    @property
    def timings_us(self) -> Mapping[str, float]:
        """Stage → microseconds."""


class ServedModel(Protocol):
    """What the registry needs of whatever it serves: a ranker, a plain model, or both in one."""

    @property
    def name(self) -> str:
        """Name of the model, as the URL has it."""

    @property
    def version(self) -> int:
        """Its version."""

    def close(self) -> None:
        """Give back memory and maps; called once, after the last request."""


class RankerLike(Protocol):
    """A loaded model version. Threads may call `rank` at once; `close` is called once, after the last `rank`."""

    @property
    def name(self) -> str:
        """Name of the model, as the URL has it."""

    @property
    def version(self) -> int:
        """Version of its bundle."""

    def describe(self) -> dict[str, Any]:
        """Inputs by side, goals, item count and stages, as plain JSON."""

    def rank(
        self,
        user: Mapping[str, Any],
        context: Mapping[str, Any] | None,
        candidates: Candidates,
        *,
        top_k: int | None = None,
        items: Mapping[Any, Mapping[str, Any]] | None = None,
    ) -> RankResult:
        """Score the candidates; raises `RequestError` or `DataError` where the caller is wrong."""

    def close(self) -> None:
        """Give back memory and maps; `rank` must not be called again."""


OpenModel = Callable[..., ServedModel]
"""`(directory)` or `(directory, name)` → the model of that version, under another name where one is given.

It is a ranker or a plain model. Raises `ConfigError` or `BundleError`.
"""


@dataclass(frozen=True)
class ServedRecord:
    """What was asked and answered, as the request log keeps it.

    Attributes:
        request_id: the caller's id of the request, or one that the server drew.
        time_us: when the request was answered, in microseconds since the epoch.
        model, version, table_epoch, item_epoch: the version tuple.
        user, context: the columns of the request, as decoded from JSON.
        candidates: ids or columns, in the order of the request.
        items: inline item columns by id, or None.
        top_k: how many the caller asked for, or None for all.
        item_ids: K ids, best first.
        positions: K places among the candidates of the request.
        scores: float32[K].
        outputs: goal → float32[K].
        unknown_items: candidates that were not scored.
    """

    request_id: str
    time_us: int
    model: str
    version: int
    table_epoch: int
    item_epoch: int
    user: Mapping[str, Any]
    context: Mapping[str, Any] | None
    candidates: Candidates
    items: Mapping[Any, Mapping[str, Any]] | None
    top_k: int | None
    item_ids: Sequence[ItemId]
    positions: Sequence[int]
    scores: F32
    outputs: Mapping[str, F32]
    unknown_items: Sequence[ItemId]


class RecordSink(Protocol):
    """Where served records go. Rank threads call it, several at once: it queues, drops when full, and never blocks."""

    def write(self, record: ServedRecord) -> object:
        """Take a record; what it returns is not looked at."""

    def close(self) -> None:
        """Write what is queued and let go of the files."""
