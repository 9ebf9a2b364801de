"""The ranking service over a real socket."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
import pytest

from recserve.wire.ranking import SERVICE, Column, RankRequest, Values
from recserve.wire.values import read_values, write_cell, write_column, write_values

CODE = grpc.StatusCode


def rank(ids: Any, model: str = "rank", user: dict[str, Any] | None = None, **fields: Any) -> Any:
    request = RankRequest(model=model, item_ids=write_values(ids), **fields)
    for name, value in (user or {}).items():
        request.user[name].CopyFrom(write_cell(value))
    return request


def last(served: Any) -> dict[str, Any]:
    calls: list[dict[str, Any]] = served.models["rank"].calls
    return calls[-1]


def test_ids_are_ranked(served: Any) -> None:
    answer = served.call(SERVICE, "Rank", rank(["a", "b", "?c"], user={"age": 3}, request_id="q", top_k=2))
    assert read_values(answer.item_ids) == ["a", "b"]
    assert list(answer.positions) == [0, 1]
    assert list(answer.scores) == [2.0, 1.0]
    assert list(answer.outputs["ctr"].value) == pytest.approx([0.2, 0.1])
    assert read_values(answer.unknown_items) == ["?c"]
    assert list(answer.missing_columns) == []
    assert answer.request_id == "q"
    version = answer.version
    assert (version.model, version.version, version.table_epoch, version.item_epoch) == ("rank", 7, 3, 5)
    assert not answer.timings_us
    assert last(served) == {
        "user": {"age": 3},
        "context": None,
        "candidates": ["a", "b", "?c"],
        "top_k": 2,
        "items": None,
    }


@pytest.mark.parametrize(
    "ids",
    [
        Values(integers=Values.Integers(value=[5, -7])),
        Values(fixed_integers=Values.FixedIntegers(value=[5, -7])),
        Values(int64_le=np.array([5, -7], "<i8").tobytes()),
    ],
)
def test_integer_ids_come_in_every_packed_form(served: Any, ids: Any) -> None:
    answer = served.call(SERVICE, "Rank", RankRequest(model="rank", item_ids=ids))
    assert read_values(answer.item_ids) == [5, -7]
    assert last(served)["candidates"] == [5, -7]
    assert list(answer.missing_columns) == ["age"]


def test_columns_context_and_inline_items_arrive(served: Any) -> None:
    request = rank([1, 2], user={"clicks": {"acme": 2.0}, "seq": ["x", "y"]}, timings=True)
    request.context["hour"].CopyFrom(write_cell(20))
    request.candidates["position"].CopyFrom(write_column([1.5, None]))
    request.items.item_ids.CopyFrom(write_values([2]))
    request.items.columns["price"].CopyFrom(write_column([9.5]))
    answer = served.call(SERVICE, "Rank", request)
    assert last(served) == {
        "user": {"clicks": {"acme": 2.0}, "seq": ["x", "y"]},
        "context": {"hour": 20},
        "candidates": {"item_id": [1, 2], "position": [1.5, None]},
        "top_k": None,
        "items": {2: {"price": 9.5}},
    }
    assert {"queue", "parse", "rank", "features"} <= set(answer.timings_us)


def test_outputs_are_chosen(served: Any) -> None:
    answer = served.call(SERVICE, "Rank", rank(["a"], outputs=["ctr"]))
    assert list(answer.outputs) == ["ctr"]
    error = served.fails(SERVICE, "Rank", rank(["a"], outputs=["cvr"]))
    assert error.code() == CODE.INVALID_ARGUMENT
    assert "there is no output 'cvr'" in error.details()


def test_versions_and_labels_are_taken(served: Any) -> None:
    served.serving.registry.set_label("rank", "live", 7)
    assert served.call(SERVICE, "Rank", rank(["a"], version=7)).version.version == 7
    assert served.call(SERVICE, "Rank", rank(["a"], version_label="live")).version.version == 7


def column(**fields: Any) -> Any:
    request = rank([1, 2])
    request.candidates["c"].CopyFrom(Column(**fields))
    return request


def named_item_id() -> Any:
    request = rank([1, 2])
    request.candidates["item_id"].CopyFrom(write_column([1, 2]))
    return request


def uneven_items() -> Any:
    request = rank([1, 2])
    request.items.item_ids.CopyFrom(write_values([2]))
    request.items.columns["price"].CopyFrom(write_column([1.0, 2.0]))
    return request


@pytest.mark.parametrize(
    ("request_", "code", "text"),
    [
        (rank(["a"], "nope"), CODE.NOT_FOUND, "no model 'nope'"),
        (rank(["a"], version=9), CODE.NOT_FOUND, "model 'rank' has no version 9"),
        (rank(["a"], version_label="x"), CODE.NOT_FOUND, "model 'rank' has no label 'x'"),
        (rank(["a"], ""), CODE.INVALID_ARGUMENT, "it is not known which model answers"),
        (rank(["a"], "add_sub"), CODE.INVALID_ARGUMENT, "model 'add_sub' does not rank"),
        (rank([]), CODE.INVALID_ARGUMENT, "no candidates"),
        (rank(list(range(20_001))), CODE.INVALID_ARGUMENT, "20001 candidates, the limit is 20000"),
        (rank([1.5]), CODE.INVALID_ARGUMENT, "expected an item id"),
        (rank(["a"], top_k=0), CODE.INVALID_ARGUMENT, "top_k: expected an integer of at least 1, got 0"),
        (rank(["a"], request_id="x" * 257), CODE.INVALID_ARGUMENT, "got 257 characters"),
        (rank(["a"], user={"act": "refuse"}), CODE.INVALID_ARGUMENT, "expected float32, got '12,5'"),
        (column(values=Values(int64_le=b"x")), CODE.INVALID_ARGUMENT, "candidates['c']: 1 bytes in int64_le"),
        (column(values=Values(int64_le=bytes(8))), CODE.INVALID_ARGUMENT, "1 values for 2 candidates"),
        (named_item_id(), CODE.INVALID_ARGUMENT, "'item_id' is no column here"),
        (uneven_items(), CODE.INVALID_ARGUMENT, "items.columns['price']: 2 cells for 1 ids"),
    ],
)
def test_mistakes_are_told(served: Any, request_: Any, code: Any, text: str) -> None:
    error = served.fails(SERVICE, "Rank", request_)
    assert error.code() == code
    assert text in error.details()
