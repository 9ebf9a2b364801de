"""The join on DuckDB: one machine, all cores, spills to disk where memory ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import duckdb
import pyarrow as pa

from recserve.samples import join as rules
from recserve.samples.join import ATTRIBUTION_SCHEMA, Goal
from recserve.samples.sampleset import Samples

_ATTRIBUTE: Final = """
    WITH latest AS (
        -- ASOF picks any of several rows of one time; the greater request_id must win, which is the greater row.
        SELECT user_id, item_id, time, max(row) AS row FROM impressions GROUP BY user_id, item_id, time
    )
    SELECT i.row, e.type, e.time - i.time AS delay
    FROM events e JOIN impressions i
        ON i.request_id = e.request_id AND i.item_id = e.item_id AND i.user_id IS NOT DISTINCT FROM e.user_id
    WHERE e.time >= i.time
    UNION ALL
    SELECT i.row, e.type, e.time - i.time AS delay
    FROM (SELECT * FROM events WHERE request_id IS NULL) e ASOF JOIN latest i
        ON i.user_id = e.user_id AND i.item_id = e.item_id AND e.time >= i.time
"""


def join(
    records: pa.Table,
    events: pa.Table,
    goals: Mapping[str, Goal],
    *,
    items: pa.Table | None = None,
    types: Mapping[str, pa.DataType] | None = None,
) -> Samples:
    """`join.join` on DuckDB; see there."""
    return rules.join(records, events, goals, attribute, items=items, types=types)


def attribute(impressions: pa.Table, events: pa.Table) -> tuple[pa.Table, int]:
    """See `join.Attribute`."""
    with duckdb.connect() as connection:
        connection.register("impressions", impressions)
        connection.register("events", events)
        connection.execute(f"CREATE TEMP TABLE found AS {_ATTRIBUTE}")
        grouped = "SELECT row, type, min(delay) AS delay FROM found GROUP BY row, type ORDER BY row, type"
        attributions = connection.sql(grouped).to_arrow_table().cast(ATTRIBUTION_SCHEMA)
        counted = connection.execute("SELECT count(*) FROM found").fetchone()
    assert counted is not None
    return attributions, len(events) - int(counted[0])
