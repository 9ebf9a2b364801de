from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recserve.columns import Ragged
from recserve.errors import DataError
from recserve.features.feature_set import FeatureSet
from recserve.features.files import METADATA, count_rows, extract_file, read_batches, to_arrow, to_table

CONFIG = {
    "features": [
        {"feature_type": "raw_feature", "feature_name": "price", "expression": "item:price"},
        {"feature_type": "id_feature", "feature_name": "brand", "expression": "item:brand", "hash_bucket_size": 100},
        {"feature_type": "id_feature", "feature_name": "text", "expression": "item:brand"},
    ]
}
ROWS = [{"price": float(n), "brand": ["a", "b\x1dc", None][n % 3]} for n in range(50)]


def plan(reference: bool = False) -> Any:
    return FeatureSet.from_fg_json(CONFIG).compile(reference=reference)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "raw.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=20)
    return path


def test_a_feature_becomes_a_column_of_its_own_shape() -> None:
    ids, key = np.array([7, 9, 4]), np.array([1, 2])
    assert to_arrow("d", np.array([[1, 2], [3, 4]], np.float32))["d"].to_pylist() == [[1.0, 2.0], [3.0, 4.0]]
    assert to_arrow("s", Ragged(ids, np.array([2, 1])))["s"].to_pylist() == [[7, 9], [4]]
    weighted = to_arrow("w", Ragged(ids, np.array([2, 1]), weights=np.array([1, 2, 3], np.float32)))
    assert weighted["w.weights"].to_pylist() == [[1.0, 2.0], [3.0]]
    sequence = Ragged(ids, np.array([3, 0]), key_lengths=key, seq_lengths=np.array([2, 0]))
    assert to_arrow("q", sequence)["q"].to_pylist() == [[[7], [9, 4]], []]
    dense = Ragged(np.array([[1], [2]], np.float32), np.array([0, 2]), seq_lengths=np.array([0, 2]))
    assert to_arrow("e", dense)["e"].to_pylist() == [[], [[1.0], [2.0]]]


def test_texts_that_are_not_utf8_can_be_written() -> None:
    tokens = Ragged(np.array(["a", "b\udcff"], object), np.array([1, 1]))
    assert to_arrow("t", tokens)["t"].to_pylist() == [["a"], ["b\ufffd"]]
    none = Ragged(np.array([], object), np.array([0]))
    assert to_arrow("t", none)["t"].type == pa.large_list(pa.large_string())


@pytest.mark.parametrize("batch_rows", [1, 7, 20, 1000])
@pytest.mark.parametrize("threads", [1, 3])
def test_batches_and_threads_do_not_change_what_is_written(
    source: Path, tmp_path: Path, batch_rows: int, threads: int
) -> None:
    out = tmp_path / "new" / "out.parquet"
    done = extract_file(plan(), source, out, batch_rows=batch_rows, threads=threads)
    assert (done.rows, done.columns) == (50, ("price", "brand", "text"))
    assert pq.read_table(out).replace_schema_metadata().equals(to_table(plan().run(pa.Table.from_pylist(ROWS))))
    assert list(out.parent.iterdir()) == [out]


def test_ndjson_gives_the_same_as_parquet(source: Path, tmp_path: Path) -> None:
    lines = tmp_path / "raw.ndjson"
    lines.write_text("\n\n".join(json.dumps({k: v for k, v in row.items() if v is not None}) for row in ROWS))
    for path in (source, lines):
        extract_file(plan(), path, tmp_path / f"{path.suffix}.out", batch_rows=8)
    assert pq.read_table(tmp_path / ".parquet.out").equals(pq.read_table(tmp_path / ".ndjson.out"))


def test_the_file_says_what_it_holds(source: Path, tmp_path: Path) -> None:
    extract_file(plan(), source, tmp_path / "out", digest="abc")
    found = orjson.loads(pq.read_schema(tmp_path / "out").metadata[METADATA])
    assert found == {
        "digest": "abc",
        "profile": "pyfg",
        "outputs": {"price": "dense", "brand": "sparse", "text": "sparse"},
    }


def test_progress_counts_rows(source: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    extract_file(plan(), source, tmp_path / "out", batch_rows=20, progress=lambda *counts: seen.append(counts))
    assert seen == [(20, 50), (40, 50), (50, 50)]
    assert count_rows(tmp_path / "none.parquet") is None
    assert count_rows(tmp_path / "none.ndjson") is None


@pytest.mark.parametrize("ending", ["parquet", "ndjson"])
def test_a_file_without_rows_gives_one_without_rows(tmp_path: Path, ending: str) -> None:
    path, out = tmp_path / f"raw.{ending}", tmp_path / "out"
    empty = pa.table({"price": pa.array([], pa.float64()), "brand": pa.array([], pa.string())})
    pq.write_table(empty, path) if ending == "parquet" else path.touch()
    assert [batch.rows for batch in read_batches(path, ["price", "brand"], 10)] == [0]
    assert extract_file(plan(), path, out).rows == 0
    assert pq.read_schema(out).names == ["price", "brand", "text"]


@pytest.mark.parametrize("reference", [False, True])
def test_a_bad_cell_is_told_by_file_place_and_row(tmp_path: Path, reference: bool) -> None:
    rows = [dict(row) | {"price": "1"} for row in ROWS]
    rows[33]["price"] = "abc"
    path, lines, out = tmp_path / "raw.parquet", tmp_path / "raw.jsonl", tmp_path / "out"
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=20)
    lines.write_text("\n" + "\n".join(map(json.dumps, rows)))
    cell = r"feature 'price', column 'price', row 33: 'abc' is not a number"
    with pytest.raises(DataError, match=rf"raw\.parquet, row group 1: {cell}"):
        extract_file(plan(reference), path, out, batch_rows=7)
    with pytest.raises(DataError, match=rf"raw\.jsonl, line 35: {cell}"):
        extract_file(plan(reference), lines, out, batch_rows=7)
    assert sorted(tmp_path.iterdir()) == [lines, path]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("x.parquet", "no", r"x\.parquet: cannot be read as Parquet"),
        ("x.ndjson", '{"price": 1,', r"x\.ndjson, line 1: is not JSON: unexpected end of data"),
        ("x.ndjson", "[1]", r"x\.ndjson, line 1: expected an object, got \[1\]"),
        ("x.ndjson", '{"prise": 1, "brand": 2}', r"column 'price' is missing. Did you mean 'prise'\?"),
    ],
)
def test_files_that_cannot_be_read_are_told(tmp_path: Path, name: str, content: str, problem: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=problem):
        extract_file(plan(), tmp_path / name, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_absent_files_columns_and_folders_are_told(source: Path, tmp_path: Path) -> None:
    for name in ("none.parquet", "none.ndjson"):
        with pytest.raises(DataError, match="cannot be read: No such file"):
            extract_file(plan(), tmp_path / name, tmp_path / "out")
    pq.write_table(pa.table({"price": [1.0]}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"x\.parquet: column 'brand' is missing. Columns: price"):
        extract_file(plan(), tmp_path / "x.parquet", tmp_path / "out")
    with pytest.raises(DataError, match=r"raw\.parquet/out: cannot be written: "):
        extract_file(plan(), source, source / "out")
