from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recserve.errors import RequestError
from recserve.serving.mlflow.table_frame import MAX_COLUMNS, parse_csv, parse_parquet


def parquet(**columns: Any) -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(pa.table(columns), file)
    return file.getvalue()


def test_the_first_row_of_csv_names_the_columns() -> None:
    frame = parse_csv(b'a,b,c,d\n1,2.5,"x,\ny",\n2,,z,3\n')
    assert frame.is_table
    assert frame.columns["a"].tolist() == [1, 2]
    np.testing.assert_array_equal(frame.columns["b"], [2.5, np.nan])
    assert frame.columns["c"].tolist() == ["x,\ny", "z"]
    np.testing.assert_array_equal(frame.columns["d"], [np.nan, 3])


def test_columns_of_text_stay_text() -> None:
    frame = parse_csv(b"a,b\n01,2\n", frozenset({"a", "absent"}))
    assert frame.columns["a"].tolist() == ["01"]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "Failed to parse input as a Pandas DataFrame. Ensure that the input is a valid CSV-formatted"),
        (b"a,b\n1\n", "Failed to parse input as a Pandas DataFrame"),
        (b"a\n\xff\n", "Ensure that input is a valid UTF-8 encoded string"),
    ],
)
def test_what_is_no_csv_is_refused(body: bytes, problem: str) -> None:
    with pytest.raises(RequestError, match=problem):
        parse_csv(body)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_more_columns_than_any_model_has_are_refused_before_they_are_read(end: bytes) -> None:
    names = [b"c%d" % number for number in range(MAX_COLUMNS + 1)]
    problem = f"the CSV has {MAX_COLUMNS + 1} columns, the limit is {MAX_COLUMNS}. Send JSON or Parquet"
    with pytest.raises(RequestError, match=problem):
        parse_csv(b",".join(names) + end + b",".join([b"1"] * len(names)))
    rows = end.join([b"1,2"] * MAX_COLUMNS)  # cells are not counted
    assert parse_csv(b"a,b" + end + rows).columns["b"].tolist() == [2] * MAX_COLUMNS


def test_parquet_columns_of_every_kind() -> None:
    frame = parse_parquet(
        parquet(
            a=[1, 2],
            b=pa.array([0.5, None]),
            c=["x", None],
            d=[[1, 2], [3, 4]],
            e=pa.array(["k", "k"]).dictionary_encode(),
            f=[True, False],
            g=pa.array([1, 2], pa.date32()),
            __index_level_0__=[7, 8],
        )
    )
    columns = {name: values.tolist() for name, values in frame.columns.items()}
    assert columns.pop("b")[0] == 0.5
    assert columns == {
        "a": [1, 2],
        "c": ["x", None],
        "d": [[1, 2], [3, 4]],
        "e": ["k", "k"],
        "f": [True, False],
        "g": ["1970-01-02", "1970-01-03"],
    }


def test_what_is_no_parquet_is_refused() -> None:
    with pytest.raises(RequestError, match="a valid Parquet Pandas DataFrame"):
        parse_parquet(b"PAR1 no PAR1")
    with pytest.raises(RequestError, match="column 'd' holds lists of different lengths"):
        parse_parquet(parquet(d=[[1], [2, 3]]))


@given(st.binary(max_size=60))
def test_any_bytes_are_a_table_or_refused(body: bytes) -> None:
    for parse in (parse_csv, parse_parquet):
        with contextlib.suppress(RequestError):
            parse(body)
