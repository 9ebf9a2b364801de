"""Lookups: the kernel equals its slow twin bit for bit, for any mix of features in one call."""

import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve import memory
from recserve.columns import Ragged
from recserve.dtypes import I64
from recserve.errors import ConfigError, InvariantError
from recserve.rows.formats import PRECISIONS
from recserve.tables import reference
from recserve.tables.lookup import Lookup, LookupSet, describe_buffer, look_up
from recserve.tables.table import Table


def table_of(rng: np.random.Generator, rows: int, dim: int, is_hashed: bool, precision: str = "fp32") -> Table:
    values = rng.standard_normal((rows, dim)).astype(np.float32)
    if not is_hashed:
        return Table.direct("t", values).stored_as(precision)
    signs = rng.permutation(np.arange(-rows, rows, dtype=np.int64))[:rows]
    return Table.hashed("t", signs, values).stored_as(precision)


def lengths_of(rng: np.random.Generator, rows: int) -> I64:
    return rng.choice(np.array([0, 1, 1, 2, 3, 70]), rows)


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.random.Generator, Table, int, bool, str]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows, dim = draw(st.sampled_from([0, 1, 5, 300])), draw(st.sampled_from([1, 3, 8, 16, 50]))
    table = table_of(rng, rows, dim, rng.random() < 0.5, draw(st.sampled_from(PRECISIONS)))
    return rng, table, draw(st.integers(0, 40)), draw(st.booleans()), draw(st.sampled_from(["sum", "mean"]))


@settings(max_examples=100, deadline=None)
@given(cases())
def test_pooled_lookups_equal_the_reference(case: tuple[np.random.Generator, Table, int, bool, str]) -> None:
    rng, table, n_rows, is_weighted, pooling = case
    lengths = lengths_of(rng, n_rows)
    ids = rng.integers(-len(table) - 2, len(table) + 3, lengths.sum())
    weights = rng.standard_normal(len(ids)).astype(np.float32) if is_weighted else None
    feature = Ragged(ids, lengths, weights)
    assert np.array_equal(look_up(table, feature, pooling), reference.look_up(table, feature, pooling))


@settings(max_examples=60, deadline=None)
@given(cases())
def test_sequence_lookups_equal_the_reference(case: tuple[np.random.Generator, Table, int, bool, str]) -> None:
    rng, table, n_rows, is_weighted, pooling = case
    steps = rng.choice(np.array([0, 1, 2, 9]), n_rows)
    keys = lengths_of(rng, int(steps.sum()))
    ids = rng.integers(-len(table) - 2, len(table) + 3, keys.sum())
    weights = rng.standard_normal(len(ids)).astype(np.float32) if is_weighted else None
    lengths = np.array([part.sum() for part in np.split(keys, np.cumsum(steps)[:-1])] if n_rows else [], np.int64)
    feature = Ragged(ids, lengths, weights, keys, steps)
    assert np.array_equal(look_up(table, feature, pooling), reference.look_up(table, feature, pooling))


@pytest.mark.parametrize("pooling", ["sum", "mean"])
def test_pooling_is_that_of_torch(pooling: str) -> None:
    rng = np.random.default_rng(3)
    table = table_of(rng, 50, 16, False)
    lengths = np.array([0, 1, 5, 3, 0, 2])
    ids = rng.integers(0, 50, lengths.sum())
    bag = torch.nn.functional.embedding_bag(
        torch.from_numpy(ids),
        torch.from_numpy(table.rows),
        torch.from_numpy(np.cumsum(lengths) - lengths),
        mode=pooling,
    )
    np.testing.assert_allclose(look_up(table, Ragged(ids, lengths), pooling), bag.numpy(), rtol=1e-6, atol=1e-6)


def test_a_mean_counts_unknown_ids_and_ignores_weights_in_its_divisor() -> None:
    table = Table.direct("t", np.array([[2.0], [4.0]], np.float32))
    ids = np.array([0, 1, 9, -1])
    feature = Ragged(ids, np.array([4]), np.array([0.5, 0.5, 1, 1], np.float32))
    assert look_up(table, Ragged(ids, np.array([4])), "mean").tolist() == [[1.5]]
    assert look_up(table, feature, "mean").tolist() == [[0.75]]


class Values:
    """A value table built row by row, which keeps its arrays."""

    def __init__(self, rows: int) -> None:
        self.table = np.zeros((rows, memory.FIELDS), np.int64)
        self.arrays: list[np.ndarray] = []

    def address(self, array: np.ndarray) -> int:
        self.arrays.append(array)
        return array.ctypes.data

    def put(self, at: int, values: np.ndarray, starts: I64, ends: I64, *, stride: int = 1) -> None:
        self.table[at, memory.VALUES] = self.address(values)
        self.table[at, memory.STARTS] = self.address(starts)
        self.table[at, memory.ENDS] = self.address(ends)
        self.table[at, memory.STRIDE] = stride
        self.table[at, memory.ROWS] = len(starts)


def test_one_call_fills_the_columns_of_many_features_and_no_others() -> None:
    rng = np.random.default_rng(5)
    values = Values(5)
    ids = rng.integers(0, 20, 6)
    steps_ids = rng.integers(0, 20, 5)
    numbers = rng.standard_normal(8).astype(np.float32)
    values.put(0, ids, np.array([4, 0, 1]), np.array([6, 1, 1]))
    values.put(1, ids, np.array([2]), np.array([5]), stride=0)
    values.put(2, numbers, np.array([0, 2, 3]), np.array([2, 3, 3]))
    values.put(3, steps_ids, np.arange(5), np.arange(5) + 1)
    values.put(4, steps_ids, np.array([0, 4, 4]), np.array([4, 4, 5]))
    table, other = table_of(rng, 20, 3, False), table_of(rng, 20, 2, True)
    flat = np.full((3, 11), 9, np.float32)
    sequence = np.full((3, 2, 7), 9, np.float32)
    lookups = LookupSet(
        [
            Lookup("a", 0, 0, 0, table),
            Lookup("b", 1, 0, 4, other, pooling="mean"),
            Lookup("c", 2, 0, 8, width=2),
            Lookup("s", 3, 1, 1, table, steps=4),
            Lookup("d", 2, 1, 5, width=1, steps=1),
        ]
    )
    values.table[1, memory.STARTS] = values.address(np.array([0]))
    values.table[1, memory.ENDS] = values.address(np.array([2]))
    lookups.run(values.table, np.stack([describe_buffer(flat), describe_buffer(sequence)]), 3)
    pooled = reference.pool(table, np.concatenate([ids[4:6], ids[:1]]), np.array([2, 1, 0]))
    assert np.array_equal(flat[:, :3], pooled)
    once = reference.pool(other, ids[:2], np.array([2]), "mean")
    assert np.array_equal(flat[:, 4:6], np.repeat(once, 3, axis=0))
    dense = numbers
    assert np.array_equal(flat[:, 8:10], [dense[:2], [dense[2], 0], [0, 0]])
    steps = reference.pad(reference.pool(table, steps_ids, np.ones(5, np.int64)), np.array([4, 0, 1]), 2)
    assert np.array_equal(sequence[:, :, 1:4], steps)
    assert np.array_equal(sequence[:, :, 5:6], np.broadcast_to([[[dense[0]], [dense[2]]]], (3, 2, 1)))
    assert (flat[:, [3, 6, 7, 10]] == 9).all()
    assert (sequence[:, :, [0, 4, 6]] == 9).all()


def test_threads_share_a_lookup_set() -> None:
    rng = np.random.default_rng(6)
    table = table_of(rng, 100, 8, True)
    lookups = LookupSet([Lookup("a", 0, 0, 0, table)])
    wrong = []

    def work(seed: int) -> None:
        ids = np.random.default_rng(seed).integers(-100, 100, 200)
        values = Values(1)
        values.put(0, ids, np.arange(200), np.arange(200) + 1)
        expected = reference.pool(table, ids, np.ones(200, np.int64))
        for _ in range(20):
            out = np.empty((200, 8), np.float32)
            lookups.run(values.table, describe_buffer(out)[np.newaxis], 200)
            if not np.array_equal(out, expected):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(
    ("lookup", "n_rows", "message"),
    [
        ({"column": 2}, 1, "feature 'a': its columns do not fit into its buffer"),
        ({}, 3, "feature 'a': its value has fewer than 3 rows"),
        ({"is_weighted": True}, 1, "feature 'a': its value has no weights"),
    ],
)
def test_a_call_that_would_leave_its_memory_is_refused(lookup: dict[str, int], n_rows: int, message: str) -> None:
    table = Table.direct("t", np.ones((2, 3), np.float32))
    values = Values(1)
    values.put(0, np.zeros(2, np.int64), np.arange(2), np.arange(2) + 1)
    out = np.zeros((3, 4), np.float32)
    with pytest.raises(InvariantError) as caught:
        LookupSet([Lookup("a", 0, 0, table=table, **lookup)]).run(
            values.table, describe_buffer(out)[np.newaxis], n_rows
        )  # type: ignore[arg-type]
    assert str(caught.value) == message
    assert not out.any()


def test_an_unknown_pooling_is_refused() -> None:
    table = Table.direct("t", np.ones((2, 3), np.float32))
    with pytest.raises(ConfigError) as caught:
        look_up(table, Ragged(np.zeros(1, np.int64), np.array([1])), "meen")
    assert str(caught.value).endswith("pooling 'meen' is not one of sum, mean. Did you mean 'mean'?")


def test_no_columns_are_refused() -> None:
    with pytest.raises(InvariantError, match=r"^feature 'a': 0 columns from column 0$"):
        LookupSet([Lookup("a", 0, 0)])


def test_a_buffer_of_another_layout_is_refused() -> None:
    for array in (np.zeros((2, 2)), np.zeros(3, np.float32), np.zeros((2, 2), np.float32).T):
        with pytest.raises(InvariantError, match=r"^a buffer is float"):
            describe_buffer(array)


def test_lengths_that_do_not_add_up_are_refused() -> None:
    table = Table.direct("t", np.ones((2, 3), np.float32))
    ids, one = np.zeros(1, np.int64), np.array([1])
    with pytest.raises(InvariantError, match=r"^lengths add up to 2, but there are 1 values$"):
        look_up(table, Ragged(ids, np.array([2])))
    with pytest.raises(InvariantError, match=r"^key_lengths add up to 2, but there are 1 values$"):
        look_up(table, Ragged(ids, one, None, np.array([2]), one))


def test_a_dense_sequence_has_no_ids() -> None:
    table = Table.direct("t", np.ones((2, 3), np.float32))
    feature = Ragged(np.zeros((1, 3), np.float32), np.array([1]), seq_lengths=np.array([1]))
    for function in (look_up, reference.look_up):
        with pytest.raises(InvariantError, match=r"^a dense sequence has no ids to look up$"):
            function(table, feature)
