from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recserve.errors import RequestError
from recserve.serving.sagemaker.instances import wrap_csv, wrap_json


@pytest.mark.parametrize(
    ("body", "document"),
    [
        (b'{"instances": [1]}', {"instances": [1]}),
        (b'{"inputs" : {"x": 1}, "signature_name": "s"}', {"inputs": {"x": 1}, "signature_name": "s"}),
        (b'{"examples":[{"x":1}]}', {"examples": [{"x": 1}]}),
        (b"[1.0, 2.0]\n[3.0, 4.0]", {"instances": [[1, 2], [3, 4]]}),
        (b'{"x": 1}\r\n\r\n{"x": 2}\n', {"instances": [{"x": 1}, {"x": 2}]}),
        (b"[[1, 2], [3, 4]]", {"instances": [[1, 2], [3, 4]]}),
        (b"[1, 2]", {"instances": [[1, 2]]}),
        (b'{"junk": "data"}', {"instances": [{"junk": "data"}]}),
        (b"7", {"instances": [7]}),
    ],
)
def test_json_becomes_instances(body: bytes, document: Any) -> None:
    assert json.loads(wrap_json(body)) == document


@pytest.mark.parametrize(
    ("body", "instances"),
    [
        (b"1.0", [1]),
        (b"1.0\n2.0\r\n\n5.0\n", [1, 2, 5]),
        (b"0.0,2.0,5.0", [[0, 2, 5]]),
        (b"1.0, 2.0\n3.0,4.0", [[1, 2], [3, 4]]),
        (b"-1e3,2", [[-1000, 2]]),
        (b'"a",1\n"b",2', [["a", 1], ["b", 2]]),
        (b"a,b\nc,d", [["a", "b"], ["c", "d"]]),
        (b"a\nb", ["a", "b"]),
        (b'cat "x",1,2\n', [['cat "x"', "1", "2"]]),
        (b"Each,1", [["Each", "1"]]),
        (b"1st,2", [["1st", "2"]]),
    ],
)
def test_csv_without_a_header_becomes_instances(body: bytes, instances: Any) -> None:
    assert json.loads(wrap_csv(body)) == {"instances": instances}


@pytest.mark.parametrize(
    ("body", "problem"), [(b"\xff,a", "the CSV is not UTF-8"), (b'a,"b', "the CSV cannot be read")]
)
def test_text_that_is_no_csv_is_refused(body: bytes, problem: str) -> None:
    with pytest.raises(RequestError, match=problem):
        wrap_csv(body)


def rows_slowly(rows: list[list[float]]) -> list[Any]:
    return [row if len(row) > 1 else row[0] for row in rows]


@given(st.lists(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=4), min_size=1, max_size=5))
def test_rows_of_numbers_are_those_of_the_slow_one(rows: list[list[float]]) -> None:
    body = "\n".join(",".join(map(repr, row)) for row in rows).encode()
    assert json.loads(wrap_csv(body)) == {"instances": rows_slowly(rows)}
