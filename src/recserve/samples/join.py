"""Records × events → samples: what the join means, whatever engine runs it.

    records ─ impressions_of ─► impressions ─┐
                                             ├─ attribute ─► attributions ─┐
    events ──────────────────────────────────┘                             ├─ build_samples ─► Samples
    records, items ────────────────────────────────────────────────────────┘

Only the middle step, `attribute`, differs between engines: `duckdb.attribute` runs it as SQL, `reference.attribute` is
its slow, obvious twin. The rules:

* An **impression** is one item shown in one request: a candidate with a position. Records with the same request_id are
  one record (the earliest, then the first read); an item twice in a request is one impression (the best position).
* An **event** equal to another in every field is that event.
* An event with a request_id belongs to the impression of its item in that request, if the user agrees too and the event
  does not come before it; otherwise to none.
* An event without a request_id belongs to the last impression of its item to its user at or before the event; of two at
  one time, to that of the greater request_id.
* So each event belongs to at most one impression. The label of a goal is 1 where an event of the goal's type belongs to
  the impression within the goal's window after it, else 0; unknown where it is `given` a goal that was not reached.
* The order of records and of events does not matter, nor how late they come.

**Point in time.** User, context and candidate columns come from the record: they are what the features saw, whatever
changed since. Item columns come from the record where the request brought them, else from the items table, which is
one state of the items for all times: a column that changes with behaviour, such as a click count, would carry the
future into training. Keep such columns out of the table, or serve with inline item columns so that records hold them.

Axes: R requests, C candidates over all requests, N impressions (then samples).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recserve.dtypes import I64
from recserve.errors import ConfigError, DataError, suggest
from recserve.samples.events import EVENT_SCHEMA
from recserve.samples.items import item_columns_of
from recserve.samples.records import RECORD_SCHEMA
from recserve.samples.sampleset import BOOKKEEPING, LABEL_PREFIX, JoinReport, Samples
from recserve.samples.sides import candidate_arrays, request_arrays

IMPRESSION_SCHEMA: Final = pa.schema(
    [
        ("row", pa.int64()),
        ("request_id", pa.string()),
        ("user_id", pa.string()),
        ("item_id", pa.string()),
        ("time", pa.int64()),
        ("position", pa.int32()),
        ("score", pa.float64()),
    ]
)
"""row: 0 to N − 1, in the order of (time, request_id, index in the request)."""
ATTRIBUTION_SCHEMA: Final = pa.schema([("row", pa.int64()), ("type", pa.string()), ("delay", pa.int64())])
"""One row per (impression, type) with events: the shortest delay from the impression to an event, ms."""

Attribute = Callable[[pa.Table, pa.Table], tuple[pa.Table, int]]
"""(impressions, distinct events) → (attributions, number of events that belong to no impression)."""


@dataclass(frozen=True)
class Goal:
    """What a label means.

    Attributes:
        event: type of the events that reach the goal.
        window_ms: longest time from the impression to the event, in milliseconds, inclusive.
        given: name of another goal, without which this one has no answer: the label is unknown (null) where that goal
            was not reached. A conversion rate is a buy given a click; a buy of each impression is not.
    """

    event: str
    window_ms: int
    given: str | None = None

    def __post_init__(self) -> None:
        if not self.event:
            raise ConfigError("a goal's event is empty", hint="Give an event type such as 'click'.")
        if self.window_ms <= 0:
            raise ConfigError(
                f"the window of goal event {self.event!r} is {self.window_ms} ms", hint="Give one above 0."
            )


@dataclass(frozen=True, eq=False)
class Impressions:
    """The impressions of a log.

    Attributes:
        table: N rows of IMPRESSION_SCHEMA.
        requests: R rows of RECORD_SCHEMA, duplicates removed, in the order of (time, request_id).
        request_row: int64[N], row of `requests`.
        candidate: int64[N], index of the candidate over all candidates of `requests`, 0 to C − 1.
        duplicate_records: records left out as duplicates.
        not_shown: candidates left out.
    """

    table: pa.Table
    requests: pa.Table
    request_row: I64
    candidate: I64
    duplicate_records: int
    not_shown: int


def join(
    records: pa.Table,
    events: pa.Table,
    goals: Mapping[str, Goal],
    attribute: Attribute,
    *,
    items: pa.Table | None = None,
    types: Mapping[str, pa.DataType] | None = None,
) -> Samples:
    """Join records with events into samples, with `attribute` as the engine.

    Args:
        records: of RECORD_SCHEMA.
        events: of EVENT_SCHEMA.
        goals: {goal: what its label means}, at least one.
        attribute: the engine's step, such as `duckdb.attribute`.
        items: item columns, one row per `item_id` (text or integer); None if the records bring them all, or if the
            features read none but item_id. Impressions of items it lacks are left out and reported.
        types: Arrow types of user, context and candidate columns, where the inferred ones (see `cells.to_arrow`) are
            not wanted.

    Raises:
        ConfigError: no goals, or a `given` that names none.
        DataError: a table of another schema; a column on two sides, or named as a bookkeeping column or a label; a
            column that mixes shapes; an items table without item_id or with an item twice.
    """
    if not goals:
        raise ConfigError("there are no goals", hint="Give at least one, such as {'ctr': Goal('click', 1_800_000)}.")
    free = [name for name, goal in goals.items() if goal.given is None]
    for name, goal in goals.items():
        if goal.given is not None and goal.given not in free:
            hint = suggest(goal.given, free) or "Name a goal that has no `given` itself."
            raise ConfigError(f"is given {goal.given!r}", where=f"goal {name!r}", hint=hint)
    _check_schema(records, RECORD_SCHEMA, "records")
    _check_schema(events, EVENT_SCHEMA, "events")
    impressions = impressions_of(records)
    distinct = events.group_by(EVENT_SCHEMA.names, use_threads=False).aggregate([]).cast(EVENT_SCHEMA)
    attributions, unattributed = attribute(impressions.table, distinct)
    labels = labels_of(attributions, len(impressions.table), goals)
    table, unknown = build_table(impressions, labels, items, types or {})
    report = JoinReport(
        requests=len(impressions.requests),
        duplicate_records=impressions.duplicate_records,
        impressions=len(impressions.table),
        not_shown=impressions.not_shown,
        events=len(distinct),
        duplicate_events=len(events) - len(distinct),
        unattributed_events=unattributed,
        unknown_items=unknown,
        positives={goal: int(pc.sum(table[LABEL_PREFIX + goal]).as_py() or 0) for goal in goals},
    )
    return Samples(table, tuple(goals), report)


def impressions_of(records: pa.Table) -> Impressions:
    """The distinct impressions of a table of RECORD_SCHEMA."""
    requests = _distinct_requests(records)
    nested = requests["candidates"].combine_chunks()
    lengths = pc.list_value_length(nested).to_numpy(zero_copy_only=False).astype(np.int64)
    cells = nested.flatten()
    request_row = np.repeat(np.arange(len(requests)), lengths)
    candidate = _shown(request_row, cells)
    request_row = request_row[candidate]
    by_request = requests.select(["request_id", "user_id", "time"]).take(pa.array(request_row))
    by_candidate = cells.take(pa.array(candidate))
    table = pa.table(
        {
            "row": np.arange(len(candidate)),
            "request_id": by_request["request_id"],
            "user_id": by_request["user_id"],
            "item_id": by_candidate.field("item_id"),
            "time": by_request["time"],
            "position": by_candidate.field("position"),
            "score": by_candidate.field("score"),
        },
        schema=IMPRESSION_SCHEMA,
    )
    return Impressions(
        table, requests, request_row, candidate, len(records) - len(requests), len(cells) - len(candidate)
    )


def labels_of(attributions: pa.Table, count: int, goals: Mapping[str, Goal]) -> dict[str, pa.Array]:
    """{goal: int8[count], null where unknown} from a table of ATTRIBUTION_SCHEMA."""
    rows, delays = attributions["row"].to_numpy(), attributions["delay"].to_numpy()
    reached = {}
    for name, goal in goals.items():
        is_hit = pc.equal(attributions["type"], goal.event).to_numpy() & (delays <= goal.window_ms)
        reached[name] = np.zeros(count, np.bool_)
        reached[name][rows[is_hit]] = True
    return {
        name: pa.array(reached[name].astype(np.int8), mask=None if goal.given is None else ~reached[goal.given])
        for name, goal in goals.items()
    }


def build_table(
    impressions: Impressions,
    labels: Mapping[str, pa.Array],
    items: pa.Table | None,
    types: Mapping[str, pa.DataType],
) -> tuple[pa.Table, int]:
    """The table of Samples, and how many impressions were left out because `items` lacks their item."""
    base = impressions.table
    columns: dict[str, Any] = {name: base[name] for name in ("request_id", "time", "user_id", "item_id")}
    columns |= {name: base[name] for name in ("position", "score")}
    columns |= {LABEL_PREFIX + goal: values for goal, values in labels.items()}
    request_row, candidate = pa.array(impressions.request_row), pa.array(impressions.candidate)
    for side in ("user", "context"):
        _add(
            columns,
            side,
            {n: a.take(request_row) for n, a in request_arrays(impressions.requests, side, types).items()},
        )
    by_candidate = candidate_arrays(impressions.requests, types)
    _add(columns, "candidate", {name: array.take(candidate) for name, array in by_candidate.items()})
    item_columns, known = item_columns_of(impressions.requests, base["item_id"], impressions.candidate, items)
    _add(columns, "item", item_columns)
    table = pa.table(columns)
    return (table, 0) if known.all() else (table.filter(pa.array(known)), int((~known).sum()))


def _distinct_requests(records: pa.Table) -> pa.Table:
    """The first record of each request_id by (time, row), in the order of (time, request_id)."""
    keys = records.select(["request_id", "time"]).append_column("row", pa.array(np.arange(len(records))))
    order = [("request_id", "ascending"), ("time", "ascending"), ("row", "ascending")]
    keys = keys.take(pc.sort_indices(keys, sort_keys=order)).combine_chunks()
    ids = keys["request_id"]
    is_first = np.ones(len(keys), np.bool_)
    is_first[1:] = pc.not_equal(ids.slice(1), ids.slice(0, max(len(ids) - 1, 0))).to_numpy() if len(ids) else True
    keys = keys.filter(pa.array(is_first)).sort_by([("time", "ascending"), ("request_id", "ascending")])
    return records.take(keys["row"]).combine_chunks()


def _shown(request_row: I64, cells: pa.StructArray) -> I64:
    """Indices of the candidates that were shown, rising; of an item twice in a request the one of the best position."""
    positions = cells.field("position")
    shown = np.flatnonzero(positions.is_valid().to_numpy(zero_copy_only=False))
    item = cells.field("item_id").dictionary_encode().indices.to_numpy(zero_copy_only=False)[shown]
    place = positions.fill_null(0).to_numpy(zero_copy_only=False)[shown]
    request = request_row[shown]
    order = np.lexsort((shown, place, item, request))
    is_first = np.ones(len(order), np.bool_)
    is_first[1:] = (np.diff(request[order]) != 0) | (np.diff(item[order]) != 0)
    return np.sort(shown[order[is_first]])


def _add(columns: dict[str, Any], side: str, arrays: Mapping[str, Any]) -> None:
    """Add one side's columns to the table's."""
    for name, array in arrays.items():
        if name == f"{side}_id":  # the features' own column of the id, of the type that they saw
            if not _agree(array, columns[name]):
                raise DataError(f"column {name!r} of the {side} side disagrees with the record's {name}")
        elif name in columns:
            taken = name in BOOKKEEPING or name.startswith(LABEL_PREFIX)
            problem = "is the name of a column of the samples" if taken else "is on two sides"
            raise DataError(
                f"{side} column {name!r} {problem}", hint="Rename the column and the features that read it."
            )
        columns[name] = array


def _agree(array: Any, ids: Any) -> bool:
    """The cells are missing or equal to the ids as text."""
    if pa.types.is_nested(array.type):
        return False
    return bool(pc.all(pc.equal(array.cast(pa.string()), ids).fill_null(True)).as_py())


def _check_schema(table: pa.Table, schema: pa.Schema, name: str) -> None:
    if not table.schema.equals(schema):
        raise DataError(f"the table of {name} has the columns {table.column_names}", hint=f"Read it with read_{name}.")
