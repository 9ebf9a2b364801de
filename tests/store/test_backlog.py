"""A lazily filled store answers as an eagerly filled one, whatever happens in between."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.errors import CellError, ConfigError, DataError
from recserve.store.backlog import Backlog, Loading, Make, Write
from recserve.store.items import ItemStore
from recserve.store.layout import PayloadLayout

LAYOUT = PayloadLayout(fixed=(("value", 1),))
IDS = list("abcdefgh")


def batch_of(rows: dict[str, float]) -> pa.RecordBatch:
    return pa.record_batch(
        {"item_id": pa.array(list(rows), pa.string()), "value": pa.array(list(rows.values()), pa.float32())}
    )


def maker(store: ItemStore, before_write: Callable[[], None] = lambda: None) -> Make:
    """Payloads are the column `value`; a negative one cannot be read."""

    @contextmanager
    def make(batch: pa.RecordBatch) -> Iterator[Write]:
        values = batch.column(1).to_numpy(zero_copy_only=False).astype(np.float32)
        if (values < 0).any():
            raise CellError("is negative", feature="value", row=int(np.argmax(values < 0)))
        before_write()
        yield lambda is_change: store.upsert_rows(batch.column(0), values[:, None], is_change=is_change)

    return make


def lazy(*bulks: dict[str, float]) -> tuple[ItemStore, Backlog, Make]:
    store = ItemStore(LAYOUT)
    make = maker(store)
    for _ in bulks:
        store.count_change()
    return store, Backlog(store, [batch_of(rows) for rows in bulks], make, "item_id"), make


def look(store: ItemStore, ids: list[str]) -> tuple[dict[str, float], int]:
    """(values of the ids that are there, item epoch)."""
    with store.read() as view:
        slots = view.find(ids)
        values = view.fixed(slots)["value"][:, 0].tolist()
        return {i: v for i, v, slot in zip(ids, values, slots.tolist(), strict=True) if slot >= 0}, view.item_epoch


some_ids = st.lists(st.sampled_from(IDS), min_size=1, max_size=4, unique=True)
acts = st.one_of(
    st.tuples(st.just("rank"), some_ids),
    st.tuples(st.just("upsert"), some_ids, st.integers(0, 99)),
    st.tuples(st.just("delete"), some_ids),
    st.tuples(st.just("fill"), st.integers(1, 3)),
)


@given(
    st.lists(
        st.dictionaries(st.sampled_from(IDS[:6]), st.integers(0, 99).map(float), min_size=1), min_size=1, max_size=3
    ),
    st.lists(acts, max_size=12),
)
def test_lazy_equals_eager_under_any_order_of_requests_and_changes(
    bulks: list[dict[str, float]], order: list[tuple[Any, ...]]
) -> None:
    store, backlog, make = lazy(*bulks)
    eager = ItemStore(LAYOUT)
    for rows in bulks:
        eager.upsert_rows(list(rows), np.array(list(rows.values()), np.float32)[:, None])
    for act, *rest in [*order, ("rank", IDS)]:
        if act == "rank":
            backlog.settle(rest[0])
            assert look(store, rest[0]) == look(eager, rest[0])
        elif act == "upsert":
            batch = batch_of(dict.fromkeys(rest[0], float(rest[1])))
            with make(batch) as write:
                backlog.replace(batch.column(0), write)
            eager.upsert_rows(rest[0], np.full((len(rest[0]), 1), rest[1], np.float32))
        elif act == "delete":
            backlog.settle(rest[0])
            assert store.delete(rest[0]) == eager.delete(rest[0])
        else:
            backlog.fill_next(rest[0])
    while backlog.fill_next(2):
        pass
    assert len(backlog) == 0
    assert look(store, IDS) == look(eager, IDS)


def test_a_change_during_the_making_of_an_old_payload_wins() -> None:
    store = ItemStore(LAYOUT)
    changed = threading.Event()

    def change_meanwhile() -> None:
        if not changed.is_set():
            changed.set()
            new = batch_of({"a": 7.0})
            with plain(new) as write:
                backlog.replace(new.column(0), write)

    plain = maker(store)
    backlog = Backlog(store, [batch_of({"a": 1.0, "b": 2.0})], maker(store, change_meanwhile), "item_id")
    backlog.settle(["a", "b"])
    assert look(store, ["a", "b"])[0] == {"a": 7.0, "b": 2.0}


def test_threads_that_read_write_and_fill_see_each_item_from_the_start() -> None:
    rows = {f"i{n}": float(n) for n in range(3000)}
    store, backlog, make = lazy(rows)
    names, wrong, stop = list(rows), [], threading.Event()

    def read(seed: int) -> None:
        rng = np.random.default_rng(seed)
        while not stop.is_set():
            ids = [names[n] for n in rng.integers(0, len(names), 20)]
            backlog.settle(ids)
            seen, _ = look(store, ids)
            wrong.extend(i for i in ids if seen.get(i) not in (rows[i], -0.0 + rows[i] + 10_000))

    def write() -> None:
        for n in range(0, 3000, 7):
            batch = batch_of({names[n]: rows[names[n]] + 10_000})
            with make(batch) as prepared:
                backlog.replace(batch.column(0), prepared)

    readers = [threading.Thread(target=read, args=(seed,)) for seed in range(2)]
    writer = threading.Thread(target=write)
    lines: list[str] = []
    for thread in (*readers, writer):
        thread.start()
    backlog.start(lines.append)
    assert backlog.wait(60)
    writer.join()
    stop.set()
    for thread in readers:
        thread.join()
    assert not wrong
    assert len(store) == 3000
    assert store.item_epoch == 1 + len(range(0, 3000, 7))
    seen, _ = look(store, names)
    assert all(seen[name] == rows[name] + (10_000 if n % 7 == 0 else 0) for n, name in enumerate(names))
    assert lines[-1].startswith("items: all 3,000 of the backlog made in ")


def test_an_item_that_cannot_be_read_is_left_out_and_told(caplog: pytest.LogCaptureFixture) -> None:
    store, backlog, _ = lazy({"a": 1.0, "bad": -1.0, "c": 3.0})
    with caplog.at_level(logging.ERROR):
        backlog.settle(["a", "bad", "c"])
    assert look(store, ["a", "bad", "c"])[0] == {"a": 1.0, "c": 3.0}
    assert (len(backlog), backlog.refused, backlog.total) == (0, 1, 3)
    assert "item 'bad' is left out, because it cannot be read" in caplog.text


def test_stopping_ends_the_thread_with_items_left() -> None:
    _, backlog, _ = lazy({f"i{n}": 0.0 for n in range(5000)})
    lines: list[str] = []
    backlog.stop()
    backlog.start(lines.append)
    assert not backlog.wait(10)
    assert lines == []


def test_ids_of_a_wrong_kind_are_refused_as_the_store_refuses_them() -> None:
    _, backlog, _ = lazy({"a": 1.0})
    with pytest.raises(DataError):
        backlog.settle([object()])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("materialise", "total", "spent_s", "done", "expected"),
    [
        ("eager", 1000, 100.0, 1, False),
        ("lazy", 1000, 0.0, 0, True),
        ("auto", 1000, 1.0, 0, False),
        ("auto", 1000, 1.0, 100, False),
        ("auto", 1000, 1.01, 100, True),
        ("auto", None, 9.9, 100, False),
        ("auto", None, 10.1, 100, True),
    ],
)
def test_what_would_take_too_long_is_left(
    materialise: str, total: int | None, spent_s: float, done: int, expected: bool
) -> None:
    assert Loading(total, materialise, None).is_over(spent_s, done, 10.0) is expected


def test_an_unknown_way_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"materialise: 'lazily' is no way to make payloads") as caught:
        Loading(None, "lazily", None)
    assert caught.value.code == "bad_materialise"


@settings(max_examples=20)
@given(st.integers(0, 2**40))
def test_row_numbers_survive_their_two_halves(number: int) -> None:
    from recserve.store.backlog import _LOW_BITS, _numbers

    high, low = np.float32(number >> _LOW_BITS), np.float32(number & ((1 << _LOW_BITS) - 1))
    assert _numbers({"high": np.array([[high]]), "low": np.array([[low]])}).tolist() == [number]
