"""The item store equals a dict of payloads, whatever is written, deleted, compacted or grown."""

import threading
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from recserve import memory
from recserve.columns import Ragged
from recserve.errors import ConfigError, DataError, InvariantError
from recserve.store.items import ItemStore
from recserve.store.layout import PayloadLayout
from recserve.store.view import StoreView

LAYOUT = PayloadLayout(
    fixed=(("tower", 3), ("price", 1)),
    ragged=(("cates", "ids"), ("tags", "tokens"), ("brands", "weighted_ids"), ("scores", "numbers")),
)
Payload = dict[str, list[Any]]


def payload_of(seed: int) -> Payload:
    """A payload that any two seeds differ in."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 4, 4)
    return {
        "tower": [float(seed), 1.0, 2.0],
        "price": [float(-seed)],
        "cates": rng.integers(-(2**62), 2**62, counts[0]).tolist(),
        "tags": ["é" * int(n) + str(seed) for n in rng.integers(0, 30, counts[1])],
        "brands": [(int(i), float(i) / 2) for i in rng.integers(0, 99, counts[2])],
        "scores": rng.standard_normal(counts[3]).tolist(),
    }


def ragged_of(rows: list[list[Any]], dtype: type) -> Ragged:
    flat = [value for row in rows for value in row]
    values = np.empty(len(flat), dtype)
    values[:] = flat
    return Ragged(values, np.array([len(row) for row in rows], np.int64))


def arrays_of(payloads: list[Payload]) -> tuple[np.ndarray, dict[str, Ragged]]:
    fixed = np.array([p["tower"] + p["price"] for p in payloads], np.float32).reshape(len(payloads), 4)
    brands = ragged_of([[i for i, _ in p["brands"]] for p in payloads], np.int64)
    weights = np.array([w for p in payloads for _, w in p["brands"]], np.float32)
    ragged = {
        "cates": ragged_of([p["cates"] for p in payloads], np.int64),
        "tags": ragged_of([p["tags"] for p in payloads], object),
        "brands": Ragged(brands.values, brands.lengths, weights),
        "scores": ragged_of([p["scores"] for p in payloads], np.float64),
    }
    return fixed, ragged


def payloads_in(view: StoreView, slots: np.ndarray) -> list[Payload]:
    fixed, ragged = view.fixed(slots), view.ragged(slots)
    found = []
    for n in range(len(slots)):
        payload: Payload = {name: part[n].tolist() for name, part in fixed.items()}
        payload |= {name: part.row(n).tolist() for name, part in ragged.items()}
        brands = ragged["brands"]
        assert brands.weights is not None
        weights = brands.weights[brands.offsets[n] : brands.offsets[n + 1]].tolist()
        payload["brands"] = list(zip(payload["brands"], weights, strict=True))
        found.append(payload)
    return found


def assert_view_shows(view: StoreView, items: dict[Any, Payload], universe: list[Any]) -> None:
    slots = view.find(universe)
    assert [slot >= 0 for slot in slots] == [key in items for key in universe]
    none = {"tower": [0.0, 0.0, 0.0], "price": [0.0], "cates": [], "tags": [], "brands": [], "scores": []}
    assert payloads_in(view, slots) == [items.get(key, none) for key in universe]
    assert len(view) == len(items)
    assert sorted(view.ids()) == sorted(items)


@dataclass
class Pinned:
    view: StoreView
    items: dict[Any, Payload] = field(default_factory=dict)
    epoch: int = 0


class StoreMachine(RuleBasedStateMachine):
    """A store beside a dict; views are held open over any number of writes."""

    kind = "string"
    universe: ClassVar[list[Any]] = [
        "a",
        "b",
        "12345678",
        "123456789",
        "item/with/a/long/id/1",
        "item/with/a/long/id/2",
        "é€",
        "7",
    ]

    def __init__(self) -> None:
        super().__init__()
        self.store = ItemStore(LAYOUT, self.kind, capacity=1)
        self.items: dict[Any, Payload] = {}
        self.views: list[Pinned] = []
        self.epoch = 0
        self.seed = 0

    @rule(data=st.data(), size=st.integers(0, 12))
    def upsert(self, data: st.DataObject, size: int) -> None:
        ids = data.draw(st.lists(st.sampled_from(self.universe), min_size=size, max_size=size))
        payloads = [payload_of(self.seed + n) for n in range(size)]
        self.seed += size
        self.store.upsert_rows(ids, *arrays_of(payloads))
        self.items = self.items | dict(zip(ids, payloads, strict=True))
        self.epoch += size > 0

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        ids = data.draw(st.lists(st.sampled_from(self.universe), max_size=4))
        known = set(ids) & set(self.items)
        assert self.store.delete(ids) == len(known)
        self.items = {key: payload for key, payload in self.items.items() if key not in known}
        self.epoch += bool(known)

    @rule()
    def compact(self) -> None:
        self.store.compact()

    @rule()
    def open_view(self) -> None:
        self.views.append(Pinned(self.store.read(), self.items, self.epoch))

    @precondition(lambda self: self.views)
    @rule(data=st.data())
    def close_view(self, data: st.DataObject) -> None:
        self.views.pop(data.draw(st.integers(0, len(self.views) - 1))).view.close()

    @invariant()
    def every_view_shows_its_epoch(self) -> None:
        assert len(self.store) == len(self.items)
        assert self.store.item_epoch == self.epoch
        with self.store.read() as now:
            assert_view_shows(now, self.items, self.universe)
        for pinned in self.views:
            assert pinned.view.item_epoch == pinned.epoch
            assert_view_shows(pinned.view, pinned.items, self.universe)

    def teardown(self) -> None:
        for pinned in self.views:
            pinned.view.close()


class IntegerStoreMachine(StoreMachine):
    kind = "int64"
    universe: ClassVar[list[Any]] = [0, 1, -1, 2**63 - 1, -(2**63), 10**12, 7, 8, 9]


TestStringStore = StoreMachine.TestCase
TestStringStore.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestIntegerStore = IntegerStoreMachine.TestCase
TestIntegerStore.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


def test_many_items_survive_growth_deletion_and_return() -> None:
    store = ItemStore(LAYOUT, "string", capacity=4)
    expected: dict[Any, Payload] = {}
    rng = np.random.default_rng(1)
    for step in range(40):
        ids = [f"product-{i}" if i % 2 else str(i) for i in rng.integers(0, 1500, 100)]
        payloads = [payload_of(step * 1000 + n) for n in range(100)]
        store.upsert_rows(ids, *arrays_of(payloads))
        expected |= dict(zip(ids, payloads, strict=True))
        gone = [f"product-{i}" for i in rng.integers(0, 1500, 60)]
        store.delete(gone)
        expected = {key: payload for key, payload in expected.items() if key not in set(gone)}
    with store.read() as view:
        assert_view_shows(view, expected, [*expected, "product-none", ""])


def test_memory_stays_bounded_when_the_same_items_change_forever() -> None:
    store = ItemStore(LAYOUT, "string", capacity=64)
    payloads = [payload_of(n) for n in range(50)]
    fixed, ragged = arrays_of(payloads)
    ids = [f"a rather long item id {n}" for n in range(50)]
    sizes = []
    for step in range(600):
        store.upsert_rows(ids, fixed, ragged)
        store.delete(ids[step % 50 : step % 50 + 10])
        sizes.append(sum(store.bytes_per_item().values()))
    assert max(sizes[300:]) <= max(sizes[:300])
    assert set(store.bytes_per_item()) == {"index", "records", "rows", "ids", "cates", "tags", "brands", "scores"}


def test_slots_are_not_reused_while_a_view_could_see_them() -> None:
    store = ItemStore(PayloadLayout(fixed=(("v", 1),)), "int64", capacity=64)
    store.upsert_rows([1], np.ones((1, 1), np.float32))
    with store.read() as view:
        slot = view.find([1])
        for n in range(200):
            store.upsert_rows([1], np.full((1, 1), n, np.float32))
            assert view.find([1]).tolist() == slot.tolist()
            assert view.fixed(slot)["v"].tolist() == [[1.0]]


def test_the_slot_of_a_deleted_item_waits_for_views_that_may_have_read_its_index_entry() -> None:
    store = ItemStore(PayloadLayout(fixed=(("v", 1),)), "int64", capacity=8)
    one = np.ones((1, 1), np.float32)
    store.upsert_rows([1], one)
    with store.read() as before:
        slot = int(before.find([1])[0])
    store.delete([1])
    with store.read():  # may be between reading the index entry of item 1 and its record, all through the writes below
        for key in range(2, 6):
            store.upsert_rows([key], one)
        with store.read() as view:
            assert slot not in view.find([2, 3, 4, 5]).tolist()
    store.upsert_rows([6], one)
    store.upsert_rows([7], one)
    with store.read() as view:
        assert slot in view.find([6, 7]).tolist()


def test_a_gathered_value_table_row_reads_the_payload() -> None:
    store = ItemStore(LAYOUT, "string")
    fixed, ragged = arrays_of([payload_of(3), payload_of(5)])
    store.upsert_rows(["a", "b"], fixed, ragged)
    with store.read() as view:
        slots = view.find(["b", "x", "a"])
        starts, ends = np.empty((4, 3), np.int64), np.empty((4, 3), np.int64)
        values = view.gather_ragged(slots, starts, ends)
        assert values[:, memory.STRIDE].tolist() == [1] * 4
        assert values[:, memory.ROWS].tolist() == [3] * 4
        copy = ItemStore(LAYOUT, "string")
        buffers = np.zeros((2, 2), np.int64)
        out = np.full((3, 6), 9, np.float32)
        buffers[0] = out.ctypes.data, 6
        view.gather_fixed(slots, buffers)
        assert np.array_equal(out[:, :3], [fixed[1, :3], [0, 0, 0], fixed[0, :3]])
        assert (out[:, 3:] == 9).all()
        copy.upsert_rows(["b", "x", "a"], np.zeros((3, 4), np.float32), values)
        with copy.read() as copied:
            again = copied.ragged(copied.find(["a", "x", "b"]))
        empty = {name: part.lengths[1] for name, part in again.items()}
        assert set(empty.values()) == {0}
        for name, part in again.items():
            assert part.row(0).tolist() == ragged[name].row(0).tolist()
            assert part.row(2).tolist() == ragged[name].row(1).tolist()


def test_readers_see_no_row_of_two_versions_and_no_bulk_in_part() -> None:
    layout = PayloadLayout(fixed=(("v", 37),), ragged=(("ids", "ids"),))
    store = ItemStore(layout, "string", capacity=8)
    ids = [f"some longer item id {n}" for n in range(20)]
    done = threading.Event()
    wrong: list[str] = []

    def write(version: int) -> None:
        lengths = np.full(20, version % 5 + 1)
        ragged = {"ids": Ragged(np.full(lengths.sum(), version), lengths)}
        store.upsert_rows(ids, np.full((20, 37), version, np.float32), ragged)

    def look() -> None:
        last = 0
        while not done.is_set() and not wrong:
            with store.read() as view:
                slots = view.find(ids)
                rows = view.fixed(slots)["v"]
                parts = view.ragged(slots)["ids"]
                version = float(rows[0, 0])
                is_whole = (rows == version).all() and (parts.values == version).all()
                if not is_whole or (slots < 0).any() != (version == 0) or version < last:
                    wrong.append(f"{version} after {last}: {np.unique(rows)} {np.unique(parts.values)} {slots}")
                if version and parts.lengths.tolist() != [int(version) % 5 + 1] * 20:
                    wrong.append(f"{version}: {parts.lengths}")
                last = int(version)

    write(1)
    readers = [threading.Thread(target=look) for _ in range(3)]
    for reader in readers:
        reader.start()
    for version in range(2, 400):
        write(version)
        if version % 97 == 0:
            store.compact()
    done.set()
    for reader in readers:
        reader.join()
    assert not wrong


def test_a_deleted_item_never_turns_into_another_under_a_reader() -> None:
    store = ItemStore(PayloadLayout(fixed=(("v", 8),)), "int64", capacity=16)
    done = threading.Event()
    wrong: list[str] = []
    keys = list(range(1, 9))

    def look() -> None:
        while not done.is_set() and not wrong:
            with store.read() as view:
                slots = view.find(keys)
                rows = view.fixed(slots)["v"]
                expected = np.where(slots >= 0, keys, 0)
                if not (rows == expected[:, np.newaxis]).all():
                    wrong.append(f"{slots}: {rows[:, 0]}")

    readers = [threading.Thread(target=look) for _ in range(3)]
    for reader in readers:
        reader.start()
    rng = np.random.default_rng(2)
    for _ in range(1500):
        key = int(rng.integers(1, 9))
        if rng.random() < 0.5:
            store.delete([key])
        else:
            store.upsert_rows([key], np.full((1, 8), key, np.float32))
    done.set()
    for reader in readers:
        reader.join()
    assert not wrong


def test_a_store_without_payload_parts_is_a_set_of_ids() -> None:
    store = ItemStore(PayloadLayout(), "string")
    store.upsert_rows(["a", "b", "a"])
    assert sorted(store.ids()) == ["a", "b"]
    with store.read() as view:
        assert view.fixed(view.find(["a"])) == {}
        assert view.ragged(view.find(["a"])) == {}


def test_a_closed_view_is_refused() -> None:
    view = ItemStore(PayloadLayout()).read()
    view.close()
    view.close()
    with pytest.raises(InvariantError, match=r"^the view of the item store is closed$"):
        view.find(["a"])


def test_an_unknown_id_kind_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        ItemStore(PayloadLayout(), "sting")
    assert str(caught.value) == "item id kind 'sting' is not one of string, int64. Did you mean 'string'?"


FIXED, PARTS = arrays_of([payload_of(1), payload_of(2)])


def parts_with(name: str, part: Ragged) -> dict[str, Ragged]:
    return PARTS | {name: part}


ONE = np.ones(2, np.int64)
NOT_FINITE = FIXED.copy()
NOT_FINITE[1, 3] = np.nan


def test_numbers_of_features_may_be_infinite_or_nan() -> None:
    store = ItemStore(LAYOUT)
    store.upsert_rows(["a", "b"], FIXED, parts_with("scores", Ragged(np.array([np.nan, np.inf]), ONE)))
    with store.read() as view:
        np.testing.assert_array_equal(view.ragged(view.find(["b", "a"]))["scores"].values, [np.inf, np.nan])


@pytest.mark.parametrize(
    ("fixed", "ragged", "message"),
    [
        (FIXED[:, :3], PARTS, "payload rows are float32[2, 3], expected float32[2, 4]"),
        (FIXED[:1], PARTS, "payload rows are float32[1, 4], expected float32[2, 4]"),
        (FIXED.astype(np.float64), PARTS, "payload rows are float64[2, 4], expected float32[2, 4]"),
        (None, PARTS, "payload rows are float32[2, 0], expected float32[2, 4]"),
        (NOT_FINITE, PARTS, "payload part 'price' of row 1 is not finite"),
        (FIXED, None, "payload part 'cates' is missing"),
        (FIXED, PARTS | {"x": PARTS["cates"]}, "payload part 'x' is unknown"),
        (FIXED, parts_with("cates", Ragged(ONE, np.array([2]))), "payload part 'cates': 1 rows for 2 items"),
        (
            FIXED,
            parts_with("cates", Ragged(ONE, np.array([1, 2]))),
            "payload part 'cates': lengths add up to 3, but there are 2 values",
        ),
        (
            FIXED,
            parts_with("cates", Ragged(ONE.astype(float), ONE)),
            "payload part 'cates': values are float64[2], expected int64",
        ),
        (FIXED, parts_with("brands", Ragged(ONE, ONE)), "payload part 'brands': has no weights"),
        (
            FIXED,
            parts_with("cates", Ragged(ONE, ONE, np.ones(2, np.float32))),
            "payload part 'cates': has weights, but its kind has none",
        ),
        (
            FIXED,
            parts_with("brands", Ragged(ONE, ONE, np.array([np.nan, 1], np.float32))),
            "payload part 'brands' of row 0 is not finite",
        ),
        (
            FIXED,
            parts_with("tags", Ragged(np.array(["a", 5], object), ONE)),
            "payload part 'tags': values are not strings: ",
        ),
        (FIXED, parts_with("tags", Ragged(np.array(["a", None], object), ONE)), "payload part 'tags': a token is null"),
        (FIXED, np.zeros((3, 10), np.int64), "ragged parts are int64[3, 10], expected int64[4, 10]"),
    ],
)
def test_payloads_of_another_layout_are_refused(fixed: Any, ragged: Any, message: str) -> None:
    store = ItemStore(LAYOUT)
    with pytest.raises(InvariantError) as caught:
        store.upsert_rows(["a", "b"], fixed, ragged)
    assert str(caught.value).startswith(message)
    assert len(store) == 0


def test_described_parts_are_checked_for_rows_and_weights() -> None:
    store = ItemStore(PayloadLayout(ragged=(("w", "weighted_ids"),)))
    values = np.zeros((1, memory.FIELDS), np.int64)
    values[0, [memory.STRIDE, memory.ROWS]] = 1, 1
    with pytest.raises(InvariantError, match=r"^payload part 'w' has 1 rows for 2 items$"):
        store.upsert_rows(["a", "b"], ragged=values)
    values[0, [memory.ROWS, memory.COUNT]] = 2, 1
    with pytest.raises(InvariantError, match=r"^payload part 'w' has no weights$"):
        store.upsert_rows(["a", "b"], ragged=values)


def test_buffers_and_ranges_of_another_shape_are_refused() -> None:
    with ItemStore(LAYOUT).read() as view:
        slots = np.zeros(2, np.int64) - 1
        with pytest.raises(InvariantError, match=r"^3 buffers for 2 fixed payload parts$"):
            view.gather_fixed(slots, np.zeros((3, 2), np.int64))
        with pytest.raises(InvariantError, match=r"^ranges are int64\[4, 1\], expected int64\[4, 2\]$"):
            view.gather_ragged(slots, np.zeros((4, 1), np.int64), np.zeros((4, 2), np.int64))
        with pytest.raises(InvariantError, match=r"^ranges are int64\[3, 2\], expected int64\[2, 2\]$"):
            view.gather_ragged(slots, np.zeros((3, 2), np.int64), np.zeros((3, 2), np.int64), first=2)


def test_some_of_the_ragged_parts_are_gathered_as_all_are() -> None:
    store = ItemStore(LAYOUT, "string")
    fixed, ragged = arrays_of([payload_of(3), payload_of(5)])
    store.upsert_rows(["a", "b"], fixed, ragged)
    with store.read() as view:
        slots = view.find(["b", "x", "a"])
        starts, ends = np.empty((2, 4, 3), np.int64)
        values = view.gather_ragged(slots, starts, ends)
        for first, end in ((0, 2), (1, 3), (3, 4), (4, 4)):
            some_starts, some_ends = np.empty((2, end - first, 3), np.int64)
            some = view.gather_ragged(slots, some_starts, some_ends, first=first)
            assert np.array_equal(some_starts, starts[first:end])
            assert np.array_equal(some_ends, ends[first:end])
            pointers = [memory.STARTS, memory.ENDS]
            assert np.array_equal(np.delete(some, pointers, 1), np.delete(values[first:end], pointers, 1))


def test_a_refused_write_changes_nothing() -> None:
    store = ItemStore(PayloadLayout(fixed=(("v", 1),)))
    store.upsert_rows(["a"], np.ones((1, 1), np.float32))
    with pytest.raises(DataError):
        store.upsert_rows(["b", ""], np.ones((2, 1), np.float32))
    assert store.ids() == ["a"]
    assert store.item_epoch == 1
