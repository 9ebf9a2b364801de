"""Rank requests and answers as Arrow."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.errors import DataError, RequestError
from recserve.serving.arrow_rank import CONTENT_TYPE, read_document, write_answer

RANK = "/v1/models/rank:rank"


def stream(columns: dict[str, Any], metadata: dict[str, str] | None = None) -> bytes:
    batch = pa.record_batch(columns).replace_schema_metadata(metadata or {})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def request() -> bytes:
    fields = {"recserve": json.dumps({"top_k": 2, "request_id": "q"})}
    clicks = pa.array([[("acme", 3.0)]], pa.map_(pa.string(), pa.float64()))
    return (
        stream({"item_id": ["a", "b", "c"], "recall": [0.5, None, 0.25]}, fields)
        + stream({"age": [3], "clicks": clicks}, {"recserve.part": "user"})
        + stream({"hour": [20]}, {"recserve.part": "context"})
        + stream({"item_id": ["b"], "price": [1.5]}, {"recserve.part": "items"})
    )


def test_streams_say_what_json_says() -> None:
    assert read_document(request(), 10) == {
        "top_k": 2,
        "request_id": "q",
        "candidates": {"item_id": ["a", "b", "c"], "recall": [0.5, None, 0.25]},
        "user": {"age": 3, "clicks": {"acme": 3.0}},
        "context": {"hour": 20},
        "items": {"b": {"price": 1.5}},
    }


def test_a_server_answers_arrow_with_arrow(server: Any, ranker: Any) -> None:
    headers = {"Content-Type": CONTENT_TYPE, "Accept": CONTENT_TYPE}
    with server.client() as client:
        reply = client.post(RANK, content=request(), headers=headers)
        in_json = client.post(RANK, content=request(), headers={"Content-Type": CONTENT_TYPE})
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == CONTENT_TYPE
    table = pa.ipc.open_stream(reply.content).read_all()
    assert table.to_pydict() == {
        "item_id": ["a", "b"],
        "score": [3.0, 2.0],
        "position": [0, 1],
        "output.ctr": [np.float32(0.3), np.float32(0.2)],
    }
    rest = json.loads(table.schema.metadata[b"recserve"])
    assert rest["model"]["version"] == 7
    assert rest["request_id"] == "q"
    assert in_json.json()["item_ids"] == ["a", "b"]
    assert ranker.calls[-1]["items"] == {"b": {"price": 1.5}}


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.integers(-(2**63), 2**63 - 1), st.none() | st.floats(allow_nan=False), st.none() | st.text()),
        min_size=1,
        max_size=20,
    )
)
def test_any_columns_read_as_they_were_written(rows: list[tuple[Any, ...]]) -> None:
    ids, numbers, texts = map(list, zip(*rows, strict=True))
    columns = {"item_id": ids, "x": pa.array(numbers, pa.float64()), "y": pa.array(texts, pa.string())}
    plain = {"item_id": ids, "x": numbers, "y": texts}
    assert read_document(stream(columns), 100)["candidates"] == plain
    coded = {**columns, "y": pa.array(texts, pa.string()).dictionary_encode()}
    assert read_document(stream(coded), 100)["candidates"] == plain


@settings(max_examples=50)
@given(
    st.sampled_from([pa.int8(), pa.int64(), pa.uint64(), pa.float16(), pa.float32(), pa.float64()]),
    st.lists(
        st.none() | st.lists(st.none() | st.integers(0, 5), min_size=2, max_size=2) | st.lists(st.just(1), max_size=2),
        min_size=1,
        max_size=5,
    ),
    st.integers(0, 2),
)
def test_lists_of_numbers_read_as_they_were_written(kind: Any, rows: list[Any], skipped: int) -> None:
    rows = [None if row is None else [None if n is None else np.float16(n) for n in row] for row in rows]
    array = pa.array(rows, pa.list_(pa.float16())).cast(pa.list_(kind)).slice(min(skipped, len(rows) - 1))
    forms = [array, array.cast(pa.large_list(kind))]
    if all(row is None or len(row) == 2 for row in array.to_pylist()):
        forms.append(array.cast(pa.list_(kind, 2)))
    for form in forms:
        got = read_document(stream({"item_id": [str(n) for n in range(len(form))], "x": form}), 100)["candidates"]["x"]
        assert repr(got if isinstance(got, list) else got.tolist()) == repr(form.to_pylist())


@pytest.mark.parametrize("kind", [pa.int32(), pa.float32(), pa.float64()])
def test_rows_of_numbers_of_one_width_become_arrays(kind: Any) -> None:
    columns = {"item_id": ["a", "b"], "x": pa.array([[1, 2], [3, 4]], pa.list_(kind, 2))}
    for x in (columns["x"], columns["x"].cast(pa.list_(kind))):
        got = read_document(stream({**columns, "x": x}), 10)["candidates"]["x"]
        assert (got.dtype, got.tolist()) == (kind.to_pandas_dtype(), [[1, 2], [3, 4]])
        assert got.flags.owndata


def test_outputs_of_several_values_are_lists() -> None:
    document = {"item_ids": [1, 2], "scores": np.ones(2, np.float32), "outputs": {"p": np.arange(6).reshape(2, 3)}}
    table = pa.ipc.open_stream(write_answer({**document, "rest": 1}, [1, 0])).read_all()
    assert table.column("output.p").to_pylist() == [[0, 1, 2], [3, 4, 5]]
    assert json.loads(table.schema.metadata[b"recserve"]) == {"rest": 1}


def test_an_answer_without_items_is_a_stream_too() -> None:
    empty = np.empty(0, np.float32)
    content = write_answer({"item_ids": [], "scores": empty, "outputs": {"p": empty}}, [])
    assert pa.ipc.open_stream(content).read_all().num_rows == 0


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "body: expected 1 to 4 Arrow IPC streams"),
        (b"what", "stream 0: not Arrow"),
        (request()[:200], "stream 0: not Arrow"),
        (request() + b"x" * 8, "stream 4: not Arrow"),
        (stream({"item_id": ["a"]}) * 2, "stream 1: part '' is unknown or there already. Parts: user, context, items."),
        (stream({"item_id": ["a"]}, {"recserve": "{"}), "metadata 'recserve': not JSON"),
        (stream({"item_id": ["a"]}, {"recserve": "[]"}), "metadata 'recserve': expected an object without candidates"),
        (stream({"item_id": ["a"] * 6}), "candidates: 6 rows of candidates, the limit is 5"),
    ],
)
def test_what_is_no_request_is_told(body: bytes, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_document(body, 5)
    assert message in str(caught.value)


def test_a_user_of_two_rows_is_told() -> None:
    body = stream({"item_id": ["a"]}) + stream({"age": [1, 2]}, {"recserve.part": "user"})
    with pytest.raises(DataError, match="user: 2 rows, where one is expected"):
        read_document(body, 5)


@settings(max_examples=100)
@given(st.data())
def test_damaged_streams_are_refused_or_read_and_never_crash(data: st.DataObject) -> None:
    body = bytearray(request())
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        read_document(bytes(body), 10)
    except RequestError:
        return
