from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recserve.errors import DataError
from recserve.store.sources import BATCH_ROWS, count_items, read_item_batches, table_of_rows


def test_parquet_ndjson_tables_and_rows_give_the_same_items(tmp_path: Path) -> None:
    rows = [{"item_id": "a", "price": 1.5}, {"item_id": "b", "price": None}]
    pq.write_table(pa.table({"item_id": ["a", "b"], "price": [1.5, None]}), tmp_path / "i.parquet")
    (tmp_path / "i.ndjson").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for source in (tmp_path / "i.parquet", str(tmp_path / "i.ndjson"), table_of_rows(rows), rows):
        batches = list(read_item_batches(source))
        assert [row for batch in batches for row in batch.to_pylist()] == rows


def test_batches_are_bounded_and_counted() -> None:
    table = pa.table({"item_id": pa.array(range(BATCH_ROWS + 1))})
    assert [len(batch) for batch in read_item_batches(table)] == [BATCH_ROWS, 1]
    assert count_items(table) == BATCH_ROWS + 1


def test_a_key_that_a_row_lacks_is_null() -> None:
    assert table_of_rows([{"item_id": 1}, {"item_id": 2, "tag": "x"}]).to_pylist()[0] == {"item_id": 1, "tag": None}


def test_counts_come_from_parquet_metadata(tmp_path: Path) -> None:
    pq.write_table(pa.table({"item_id": [1, 2, 3]}), tmp_path / "i.parquet")
    assert count_items(tmp_path / "i.parquet") == 3
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    assert count_items(tmp_path / "bad.parquet") is None
    assert count_items(tmp_path / "i.ndjson") is None


def fails(source: object) -> str:
    with pytest.raises(DataError) as caught:
        list(read_item_batches(source))  # type: ignore[arg-type]
    return str(caught.value)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert fails(tmp_path / "x.parquet") == f"{tmp_path}/x.parquet: there is no such file"
    assert "files ending in '.csv' cannot be read. Give a .parquet or .ndjson file" in fails(tmp_path / "x.csv")
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 and then nothing")
    assert "cannot be read" in fails(tmp_path / "cut.parquet")
    (tmp_path / "cut.ndjson").write_text('{"item_id": 1}\n{"item_')
    assert "Is it complete?" in fails(tmp_path / "cut.ndjson")
    (tmp_path / "latin.ndjson").write_bytes(b'{"item_id": "\xff"}\n')
    assert "cannot be read" in fails(tmp_path / "latin.ndjson")
    assert fails([{"itemid": 1}]) == "items: there is no column 'item_id'. Did you mean 'itemid'?"
    assert fails([{"item_id": 1}, {"item_id": "a"}]).startswith("items.item_id: cells of different types")
    assert fails([3]) == "items[0]: expected an object, got 3"
