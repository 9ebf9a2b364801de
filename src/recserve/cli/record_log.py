"""Served records of the server, as the sample join reads them.

Axes: K items of an answer.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from operator import itemgetter
from typing import Any, Final
from zlib import crc32

import numpy as np

from recserve.samples.records import ServedRecord as LoggedRecord
from recserve.samples.writer import RecordWriter
from recserve.serving.candidates import ITEM_ID
from recserve.serving.contract import Cells, ServedRecord

_HASHES: Final = 1 << 32
_log: Final = logging.getLogger("recserve.cli")


class RecordLog:
    """A `RecordSink` that appends to a folder of record files.

    Args:
        writer: queues and writes.
        user_id_column: user column that holds the user's id.
        rate: share of the requests that is kept, 0 to 1; their ids decide, so that every replica keeps the same.
    """

    def __init__(self, writer: RecordWriter, user_id_column: str = "user_id", rate: float = 1.0) -> None:
        self._writer = writer
        self._user_id_column = user_id_column
        self._below = round(rate * _HASHES)

    def write(self, record: ServedRecord) -> None:
        """Queue a record, if it is drawn; a full queue drops it."""
        if self._below < _HASHES and crc32(record.request_id.encode("utf-8", "surrogatepass")) >= self._below:
            return
        self._writer.write(to_logged(record, self._user_id_column))

    def close(self) -> None:
        """Complete the open file, and say in the log what was lost."""
        self._writer.close()
        if lost := self._writer.dropped + self._writer.failed:
            _log.warning("%d of %d served records were lost", lost, lost + self._writer.written)


def to_logged(record: ServedRecord, user_id_column: str) -> LoggedRecord:
    """The record in the order of the answer: candidate and inline item columns follow the K items returned."""
    user_id = record.user.get(user_id_column)
    inline, item_columns = _inline(record)
    return LoggedRecord(
        request_id=record.request_id,
        time=record.time_us // 1000,
        user_id=None if user_id is None else str(user_id),
        user=record.user,
        context=record.context or {},
        item_ids=record.item_ids,
        scores=record.scores,
        outputs=record.outputs,
        candidate_columns=_candidate_columns(record),
        inline=inline,
        item_columns=item_columns,
        model_name=record.model,
        model_version=str(record.version),
        table_epoch=record.table_epoch,
        item_epoch=record.item_epoch,
    )


def _candidate_columns(record: ServedRecord) -> dict[str, Cells]:
    if not isinstance(record.candidates, Mapping) or len(record.candidates) == 1:
        return {}
    order = list(record.positions)
    return {name: _pick(cells, order) for name, cells in record.candidates.items() if name != ITEM_ID}


def _pick(cells: Cells, order: list[int]) -> Cells:
    if isinstance(cells, np.ndarray):
        return cells[order]
    return itemgetter(*order)(cells) if len(order) > 1 else [cells[i] for i in order]


def _inline(record: ServedRecord) -> tuple[list[int], dict[str, list[Any]]]:
    items = record.items or {}
    inline = [place for place, item in enumerate(record.item_ids) if item in items] if items else []
    rows = [items[record.item_ids[place]] for place in inline]
    names = dict.fromkeys(name for row in rows for name in row)
    return inline, {name: [row.get(name) for row in rows] for name in names}
