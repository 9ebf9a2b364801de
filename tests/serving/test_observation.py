"""What is noted of a request while it runs."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

import pytest

from recserve.serving import observation
from recserve.serving.observation import Observation, draw_request_id
from recserve.serving.rank_threads import RankThreads
from recserve.serving.refusals import ForbiddenError


def in_fresh_context(work: Callable[[], Any]) -> Any:
    return contextvars.Context().run(work)


def test_ids_differ() -> None:
    assert len({draw_request_id() for _ in range(1000)}) == 1000


def test_nothing_is_noted_without_a_front_end() -> None:
    def work() -> None:
        observation.begin_work()
        observation.note_received()
        observation.note_run("m", 1, "s", perf_counter_ns())
        observation.note_stages({"a": 1.0})
        observation.note_examples(3)
        observation.end_work()
        observation.check_model("m")
        assert observation.current() is None

    in_fresh_context(work)


def test_a_rank_thread_notes_on_the_observation_of_its_caller() -> None:
    threads = RankThreads(1, 8)

    def work() -> None:
        observation.note_run("rank", 7, "rank", perf_counter_ns(), rows=5)
        observation.note_run("rank", 7, "rank", perf_counter_ns(), rows=2)
        observation.note_stages({"gather": 2.5})
        observation.note_examples(4)

    async def ask() -> Observation:
        seen = Observation("recserve", "POST /x", "q1")
        observation.observe(seen)
        observation.note_received()
        await threads.run(work)
        return seen

    seen = asyncio.run(ask())
    assert threads.close(5)
    assert (seen.model, seen.version, seen.signature, seen.rows, seen.examples) == ("rank", 7, "rank", 7, 4)
    assert seen.stages_us == {"gather": 2.5}
    stages = seen.stages()
    assert [name for name, _, _ in stages] == ["receive", "queue", "parse", "run", "encode"]
    assert stages[0][1] == seen.began_ns
    for (_, _, end), (_, begin, _) in itertools.pairwise(stages):
        assert end == begin
    assert all(begin <= end for _, begin, end in stages)


def test_requests_at_once_have_observations_of_their_own() -> None:
    async def ask(name: str) -> tuple[str, str]:
        seen = Observation("tfs", "", name)
        observation.observe(seen)
        await asyncio.sleep(0)
        found = observation.current()
        return name, "" if found is None else found.request_id

    async def all_of_them() -> list[tuple[str, str]]:
        return await asyncio.gather(*(asyncio.create_task(ask(str(i))) for i in range(10)))

    assert all(name == found for name, found in asyncio.run(all_of_them()))


def test_stages_that_a_request_did_not_reach_are_left_out() -> None:
    seen = Observation("tfs", "", "q")
    assert seen.stages() == []
    seen.run_began_ns, seen.run_ended_ns = 3, 5
    assert seen.stages() == [("run", 3, 5)]


def test_a_model_that_the_caller_may_not_ask_is_refused() -> None:
    def refuse(name: str) -> None:
        raise ForbiddenError(f"not {name}")

    def work() -> None:
        seen = Observation("tfs", "", "q")
        seen.allows_model = refuse
        observation.observe(seen)
        with pytest.raises(ForbiddenError, match="not secret"):
            observation.check_model("secret")

    in_fresh_context(work)
