from __future__ import annotations

import logging
from typing import Any

import pytest

from recserve.errors import NotFoundError
from recserve.serving.messages import RankCall
from recserve.serving.registry import Registry
from recserve.serving.service import RankService


def make_service(ranker: Any, sink: Any = None) -> RankService:
    registry = Registry()
    registry.publish(ranker)
    return RankService(registry, sink)


def test_a_call_reaches_the_ranker_as_it_is(ranker: Any) -> None:
    call = RankCall({"age": 1}, {"hour": 2}, ["a", "b"], 1, {"b": {"price": 3}})
    answer = make_service(ranker).rank("rank", None, call)
    assert ranker.calls == [
        {
            "user": {"age": 1},
            "context": {"hour": 2},
            "candidates": ["a", "b"],
            "top_k": 1,
            "items": {"b": {"price": 3}},
        }
    ]
    assert answer.result.item_ids == ["a"]
    assert set(answer.timings_us) == {"features", "rank"}


def test_the_id_of_the_caller_is_kept_and_others_are_drawn(ranker: Any) -> None:
    service = make_service(ranker)
    assert service.rank("rank", 7, RankCall({}, None, ["a"], request_id="mine")).request_id == "mine"
    drawn = {service.rank("rank", 7, RankCall({}, None, ["a"])).request_id for _ in range(50)}
    assert len(drawn) == 50


def test_an_answered_request_is_recorded_whole(ranker: Any, make_sink: Any) -> None:
    sink = make_sink()
    call = RankCall({"age": 1}, None, ["a", "?b", "c"], 1, request_id="q")
    make_service(ranker, sink).rank("rank", None, call)
    (record,) = sink.records
    assert (record.request_id, record.model, record.version) == ("q", "rank", 7)
    assert (record.table_epoch, record.item_epoch) == (3, 5)
    assert (record.user, record.context, record.candidates, record.top_k) == ({"age": 1}, None, ["a", "?b", "c"], 1)
    assert record.item_ids == ["a"]
    assert record.scores.tolist() == [2.0]
    assert record.unknown_items == ["?b"]
    assert record.time_us > 1_600_000_000_000_000


def test_a_failed_request_is_not_recorded(ranker: Any, make_sink: Any) -> None:
    sink = make_sink()
    service = make_service(ranker, sink)
    with pytest.raises(NotFoundError):
        service.rank("other", None, RankCall({}, None, ["a"]))
    with pytest.raises(ZeroDivisionError):
        service.rank("rank", None, RankCall({"act": "break"}, None, ["a"]))
    assert sink.records == []


def test_an_answer_matters_more_than_its_record(ranker: Any, caplog: pytest.LogCaptureFixture) -> None:
    class FullDisk:
        def write(self, _: object) -> None:
            raise OSError("disk full")

        def close(self) -> None: ...

    with caplog.at_level(logging.ERROR):
        answer = make_service(ranker, FullDisk()).rank("rank", None, RankCall({}, None, ["a"], request_id="q"))
    assert answer.result.item_ids == ["a"]
    assert "The record of request q could not be written" in caplog.text
