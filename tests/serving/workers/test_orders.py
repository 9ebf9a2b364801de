from __future__ import annotations

from collections import defaultdict
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from recserve.serving.workers.orders import DO, TOLD, Order, OrderBook


class Workers:
    """Workers as numbers, what they were told, and the book that tells them."""

    def __init__(self, count: int) -> None:
        self.there = list(range(count))
        self.told: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
        self.book: OrderBook[int] = OrderBook(self._say, lambda: list(self.there), lambda worker: worker)

    def _say(self, worker: int, message: tuple[Any, ...]) -> None:
        assert worker in self.there, "somebody who is gone was told"
        self.told[worker].append(message)

    def leave(self, worker: int) -> None:
        self.there.remove(worker)
        self.book.forget(worker)


A, B = Order("load", "a", key="model a"), Order("load", "b", key="model b")


def test_who_asks_does_an_order_first_and_hears_when_all_have_done_it() -> None:
    crew = Workers(3)
    crew.book.ask(1, 7, A)
    assert crew.told == {1: [(DO, 1, A, 7)]}
    crew.book.hear(1, 1, None)
    assert crew.told[0] == crew.told[2] == [(DO, 1, A, None)]
    crew.book.hear(0, 1, None)
    assert len(crew.told[1]) == 1
    crew.book.hear(2, 1, "no memory")
    assert crew.told[1][1] == (TOLD, 7, [(2, "no memory")])
    assert crew.book.kept() == (A,)


def test_what_fails_where_it_was_asked_is_done_by_nobody() -> None:
    crew = Workers(2)
    crew.book.ask(0, 1, A)
    crew.book.hear(0, 1, "there is no version")
    assert crew.told == {0: [(DO, 1, A, 1), (TOLD, 1, [(0, "there is no version")])]}
    assert crew.book.kept() == ()


def test_orders_wait_for_each_other() -> None:
    crew = Workers(2)
    crew.book.ask(0, 1, A)
    crew.book.ask(1, 1, B)
    assert crew.told[1] == []
    crew.book.hear(0, 1, None)
    crew.book.hear(1, 1, None)
    assert crew.told[1] == [(DO, 1, A, None), (DO, 2, B, 1)]


def test_a_late_or_foreign_answer_counts_nothing() -> None:
    crew = Workers(2)
    crew.book.hear(1, 1, None)
    crew.book.ask(0, 1, A)
    crew.book.hear(1, 1, None)
    crew.book.hear(0, 5, None)
    assert crew.told == {0: [(DO, 1, A, 1)]}


def test_a_new_worker_catches_up_on_the_last_order_of_each_key() -> None:
    crew = Workers(1)
    gone = Order("unload", "a", key="model a")
    for number, order in enumerate((A, B, Order("rollout", "x"), gone), start=1):
        crew.book.ask(0, number, order)
        crew.book.hear(0, number, None)
    assert crew.book.kept() == (B, gone)


def test_nobody_waits_for_a_worker_that_is_gone() -> None:
    crew = Workers(3)
    crew.book.ask(0, 1, A)
    crew.book.ask(2, 1, B)
    crew.book.hear(0, 1, None)
    crew.book.hear(1, 1, None)
    crew.leave(2)  # it is waited for, and asked itself
    assert crew.told[0][-1] == (TOLD, 1, [])
    crew.book.ask(1, 2, B)
    assert crew.told[1][-1] == (DO, 2, B, 2)
    crew.leave(1)  # before it was through: nobody else does it
    assert crew.told[0][-1] == (TOLD, 1, [])
    assert crew.book.kept() == (A,)
    crew.book.ask(0, 3, B)
    assert crew.told[0][-1] == (DO, 3, B, 3)


@given(st.data(), st.integers(1, 4))
def test_whatever_happens_all_workers_do_the_same_in_the_same_sequence(data: st.DataObject, count: int) -> None:
    crew = Workers(count)
    tickets = dict.fromkeys(crew.there, 0)
    answered: dict[int, int] = defaultdict(int)

    def answer(worker: int, problem: str | None) -> bool:
        """Answer what the worker was told first; whether there is something."""
        todo = [message for message in crew.told[worker] if message[0] == DO][answered[worker] :]
        if todo:
            answered[worker] += 1
            crew.book.hear(worker, todo[0][1], problem)
        return bool(todo)

    for _ in range(data.draw(st.integers(1, 30))):
        if not crew.there:
            break
        worker = data.draw(st.sampled_from(crew.there))
        match data.draw(st.sampled_from(["ask", "ask", "hear", "hear", "hear", "hear", "leave"])):
            case "ask":
                tickets[worker] += 1
                crew.book.ask(worker, tickets[worker], Order("load", (worker, tickets[worker])))
            case "leave":
                crew.leave(worker)
            case _:
                answer(worker, data.draw(st.sampled_from([None, None, "broken"])))
    while any(answer(worker, None) for worker in crew.there):
        pass
    done = {w: [m[1] for m in crew.told[w] if m[0] == DO] for w in crew.there}
    for worker in crew.there:
        told = [message[1] for message in crew.told[worker] if message[0] == TOLD]
        assert told == list(range(1, tickets[worker] + 1)), "everybody who asked is told, once"
        assert done[worker] == sorted(set(done[worker]))
