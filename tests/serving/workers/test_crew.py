from __future__ import annotations

import asyncio
import queue
import threading
from typing import Any

import pytest

from recserve.errors import NotFoundError, OverloadedError, RequestError
from recserve.serving.workers.crew import MAX_ORDER_BYTES, Crew, CrewError
from recserve.serving.workers.orders import DO, TOLD, Failures, Order


class Supervisor:
    """Says `do` to the worker that asks, and then what went wrong elsewhere."""

    def __init__(self, failures: Failures | None = None) -> None:
        self.heard: queue.Queue[tuple[str, Any]] = queue.Queue()
        self.failures = failures or []
        self.ticket = 0
        self.crew = Crew(self._hear)

    def _hear(self, kind: str, content: Any) -> None:
        self.heard.put((kind, content))
        if kind == "ask":
            self.ticket, order = content
            self.crew.hear((DO, 1, order, self.ticket))
        elif self.ticket:
            self.crew.hear((TOLD, self.ticket, self.failures))


def test_a_process_on_its_own_does_its_orders_itself() -> None:
    crew = Crew()
    crew.answer("double", lambda content: content * 2)
    assert crew.tell(Order("double", 4)) == 8


def test_an_order_gives_what_the_handler_of_this_worker_gave() -> None:
    supervisor = Supervisor()
    supervisor.crew.answer("double", lambda content: content * 2)
    supervisor.crew.begin()
    assert supervisor.crew.tell(Order("double", 4)) == 8
    assert supervisor.heard.get_nowait()[0] == "ask"
    assert supervisor.heard.get(timeout=10) == ("done", (1, None))


def test_an_order_that_fails_here_raises_what_the_handler_raised() -> None:
    supervisor = Supervisor([(0, "no such thing")])
    caught = NotFoundError("no such thing")

    def fail(_: object) -> None:
        raise caught

    supervisor.crew.answer("load", fail)
    supervisor.crew.begin()
    with pytest.raises(NotFoundError) as raised:
        supervisor.crew.tell(Order("load", 1))
    assert raised.value is caught


def test_workers_that_did_not_follow_are_named() -> None:
    supervisor = Supervisor([(1, "no memory"), (3, "no file")])
    supervisor.crew.answer("load", print)
    supervisor.crew.begin()
    expected = (
        "not every worker could do it: worker 1: no memory; worker 3: no file. The others have done it. Try again."
    )
    with pytest.raises(CrewError) as raised:
        supervisor.crew.tell(Order("load", 1))
    assert str(raised.value) == expected
    assert raised.value.code == "workers_differ"


def test_what_others_ask_for_is_done_and_a_failure_is_told_to_them(caplog: pytest.LogCaptureFixture) -> None:
    supervisor = Supervisor()
    done: list[int] = []

    def handle(content: int) -> None:
        done.append(content)
        if content == 2:
            raise ValueError("two")

    supervisor.crew.answer("load", handle)
    supervisor.crew.hear((DO, 8, Order("load", 1), None))  # it came while this worker loaded
    supervisor.crew.begin()
    assert supervisor.heard.get(timeout=10) == ("done", (8, None))
    supervisor.crew.hear((DO, 9, Order("load", 2), None))
    assert supervisor.heard.get(timeout=10) == ("done", (9, "two"))
    assert done == [1, 2]
    assert "What another worker did could not be done here: two" in caplog.text


def test_a_new_worker_does_what_it_missed_as_soon_as_somebody_can() -> None:
    crew = Crew(lambda *_: None)
    done: list[tuple[str, bool]] = []
    crew.answer("load", lambda content: done.append((content, crew.is_catching_up)))
    crew.begin([Order("load", "a"), Order("later", "b")])
    assert done == [("a", True)]
    crew.answer("later", lambda content: done.append((content, crew.is_catching_up)))
    assert done[1:] == [("b", True)]
    assert not crew.is_catching_up


def test_an_order_of_a_kind_that_nobody_does_yet_waits_for_who_does() -> None:
    supervisor = Supervisor()
    supervisor.crew.begin()
    supervisor.crew.hear((DO, 8, Order("later", "b"), None))
    assert supervisor.heard.get(timeout=10) == ("done", (8, None))
    done: list[str] = []
    supervisor.crew.answer("later", done.append)
    assert done == ["b"]


def test_who_waits_for_an_order_hears_when_the_supervisor_is_gone() -> None:
    said: queue.Queue[str] = queue.Queue()
    crew = Crew(lambda kind, _: said.put(kind))
    caught: list[Exception] = []

    def tell() -> None:
        try:
            crew.tell(Order("load", 1))
        except OverloadedError as error:
            caught.append(error)

    thread = threading.Thread(target=tell)
    thread.start()
    assert said.get(timeout=10) == "ask"
    crew.leave()
    thread.join(10)
    tell()
    assert [str(error) for error in caught] == ["this worker ends. Try again."] * 2


def test_an_order_that_would_block_a_pipe_is_refused() -> None:
    crew = Crew(lambda *_: None)
    with pytest.raises(RequestError, match=f"an order to all workers has .* bytes. {MAX_ORDER_BYTES} is the most"):
        crew.tell(Order("load", "x" * MAX_ORDER_BYTES))


def test_a_process_is_alive_while_its_event_loops_turn() -> None:
    crew = Crew()
    assert crew.is_alive(), "one without loops is starting"

    async def run() -> None:
        crew.watch(asyncio.get_running_loop())
        assert crew.is_alive()
        assert not crew.is_alive(), "the loop has not turned since"
        await asyncio.sleep(0)
        assert crew.is_alive()
        await asyncio.sleep(0)

    asyncio.run(run())
    assert crew.is_alive(), "a loop that is closed does not count"
    assert crew.is_alive()
