import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recserve.errors import DataError
from recserve.samples.events import EVENT_SCHEMA, read_events, write_events

EVENTS = pa.Table.from_pylist(
    [
        {"time": 5, "user_id": "u", "item_id": "1", "type": "click", "request_id": "r", "value": 1.5},
        {"time": 4, "user_id": "u", "item_id": "1", "type": "buy", "request_id": None, "value": None},
        {"time": 4, "user_id": None, "item_id": "1", "type": "buy", "request_id": "r", "value": None},
    ],
    schema=EVENT_SCHEMA,
)


@pytest.mark.parametrize("name", ["events.ndjson", "events.parquet"])
def test_events_come_back_from_a_file_or_its_folder(tmp_path, name):
    write_events(EVENTS, tmp_path / name)
    assert read_events(tmp_path / name).equals(EVENTS)
    assert read_events(tmp_path).equals(EVENTS)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_integer_ids_become_text(tmp_path):
    (tmp_path / "e.jsonl").write_bytes(b'{"time": 1, "user_id": 7, "item_id": 8, "type": "click"}\n\n')
    assert read_events(tmp_path).to_pylist()[0] | {"time": 1} == {
        "time": 1, "user_id": "7", "item_id": "8", "type": "click", "request_id": None, "value": None,
    }  # fmt: skip
    pq.write_table(pa.table({"time": [1], "user_id": [7], "item_id": [8], "type": ["click"]}), tmp_path / "f.parquet")
    assert read_events(tmp_path / "f.parquet").equals(read_events(tmp_path / "e.jsonl"))


GOOD = {"time": 1, "user_id": "u", "item_id": "i", "type": "click"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tpye": "x"}, r"e\.ndjson:2: unknown field 'tpye'. Did you mean 'type'?"),
        ({"time": 1.5}, "time is 1.5. Give milliseconds since 1970 UTC, an integer from 0."),
        ({"time": -1}, "time is -1"),
        ({"time": True}, "time is True"),
        ({"item_id": None}, "item_id is None. Give a text or an integer."),
        ({"user_id": 1.5}, "user_id is 1.5. Give a text or an integer."),
        ({"type": ""}, "type is ''. Give a text such as 'click'."),
        ({"request_id": 5}, "request_id is 5. Give a text, or leave it out."),
        ({"user_id": None}, "has neither user_id nor request_id"),
        ({"value": "x"}, "value is 'x'. Give a number, or leave it out."),
    ],
)
def test_a_wrong_event_names_file_and_line(tmp_path, changes, message):
    (tmp_path / "e.ndjson").write_bytes(orjson.dumps(GOOD) + b"\n" + orjson.dumps(GOOD | changes) + b"\n")
    with pytest.raises(DataError, match=message):
        read_events(tmp_path)


@pytest.mark.parametrize(
    ("line", "message"), [(b'{"time"', r"e\.ndjson:1: is not JSON"), (b"3", "is int, not an object")]
)
def test_a_line_that_is_no_object_is_an_error(tmp_path, line, message):
    (tmp_path / "e.ndjson").write_bytes(line)
    with pytest.raises(DataError, match=message):
        read_events(tmp_path)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"itemid": ["i"]}, "unknown column 'itemid'. Did you mean 'item_id'?"),
        ({"time": [1]}, "misses the column 'item_id'"),
        ({"time": [1], "item_id": [None], "type": ["a"]}, "row 0: item_id is missing"),
        ({"time": ["x"], "item_id": ["i"], "type": ["a"]}, "column 'time' is no int64"),
        (
            {"time": [1, 2], "item_id": ["i", "i"], "type": ["a", "a"], "user_id": ["u", None]},
            "row 1: has neither user_id",
        ),
    ],
)
def test_a_wrong_parquet_file_names_file_and_row(tmp_path, columns, message):
    pq.write_table(pa.table(columns), tmp_path / "e.parquet")
    with pytest.raises(DataError, match=message):
        read_events(tmp_path)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="there is no such file or folder"):
        read_events(tmp_path / "none")
    (tmp_path / "a.csv").write_text("")
    with pytest.raises(DataError, match=r"is neither \.ndjson, \.jsonl nor \.parquet"):
        read_events(tmp_path / "a.csv")
    with pytest.raises(DataError, match=r"b\.csv: is neither \.ndjson nor \.parquet"):
        write_events(EVENTS, tmp_path / "b.csv")
    (tmp_path / "a.parquet").write_text("x")
    with pytest.raises(DataError, match="is not a readable Parquet file"):
        read_events(tmp_path / "a.parquet")
