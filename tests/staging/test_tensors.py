from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recserve import memory
from recserve.columns import offsets_of
from recserve.errors import ConfigError, DataError
from recserve.features.graph import GraphOutput
from recserve.features.outputs import OutputKind, OutputSpec
from recserve.rates import Rate
from recserve.staging.cuts import NetworkInput
from recserve.staging.tensors import Buffers, TensorMaker, find_table
from recserve.tables.table import Table

SHAPES = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), max_size=6).map(tuple)


def table(name: str, rows: int, dim: int) -> Table:
    return Table.direct(name, np.arange(rows * dim, dtype=np.float32).reshape(rows, dim))


def sparse(name: str = "category", **options: Any) -> OutputSpec:
    known = {"dim": 4, "rate": Rate.REQUEST, "table": "category_emb", "rows": 9} | options
    return OutputSpec(name, OutputKind.SPARSE, **known)


def refuse(spec: OutputSpec, tables: dict[str, Table]) -> str:
    with pytest.raises(ConfigError) as caught:
        find_table(spec, tables)
    return str(caught.value)


@given(st.lists(SHAPES, min_size=1, max_size=6))
def test_buffers_are_apart_aligned_and_of_their_shape(takes: list[tuple[tuple[int, ...], ...]]) -> None:
    buffers = Buffers()
    for shapes in takes:
        arrays, described = buffers.take(shapes)
        assert [array.shape for array in arrays] == list(shapes)
        assert len(described) == len(shapes)
        for number, array in enumerate(arrays):
            assert array.size == 0 or array.ctypes.data % 64 == 0
            array[...] = number
        for number, array in enumerate(arrays):
            assert (array == number).all()


def test_a_repeated_shape_is_the_same_memory() -> None:
    buffers = Buffers()
    first, described = buffers.take(((3, 4), (2, 5)))
    assert buffers.take(((3, 4), (2, 5))) == (first, described)
    buffers.take(((100, 100),))
    again, _ = buffers.take(((3, 4), (2, 5)))
    assert [array.shape for array in again] == [(3, 4), (2, 5)]
    for rows in range(1, 100):
        assert buffers.take(((rows, 1),))[0][0].shape == (rows, 1)


def test_the_table_of_a_feature_is_found() -> None:
    known = {"category_emb": table("category_emb", 9, 4)}
    assert find_table(sparse(), known) is known["category_emb"]
    assert find_table(OutputSpec("age", OutputKind.DENSE, 1, Rate.REQUEST), known) is None


def test_a_table_that_does_not_fit_is_refused() -> None:
    known = {"category_emb": table("category_emb", 9, 4)}
    assert refuse(sparse(table="categry_emb"), known) == (
        "feature 'category': needs the table 'categry_emb', which was not given. Did you mean 'category_emb'?"
    )
    assert refuse(sparse(table="x"), known).endswith("Tables: category_emb")
    assert refuse(sparse(), {}).endswith("Tables: none")
    assert refuse(sparse(dim=5), known) == (
        "feature 'category': has embedding_dim 5, but table 'category_emb' has rows of 4"
    )
    assert refuse(sparse(rows=10), known) == (
        "feature 'category': yields ids below 10, but table 'category_emb' has 9 rows. "
        "Export the table that was trained with this config"
    )


def test_dynamic_ids_need_a_hashed_table() -> None:
    assert refuse(sparse(is_dynamic=True), {"category_emb": table("category_emb", 9, 4)}) == (
        "feature 'category': yields hashes of 63 bits, but table 'category_emb' is addressed by row number. "
        "Give a table with signs: Table.hashed(name, signs, rows)"
    )


def test_a_hashed_table_may_have_any_number_of_rows() -> None:
    rows = np.zeros((2, 4), np.float32)
    hashed = Table.hashed("category_emb", np.array([5, 700], np.int64), rows)
    assert find_table(sparse(rows=1000), {"category_emb": hashed}) is hashed


class Steps:
    """A value table of sequences: STEPS values, each followed by a value of one id a step."""

    def __init__(self, lengths: list[list[int]]) -> None:
        self.values = np.zeros((2 * len(lengths), memory.FIELDS), np.int64)
        self.kept: list[Any] = []
        self.ids = [np.arange(sum(steps), dtype=np.int64) % 9 for steps in lengths]
        for n, steps in enumerate(lengths):
            self._put(2 * n, offsets_of(np.array(steps)), None)
            self._put(2 * n + 1, np.arange(sum(steps) + 1, dtype=np.int64), self.ids[n])

    def _put(self, slot: int, offsets: Any, ids: Any) -> None:
        row = self.values[slot]
        self.kept += [offsets, ids]
        row[memory.STARTS] = offsets.ctypes.data
        row[memory.ENDS] = offsets.ctypes.data + 8
        row[memory.STRIDE], row[memory.ROWS] = 1, len(offsets) - 1
        if ids is not None:
            row[memory.VALUES], row[memory.COUNT] = ids.ctypes.data, len(ids)


def sequence_inputs(groups: list[str]) -> list[NetworkInput]:
    inputs = []
    for n, group in enumerate(groups):
        spec = OutputSpec(
            f"{group}__{n}", OutputKind.SPARSE_SEQUENCE, 4, Rate.REQUEST, "category_emb", 9, sequence=group
        )
        output = GraphOutput(spec, 2 * n + 1, 2 * n)
        inputs.append(NetworkInput(spec.name, Rate.REQUEST, output, group, 2 * n))
    first = {group: 2 * n for n, group in reversed(list(enumerate(groups)))}
    inputs += [NetworkInput(f"{group}.lengths", Rate.REQUEST, None, group, steps) for group, steps in first.items()]
    return inputs


def maker(groups: list[str]) -> TensorMaker:
    return TensorMaker(sequence_inputs(groups), {"category_emb": table("category_emb", 9, 4)}, lambda value: value)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=6))
def test_groups_have_step_axes_of_their_own(rows: list[tuple[int, int]]) -> None:
    first, second = ([row[n] for row in rows] for n in range(2))
    known = Steps([first, second, first])
    tensors = maker(["a", "b", "a"]).make(known.values, len(rows), Buffers())
    for name, lengths, ids in (("a__0", first, 0), ("b__1", second, 1), ("a__2", first, 2)):
        expected = np.zeros((len(rows), max(lengths), 4), np.float32)
        at = offsets_of(np.array(lengths))
        for n, length in enumerate(lengths):
            for step in range(length):
                expected[n, step] = np.arange(4) + 4 * known.ids[ids][at[n] + step]
        np.testing.assert_array_equal(tensors[name], expected)
    assert tensors["a.lengths"].tolist() == first
    assert tensors["b.lengths"].tolist() == second


@given(st.lists(st.integers(0, 4), min_size=1, max_size=5), st.data())
def test_unequal_steps_name_the_feature_and_the_first_row(lengths: list[int], data: st.DataObject) -> None:
    row = data.draw(st.integers(0, len(lengths) - 1))
    other = list(lengths)
    other[row] += 1
    known = Steps([lengths, lengths, other])
    with pytest.raises(DataError) as caught:
        maker(["a", "a", "a"]).make(known.values, len(lengths), Buffers())
    assert caught.value.code == "unequal_steps"
    assert str(caught.value) == (
        f"feature 'a__2': row {row} has another number of steps than the other features of sequence 'a'. "
        "Send columns of equal length for a sequence"
    )


def test_without_inputs_there_is_nothing_to_make() -> None:
    assert TensorMaker([], {}, lambda value: value).make(np.zeros((0, memory.FIELDS), np.int64), 3, Buffers()) == {}
