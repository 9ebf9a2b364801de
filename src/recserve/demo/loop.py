"""Close the loop: read the server's log back as samples, and hold their features to those that were served.

Axes: K items of the answer.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recserve.columns import Ragged
from recserve.demo.live import LiveAnswer, LiveRequest
from recserve.demo.model import Judged
from recserve.demo.report import LoopCheck
from recserve.demo.sources import Source
from recserve.errors import DataError
from recserve.samples.duckdb import join
from recserve.samples.events import EVENT_SCHEMA, read_events, write_events
from recserve.samples.records import read_records
from recserve.samples.sampleset import Samples

_FIELDS: Final = ("values", "lengths", "weights", "key_lengths", "seq_lengths")
_WAIT_S: Final = 20.0
_DELAY_MS: Final = 30_000


def close_loop(
    source: Source, judged: Judged, request: LiveRequest, answer: LiveAnswer, *, sent: int, folder: Path
) -> LoopCheck:
    """Log what the user did with the answer, join it with the server's record, and compare features and scores.

    The record goes through the log, the join and Arrow; the request goes through lists and dicts. The plan is one.

    Args:
        source: of the items and goals.
        judged: the trained model and its plan.
        request: what was asked.
        answer: what the server said.
        sent: requests that the log has to hold.
        folder: where `live/` holds the records.
    """
    records = wait_for_records(folder / "live" / "records", sent)
    record = records.filter(pc.equal(records["request_id"], request.request_id))
    act_on(source.event, record, answer.item_ids[0], folder / "live" / "events.ndjson")
    samples = join(record, read_events(folder / "live" / "events.ndjson"), source.goals, items=source.items)
    plan = judged.features.compile()
    logged = plan.run(samples.columns)
    served = plan.run(raw_columns(source, request, answer))
    order = _rows_of(samples, answer.item_ids)
    flat = judged.model.predict(samples.columns)[source.goal][order]
    return LoopCheck(
        records=len(records),
        samples=len(samples),
        positives=int(np.nansum(samples.label(source.goal))),
        features=len(served),
        values=sum(_count(output) for output in served.values()),
        differing=differences(logged, served),
        score_gap=float(np.max(np.abs(flat - np.array(answer.outputs[source.goal])))),
    )


def wait_for_records(folder: Path, count: int) -> pa.Table:
    """The records of a log that a server still writes, once there are so many.

    Raises:
        DataError: they do not come.
    """
    deadline = time.monotonic() + _WAIT_S
    while True:
        found = read_records(folder)
        if len(found) >= count:
            return found
        if time.monotonic() > deadline:
            raise DataError(f"the log holds {len(found)} of {count} records", where=str(folder))
        time.sleep(0.1)


def act_on(event: str, record: pa.Table, item_id: str, file: Path) -> None:
    """Write the one event that follows the answer: the user takes the first item, half a minute later."""
    row = {
        "time": [record["time"][0].as_py() + _DELAY_MS],
        "user_id": [record["user_id"][0].as_py()],
        "item_id": [item_id],
        "type": [event],
        "request_id": [record["request_id"][0].as_py()],
        "value": [None],
    }
    write_events(pa.table(row, schema=EVENT_SCHEMA), file)


def raw_columns(source: Source, request: LiveRequest, answer: LiveAnswer) -> dict[str, list[Any]]:
    """The columns of the request as it was sent: one row of user and context, K rows of items."""
    columns: dict[str, list[Any]] = {name: [cell] for name, cell in {**request.user, **request.context}.items()}
    rows = pc.index_in(pa.array(answer.item_ids), value_set=source.items["item_id"].combine_chunks())
    shown = source.items.take(rows)
    return columns | {name: shown[name].to_pylist() for name in shown.column_names}


def differences(logged: Mapping[str, Any], served: Mapping[str, Any]) -> list[str]:
    """Names of the outputs that are not the same in type, layout and every bit."""
    return [name for name in served if name not in logged or not _same(logged[name], served[name])]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Ragged) and isinstance(other, Ragged):
        return all(_same(getattr(one, field), getattr(other, field)) for field in _FIELDS)
    if one is None or other is None:
        return one is other
    a, b = np.asarray(one), np.asarray(other)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def _count(output: Any) -> int:
    return len(output.values) if isinstance(output, Ragged) else int(output.size)


def _rows_of(samples: Samples, item_ids: list[str]) -> list[int]:
    rows = {item: row for row, item in enumerate(samples.table["item_id"].to_pylist())}
    return [rows[item] for item in item_ids]
