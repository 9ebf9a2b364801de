from __future__ import annotations

import contextlib
import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recserve.errors import RequestError
from recserve.serving.messages import Limits, RankAnswer, RankCall, decode_rank, encode_rank

LIMITS = Limits(max_candidates=100)


def encode(make_ranker: Any, call: RankCall) -> Any:
    result = make_ranker().rank(call.user, call.context, call.candidates, top_k=call.top_k)
    return orjson.loads(encode_rank(RankAnswer("r1", result, {"rank": 2.5}), call))


def test_a_full_request_is_decoded() -> None:
    call = decode_rank(
        b'{"user":{"age":3},"context":{"hour":7},"candidates":[1,2],"top_k":1,"items":{"2":{"price":1}},'
        b'"request_id":"q","format":"rows","timings":true}',
        LIMITS,
    )
    assert call == RankCall({"age": 3}, {"hour": 7}, [1, 2], 1, {2: {"price": 1}}, "q", "rows", True)


def test_only_candidates_are_required() -> None:
    assert decode_rank(b'{"candidates":["a"]}', LIMITS) == RankCall({}, None, ["a"])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "body at 0 of 0: not JSON: Input is a zero-length, empty document"),
        (b'{"candidates": [1, 2', "body at 20 of 20: not JSON: unexpected end of data"),
        (b'{"candidates": [NaN]}', "body at 16 of 21: not JSON: unexpected character, expected a JSON value"),
        (b'{"user": {"x": -Infinity}}', "body at 16 of 26: not JSON: no digit after sign"),
        (b'{"user": "a\xff"}', "body at 11 of 14: not JSON: 0xff is not UTF-8 here"),
        (b'{"user": "\\ud800"}', "body at 10 of 18: not JSON: no low surrogate in string"),
        (b"[" * 5000, "body at 1025 of 5000: not JSON: depth limit exceeded"),
        (b"[]", '$: expected an object, got a list. Give {"user": ..., "candidates": ...}.'),
        (b"{}", "$: no 'candidates'. Say which items to rank."),
        (b'{"candidate":[1]}', "$: unknown field 'candidate'. Did you mean 'candidates'?"),
        (
            b'{"candidates":[1],"zzz":1}',
            "$: unknown field 'zzz'. Fields: user, context, candidates, top_k, items, request_id, format, timings, "
            "user_id, explain.",
        ),
    ],
)
def test_a_body_that_is_no_request_is_told_where_and_why(body: bytes, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        decode_rank(body, LIMITS)
    assert str(caught.value) == message


COLUMNS_HINT = 'Give {"column": value, ...}.'
TOP_K_HINT = "Leave it out to get all candidates."


@pytest.mark.parametrize(
    ("field", "value", "problem", "hint"),
    [
        ("user", b"[1]", "expected an object, got a list", COLUMNS_HINT),
        ("context", b"1", "expected an object, got an integer", COLUMNS_HINT),
        ("top_k", b"0", "expected an integer of at least 1, got 0", TOP_K_HINT),
        ("top_k", b"-3", "expected an integer of at least 1, got -3", TOP_K_HINT),
        ("top_k", b"2.5", "expected an integer of at least 1, got 2.5", TOP_K_HINT),
        ("top_k", b"true", "expected an integer of at least 1, got a boolean", TOP_K_HINT),
        ("top_k", b"1" + b"0" * 30, "expected an integer of at least 1, got 1e+30", TOP_K_HINT),
        ("request_id", b"7", "expected a string of 1 to 256 characters, got an integer", None),
        ("request_id", b'""', "expected a string of 1 to 256 characters, got 0 characters", None),
        ("format", b'"row"', "expected 'columns' or 'rows', got 'row'", "Did you mean 'rows'?"),
        ("format", b"2", "expected 'columns' or 'rows', got an integer", None),
        ("timings", b"1", "expected true or false, got an integer", None),
    ],
)
def test_a_wrong_field_is_told_with_its_value(field: str, value: bytes, problem: str, hint: str | None) -> None:
    with pytest.raises(RequestError) as caught:
        decode_rank(b'{"candidates":[1],"%s":%s}' % (field.encode(), value), LIMITS)
    assert (caught.value.where, caught.value.problem, caught.value.hint) == (f"$.{field}", problem, hint)


def dump(value: object) -> bytes:
    """With `json`, which writes integers of any size."""
    return json.dumps(value).encode()


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)),
    max_leaves=12,
)
almost_requests = st.fixed_dictionaries(
    {},
    optional={
        "user": st.one_of(json_values, st.dictionaries(st.text(), json_values)),
        "context": st.one_of(json_values, st.dictionaries(st.text(), json_values)),
        "candidates": st.one_of(
            json_values,
            st.lists(st.integers(), max_size=4),
            st.lists(st.dictionaries(st.sampled_from(["item_id", "x"]), json_values), max_size=4),
            st.dictionaries(st.sampled_from(["item_id", "x"]), st.lists(json_values, max_size=3)),
        ),
        "top_k": st.one_of(json_values, st.integers(-2, 3)),
        "items": st.one_of(json_values, st.dictionaries(st.text(), st.dictionaries(st.text(), json_values))),
        "request_id": json_values,
        "format": json_values,
        "timings": json_values,
        "other": json_values,
    },
)


@given(st.one_of(st.binary(max_size=60), json_values.map(dump)))
def test_any_bytes_are_a_call_or_a_request_error(body: bytes) -> None:
    with contextlib.suppress(RequestError):
        assert decode_rank(body, LIMITS).candidates


@given(almost_requests)
def test_any_near_request_is_a_call_or_a_request_error(document: dict[str, Any]) -> None:
    try:
        call = decode_rank(dump(document), LIMITS)
    except RequestError:
        return
    assert call.top_k is None or call.top_k >= 1
    ids = call.candidates["item_id"] if isinstance(call.candidates, dict) else call.candidates
    assert len({type(i) for i in ids}) == 1
    assert isinstance(call.user, dict)


def test_both_formats_say_the_same(make_ranker: Any) -> None:
    columns = encode(make_ranker, RankCall({}, None, ["a", "?b", "c"]))
    rows = encode(make_ranker, RankCall({}, None, ["a", "?b", "c"], format="rows"))
    assert columns == {
        "model": {"name": "rank", "version": 7, "table_epoch": 3, "item_epoch": 5},
        "request_id": "r1",
        "item_ids": ["a", "c"],
        "scores": [2.0, 1.0],
        "outputs": {"ctr": [0.2, 0.1]},
        "unknown_items": ["?b"],
        "missing_columns": ["age"],
    }
    assert rows["items"] == [
        {"item_id": i, "score": s, "outputs": {"ctr": c}}
        for i, s, c in zip(columns["item_ids"], columns["scores"], columns["outputs"]["ctr"], strict=True)
    ]
    assert {k: v for k, v in rows.items() if k != "items"} == {
        k: v for k, v in columns.items() if k not in {"item_ids", "scores", "outputs"}
    }


@pytest.mark.parametrize("form", ["columns", "rows"])
def test_a_model_without_outputs_and_an_answer_without_items_are_encoded(make_ranker: Any, form: Any) -> None:
    result = make_ranker().rank({}, None, ["?a"])
    result.outputs.clear()
    document = orjson.loads(encode_rank(RankAnswer("r", result, {}), RankCall({}, None, ["?a"], format=form)))
    assert document["unknown_items"] == ["?a"]
    assert document.get("items", []) == []
    result = make_ranker().rank({}, None, ["a"])
    result.outputs.clear()
    document = orjson.loads(encode_rank(RankAnswer("r", result, {}), RankCall({}, None, ["a"], format=form)))
    assert document.get("items", [{"item_id": "a", "score": 1.0, "outputs": {}}])[0]["outputs"] == {}


@pytest.mark.parametrize("form", ["columns", "rows"])
def test_scores_that_json_cannot_say_are_null(make_ranker: Any, form: Any) -> None:
    call = RankCall({"scores": [np.nan, np.inf, -np.inf]}, None, [1, 2, 3], format=form)
    document = encode(make_ranker, call)
    scores = document["scores"] if form == "columns" else [item["score"] for item in document["items"]]
    assert scores == [None, None, None]


def test_scores_keep_the_digits_of_a_float32(make_ranker: Any) -> None:
    score = np.float32(0.1)
    for form in ("columns", "rows"):
        call = RankCall({"scores": [score]}, None, [1], format=form)  # type: ignore[arg-type]
        result = make_ranker().rank(call.user, None, [1])
        text = encode_rank(RankAnswer("r", result, {}), call)
        assert b"0.1," in text or b"[0.1]" in text


def test_stage_times_are_given_on_request(make_ranker: Any) -> None:
    assert encode(make_ranker, RankCall({}, None, ["a"], has_timings=True))["timings_us"] == {"rank": 2.5}
