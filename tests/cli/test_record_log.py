from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recserve.cli.record_log import RecordLog, to_logged
from recserve.samples.records import decode_records, encode_record, read_records
from recserve.samples.writer import RecordWriter
from recserve.serving.contract import ServedRecord


def served(**changes: Any) -> ServedRecord:
    fields: dict[str, Any] = {
        "request_id": "q",
        "time_us": 1_700_000_000_123_456,
        "model": "rank",
        "version": 7,
        "table_epoch": 3,
        "item_epoch": 5,
        "user": {"user_id": 42, "age": 30},
        "context": None,
        "candidates": ["a", "b", "c"],
        "items": None,
        "top_k": 2,
        "item_ids": ["c", "a"],
        "positions": [2, 0],
        "scores": np.array([0.9, 0.1], np.float32),
        "outputs": {"ctr": np.array([0.5, 0.25], np.float32)},
        "unknown_items": [],
    }
    return ServedRecord(**(fields | changes))


def test_columns_of_candidates_and_inline_items_follow_the_answer() -> None:
    logged = to_logged(
        served(
            candidates={"item_id": ["a", "b", "c"], "recall": [1.0, 2.0, 3.0], "tags": [["x"], [], ["y", "z"]]},
            items={"a": {"price": 5}, "b": {"price": 6, "brand": "k"}},
        ),
        "user_id",
    )
    assert list(logged.item_ids) == ["c", "a"]
    assert {name: list(cells) for name, cells in logged.candidate_columns.items()} == {
        "recall": [3.0, 1.0],
        "tags": [["y", "z"], ["x"]],
    }
    assert (logged.inline, logged.item_columns) == ([1], {"price": [5]})
    assert (logged.time, logged.user_id, logged.model_version) == (1_700_000_000_123, "42", "7")


@pytest.mark.parametrize("count", [0, 1, 2])
def test_an_answer_of_any_length_has_its_candidate_columns(count: int) -> None:
    record = served(
        candidates={"item_id": [1, 2, 1], "recall": [7, 8, 9]},
        item_ids=[1, 2][:count],
        positions=[2, 1][:count],
        scores=np.zeros(count, np.float32),
        outputs={},
    )
    assert list(to_logged(record, "user_id").candidate_columns["recall"]) == [9, 8][:count]  # the second 1


@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.float64])
def test_rows_of_numbers_are_logged_as_their_lists(count: int, dtype: Any) -> None:
    rows = np.array([[1, 0.1], [2, 0.2], [3, np.inf if dtype == np.float64 else 7]]).astype(dtype)
    texts = []
    for cells in (rows, rows.tolist()):
        record = served(
            candidates={"item_id": ["a", "b", "c"], "x": cells},
            item_ids=["c", "a"][:count],
            positions=[2, 0][:count],
            scores=np.zeros(count, np.float32),
            outputs={},
        )
        texts.append(encode_record(to_logged(record, "user_id")).sides["candidate_columns"])
    assert texts[0] == texts[1]


def test_a_user_without_an_id_is_anonymous() -> None:
    assert to_logged(served(user={}), "user_id").user_id is None
    assert to_logged(served(user={"member": "m1"}), "member").user_id == "m1"


def test_what_was_served_can_be_read_back(tmp_path: Path) -> None:
    log = RecordLog(RecordWriter(tmp_path))
    log.write(served(candidates={"item_id": ["a", "b", "c"], "recall": [1.0, 2.0, 3.0]}))
    log.close()
    (record,) = decode_records(read_records(tmp_path))
    assert record.request_id == "q"
    assert record.item_ids == ["c", "a"]
    assert record.user == {"user_id": 42, "age": 30}
    assert list(record.candidate_columns["recall"]) == [3.0, 1.0]
    assert (record.model_name, record.model_version, record.table_epoch, record.item_epoch) == ("rank", "7", 3, 5)


def test_lost_records_are_counted_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = RecordLog(RecordWriter(tmp_path))
    log.write(served())
    log.write(served(user={"user_id": "u", "x": object()}))
    with caplog.at_level(logging.WARNING):
        log.close()
    assert "1 of 2 served records were lost" in caplog.text


def test_a_share_of_the_requests_is_kept_and_their_ids_decide(tmp_path: Path) -> None:
    kept = []
    for replica in ("a", "b"):
        log = RecordLog(RecordWriter(tmp_path / replica), rate=0.5)
        for number in range(200):
            log.write(served(request_id=f"q{number}"))
        log.close()
        tables = [read_records(file) for file in sorted((tmp_path / replica).iterdir())]
        found = [request_id for table in tables for request_id in table["request_id"].to_pylist()]
        kept.append(set(found))
    assert kept[0] == kept[1]
    assert 60 < len(kept[0]) < 140
