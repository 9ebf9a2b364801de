from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.errors import RequestError
from recserve.serving.h2o import build_h2o, input_columns, read_table
from recserve.signatures import Signature, TensorSpec

SPECS = [
    TensorSpec("len", "float32", (None,)),
    TensorSpec("kind", "string", (None, 1)),
    TensorSpec("n", "int32", (None,)),
    TensorSpec("is_new", "bool"),
    TensorSpec("v", "float64", (None, 2)),
]
SIGNATURE = Signature(
    "serving_default",
    {spec.name: spec for spec in SPECS},
    {"p": TensorSpec("p", "float32", (None, 2)), "name": TensorSpec("name", "string", (None,))},
)
FIELDS = ["v.1", "v.0", "len", "kind", "n", "is_new", "row"]
ROW = ["2", "1", "5.1", "a", "7", "true", "r1"]


class Table:
    """Answers p = (len, v.1) and its name."""

    name, version = "m", 3
    signatures = {"serving_default": SIGNATURE}  # noqa: RUF012 - as the protocol has it

    def run(self, signature: str, inputs: Any, outputs: Any = None) -> Any:
        assert (signature, outputs) == ("serving_default", None)
        names = np.array([kind[0] for kind in inputs["kind"]], object)
        return {"p": np.stack([inputs["len"], inputs["v"][:, 1].astype(np.float32)], axis=1), "name": names}

    def close(self) -> None: ...


@pytest.fixture
def score(serving_of: Any, call_app: Any) -> Any:
    app = build_h2o(serving_of(Table()))
    return lambda line, body=b"": call_app(app, *line.split(), body)


def test_a_table_is_scored(score: Any) -> None:
    reply = score("POST /model/score", {"fields": FIELDS, "rows": [ROW, ["4", "3", "", "b", 8, False, "r2"]]})
    assert reply.json() == {
        "id": "m-3",
        "fields": ["p.0", "p.1", "name"],
        "score": [["5.1", "2.0", "a"], ["NaN", "4.0", "b"]],
    }


def test_copied_columns_come_first_and_names_may_be_left_out(score: Any) -> None:
    asked = {"fields": FIELDS, "rows": [ROW], "includeFieldsInOutput": ["len", "row"], "noFieldNamesInOutput": True}
    assert score("POST /model/score", asked).json() == {"id": "m-3", "score": [["5.1", "r1", "5.1", "2.0", "a"]]}
    identified = score("POST /model/score", {"fields": FIELDS, "rows": [ROW], "idField": "row"}).json()
    assert (identified["fields"][0], identified["score"][0][0]) == ("row", "r1")


def test_pages_describe_the_model(score: Any) -> None:
    assert score("GET /model/id").body == b"m-3"
    schema = score("GET /model/schema").json()["schema"]
    assert [(field["name"], field["dataType"]) for field in schema["inputFields"]] == [
        ("len", "Float32"),
        ("kind", "Str"),
        ("n", "Int32"),
        ("is_new", "Bool"),
        ("v.0", "Float64"),
        ("v.1", "Float64"),
    ]
    assert [field["name"] for field in schema["outputFields"]] == ["p.0", "p.1", "name"]
    assert score("GET /model/capabilities").json() == ["SCORE"]
    assert score("POST /model/score", score("GET /model/sample_request").body).status == 200
    assert score("GET /model").status == 404


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"fields": FIELDS[:-1]}, 400, "$.rows[0]: 7 cells for 6 fields"),
        ({"rows": [5]}, 400, "$.rows[0]: no list for 7 fields"),
        ({"rows": []}, 400, "$.rows: 'rows' is no list of rows"),
        (
            {"fields": ["a", *FIELDS[1:]]},
            400,
            "$.fields: no field 'v.1'. The model takes len, kind, n, is_new, v.0, v.1.",
        ),
        ({"fields": 5}, 400, "$.fields: 'fields' is no list of texts"),
        ({"fields": ["a", "a"]}, 400, "$.fields: 'fields' names a column twice"),
        ({"includeFieldsInOutput": ["lem"]}, 400, "no field 'lem' to include. Did you mean 'len'?"),
        ({"rows": [["x", *ROW[1:]]]}, 400, "$.rows[*].v.1: a cell is no float64. Write numbers as text"),
        ({"rows": [[*ROW[:4], "1.5", *ROW[5:]]]}, 400, "$.rows[*].n: a cell is no int32"),
        ({"rows": [[*ROW[:4], str(2**40), *ROW[5:]]]}, 400, "$.rows[*].n: a cell is no int32"),
        ({"rows": [[*ROW[:3], [], *ROW[4:]]]}, 400, "$.rows: a cell is neither text nor number"),
        ({"requestShapleyValueType": "ORIGINAL"}, 501, "Shapley values are not supported"),
        ({"requestPredictionIntervals": True}, 501, "prediction intervals are not supported"),
    ],
)
def test_a_wrong_table_is_told(score: Any, change: dict[str, Any], status: int, message: str) -> None:
    reply = score("POST /model/score", {"fields": FIELDS, "rows": [ROW], **change})
    assert (reply.status, message in reply.json()["error"]) == (status, True), reply.body


@pytest.mark.parametrize(("body", "message"), [(b"{", "the body is no JSON"), (b"[]", "$: the body is no object")])
def test_a_body_is_a_json_object(score: Any, body: bytes, message: str) -> None:
    reply = score("POST /model/score", body)
    assert (reply.status, message in reply.json()["error"]) == (400, True)


def test_an_input_without_known_columns_is_no_table() -> None:
    wide = TensorSpec("x", "float32", (None, None))
    with pytest.raises(RequestError) as caught:
        input_columns(Signature("s", {"x": wide}, {}))
    assert str(caught.value) == "'x' has shape [None, None], which is no table"


CELLS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.just([])


@settings(max_examples=100)
@given(st.lists(st.lists(CELLS, min_size=5, max_size=8), max_size=3), st.lists(st.sampled_from(FIELDS), max_size=7))
def test_any_table_is_read_or_refused(rows: Any, fields: list[str]) -> None:
    body = json.dumps({"fields": [*FIELDS, *fields], "rows": rows, "idField": "row"}, ensure_ascii=True).encode()
    try:
        table = read_table(body, input_columns(SIGNATURE))
    except RequestError:
        return
    assert table.rows == len(rows)
