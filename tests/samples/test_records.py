import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recserve.errors import DataError
from recserve.samples.records import (
    RECORD_SCHEMA,
    ServedRecord,
    decode_records,
    encode_record,
    parse_line,
    read_records,
    rows_to_table,
)

USER = {"age": 30, "tags": ["a", "b"], "steps": [[1], [2, 3]], "counts": {"c1": 2.0}, "by_id": {7: 0.1}, "city": None}


def a_record(**changes) -> ServedRecord:
    fields = {
        "request_id": "r1",
        "time": 1_700_000_000_000,
        "user_id": "u1",
        "user": USER,
        "context": {"hour": 12},
        "item_ids": ["i1", 2, "i3"],
        "scores": np.array([0.9, np.nan, 0.1], np.float32),
        "positions": [1, -1, 0],
        "outputs": {"ctr": np.array([0.5, 0.25, 0.125], np.float32)},
        "candidate_columns": {"recall_score": np.array([0.1, 0.2, 0.3])},
        "inline": [1],
        "item_columns": {"price": [9.5]},
        "model_name": "rank",
        "model_version": "7",
        "table_epoch": 3,
        "item_epoch": 4,
    }
    return ServedRecord(**(fields | changes))


def written(record, tmp_path, kind):
    row = encode_record(record)
    if kind == "ndjson":
        (tmp_path / "a.ndjson").write_bytes(row.line())
    else:
        pq.write_table(rows_to_table([row]), tmp_path / "a.parquet")
    return read_records(tmp_path)


@pytest.mark.parametrize("kind", ["ndjson", "parquet"])
def test_a_record_comes_back_from_a_file(tmp_path, kind):
    table = written(a_record(), tmp_path, kind)
    assert table.schema.equals(RECORD_SCHEMA)
    (back,) = decode_records(table)
    assert (back.request_id, back.time, back.user_id) == ("r1", 1_700_000_000_000, "u1")
    assert dict(back.user) == USER
    assert dict(back.context) == {"hour": 12}
    assert back.item_ids == ["i1", "2", "i3"]
    np.testing.assert_array_equal(back.scores, np.array([0.9, np.nan, 0.1], np.float32).astype(np.float64))
    assert back.positions.tolist() == [1, -1, 0]
    assert back.outputs["ctr"].tolist() == [0.5, 0.25, 0.125]
    assert dict(back.candidate_columns) == {"recall_score": [0.1, 0.2, 0.3]}
    assert back.inline.tolist() == [1]
    assert dict(back.item_columns) == {"price": [9.5]}
    assert (back.model_name, back.model_version, back.table_epoch, back.item_epoch) == ("rank", "7", 3, 4)


def test_both_formats_hold_the_same_table(tmp_path):
    (tmp_path / "n").mkdir()
    (tmp_path / "p").mkdir()
    record = a_record(user={"x": float("nan"), "y": 1.0, "z": 1}, user_id=None)
    assert written(record, tmp_path / "n", "ndjson").equals(written(record, tmp_path / "p", "parquet"))


def test_without_positions_the_candidates_were_shown_in_order():
    assert encode_record(a_record(positions=None)).positions.tolist() == [0, 1, 2]


def test_a_request_without_candidates_is_a_record(tmp_path):
    record = a_record(
        item_ids=[], scores=[], positions=None, outputs={}, candidate_columns={}, inline=(), item_columns={}
    )
    assert read_one(written(record, tmp_path, "ndjson")).item_ids == []


def read_one(table):
    (record,) = decode_records(table)
    return record


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": [1.0]}, r"record 'r1': scores: has the shape \[1\] for 3 candidates"),
        ({"scores": ["a", "b", "c"]}, r"record 'r1': scores: holds <U1 values. Give numbers."),
        ({"scores": [None, "b", 1.0]}, r"scores: holds \[None, 'b', 1.0\]. Give numbers."),
        ({"positions": [0.5, 1, 2]}, r"positions: holds \[0.5, 1.0, 2.0\]. Give integers that fit 32 bits."),
        ({"positions": [0, 1, 2**40]}, r"Give integers that fit 32 bits."),
        ({"outputs": {"ctr": [[1.0]]}}, r"outputs of 'ctr': has the shape \[1, 1\] for 3 candidates"),
        ({"candidate_columns": {"a": [1]}}, r"candidate_columns: column 'a' has 1 cells for 3 candidates"),
        ({"candidate_columns": {"a": "xyz"}}, r"column 'a' has str cells for 3 candidates"),
        ({"item_columns": {"a": [1, 2]}}, r"item_columns: column 'a' has 2 cells for 1 candidates"),
        ({"inline": [2, 1]}, r"inline is \[2, 1\]. Give rising indices below 3."),
        ({"inline": [3]}, r"inline is \[3\]. Give rising indices below 3."),
        ({"inline": 3}, r"inline: has the shape \[\] for a list"),
        ({"time": -1}, r"record 'r1': time is -1. Give an integer from 0."),
        ({"time": True}, r"time is True"),
        ({"user_id": 5}, r"user_id is 5. Give a text."),
        ({"request_id": ""}, r"request_id is empty"),
        ({"user": {"x": b""}}, r"record 'r1': user: column 'x': a cell is bytes"),
    ],
)
def test_a_wrong_record_says_what_is_wrong(changes, message):
    with pytest.raises(DataError, match=message):
        encode_record(a_record(**changes))


def changed_line(**changes) -> bytes:
    row = orjson.loads(encode_record(a_record()).line())
    row |= changes
    return orjson.dumps({name: value for name, value in row.items() if value is not ...}, default=str)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", "f:3: is not JSON"),
        (b"[]", "f:3: is list, not an object"),
        (changed_line(schema=2), "f:3: has the record schema 2. This version of recserve reads schema 1."),
        (changed_line(modelname="x"), "unknown field 'modelname'. Did you mean 'model_name'?"),
        (changed_line(user=[]), "user is list, not an object"),
        (changed_line(candidates={"item_id": [1]}), "candidates.item_id is not a list of texts"),
        (changed_line(candidates={"item_id": ["a"]}), "candidates.position is not a list"),
        (changed_line(candidates={"item_id": ["a"], "position": [0]}), r"candidates.score: has the shape \[\] for 1"),
        (changed_line(time="1"), "time is '1'"),
        (changed_line(inline=["a"]), "inline: holds <U1 values"),
    ],
)
def test_a_wrong_line_says_what_is_wrong(line, message):
    with pytest.raises(DataError, match=message):
        parse_line(line, "f:3")


def test_a_line_without_a_field_says_which():
    row = orjson.loads(encode_record(a_record()).line())
    del row["outputs"]
    with pytest.raises(DataError, match="f:1: misses the field 'outputs'"):
        parse_line(orjson.dumps(row), "f:1")


def test_a_torn_last_line_is_left_out_of_an_open_file_only(tmp_path):
    line = encode_record(a_record()).line()
    (tmp_path / "a.ndjson.part").write_bytes(line + line[:40])
    assert len(read_records(tmp_path)) == 1
    (tmp_path / "a.ndjson.part").rename(tmp_path / "a.ndjson")
    with pytest.raises(DataError, match=r"a\.ndjson:2: ends within a line. The file is cut short"):
        read_records(tmp_path)


def test_a_damaged_line_within_an_open_file_is_an_error(tmp_path):
    line = encode_record(a_record()).line()
    (tmp_path / "a.ndjson.part").write_bytes(line + b"{\n" + line)
    with pytest.raises(DataError, match=r"a\.ndjson\.part:2: is not JSON"):
        read_records(tmp_path)


def test_a_damaged_parquet_file_is_an_error(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match=r"a\.parquet: is not a readable Parquet file"):
        read_records(tmp_path)


def test_a_parquet_file_of_another_schema_is_an_error(tmp_path):
    file = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": [1]}), file)
    with pytest.raises(DataError, match=r"a\.parquet: has the record schema None"):
        read_records(file)
    pq.write_table(pa.table({"x": [1]}, metadata={"recserve.record": "1"}), file)
    with pytest.raises(DataError, match="misses the column 'request_id'"):
        read_records(file)
    table = rows_to_table([encode_record(a_record())])
    wrong = table.set_column(1, "time", pa.array(["noon"])).replace_schema_metadata(table.schema.metadata)
    pq.write_table(wrong, file)
    with pytest.raises(DataError, match="is not of the schema of records"):
        read_records(file)


def test_a_missing_path_and_another_kind_of_file_are_errors(tmp_path):
    with pytest.raises(DataError, match="there is no such file or folder"):
        read_records(tmp_path / "none")
    (tmp_path / "a.csv").write_text("")
    with pytest.raises(DataError, match=r"a\.csv: is neither \.ndjson nor \.parquet"):
        read_records(tmp_path / "a.csv")
    assert len(read_records(tmp_path)) == 0
