"""The slow, obvious twin of the join's `attribute` step: loops over dictionaries, one event at a time."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from recserve.samples.join import ATTRIBUTION_SCHEMA


def attribute(impressions: pa.Table, events: pa.Table) -> tuple[pa.Table, int]:
    """See `join.Attribute` and the rules in `join`'s docstring."""
    rows = impressions.to_pylist()
    shortest: dict[tuple[int, str], int] = {}
    unattributed = 0
    for event in events.to_pylist():
        impression = _impression_of(event, rows)
        if impression is None:
            unattributed += 1
            continue
        key = (impression["row"], event["type"])
        delay = event["time"] - impression["time"]
        shortest[key] = min(delay, shortest.get(key, delay))
    found = [{"row": row, "type": kind, "delay": delay} for (row, kind), delay in sorted(shortest.items())]
    return pa.Table.from_pylist(found, schema=ATTRIBUTION_SCHEMA), unattributed


def _impression_of(event: dict[str, Any], impressions: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The one impression that an event belongs to, or None."""
    if event["user_id"] is None and event["request_id"] is None:
        return None
    fitting = [
        impression
        for impression in impressions
        if impression["item_id"] == event["item_id"]
        and impression["user_id"] == event["user_id"]
        and impression["time"] <= event["time"]
        and event["request_id"] in (None, impression["request_id"])
    ]
    return max(fitting, key=lambda impression: (impression["time"], impression["request_id"]), default=None)
