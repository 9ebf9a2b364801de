from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recserve.columns import Ragged
from recserve.errors import ConfigError, DataError, InvariantError
from recserve.features.outputs import OutputKind, OutputSpec
from recserve.rates import Rate
from recserve.training.batches import FeatureData, shuffle_into_batches

USER = Rate.REQUEST
PLAIN = OutputSpec("a", OutputKind.SPARSE, 2, USER, "a_emb", 9, is_weighted=True)
DENSE = OutputSpec("d", OutputKind.DENSE, 2, USER)
IDS = OutputSpec("s__i", OutputKind.SPARSE_SEQUENCE, 2, USER, "i_emb", 9, sequence="s")
FLOATS = OutputSpec("s__f", OutputKind.DENSE_SEQUENCE, 3, USER, sequence="s")
ALL = (PLAIN, DENSE, IDS, FLOATS)

Row = tuple[list[int], list[list[int]]]
ROW = st.tuples(st.lists(st.integers(0, 8), max_size=3), st.lists(st.lists(st.integers(0, 8), max_size=3), max_size=3))


def lengths(lists: list[Any]) -> np.ndarray:
    return np.array([len(x) for x in lists], np.int64)


def ints(values: list[int]) -> np.ndarray:
    return np.array(values, np.int64)


def extracted(rows: list[Row]) -> dict[str, Any]:
    """Columns of rows of (ids, steps of ids); floats are numbered."""
    plain = [ids for ids, _ in rows]
    steps = [step for _, sequence in rows for step in sequence]
    flat = ints([i for ids in plain for i in ids])
    seq_lengths = lengths([sequence for _, sequence in rows])
    return {
        "a": Ragged(flat, lengths(plain), flat.astype(np.float32) / 8),
        "d": np.arange(len(rows) * 2, dtype=np.float32).reshape(-1, 2),
        "s__i": Ragged(
            ints([i for step in steps for i in step]),
            ints([sum(map(len, sequence)) for _, sequence in rows]),
            key_lengths=lengths(steps),
            seq_lengths=seq_lengths,
        ),
        "s__f": Ragged(
            np.arange(len(steps) * 3, dtype=np.float32).reshape(-1, 3), seq_lengths, seq_lengths=seq_lengths
        ),
    }


@given(st.lists(ROW, min_size=1, max_size=5), st.data())
def test_a_batch_holds_what_its_rows_hold(rows: list[Row], data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=6))
    batch = FeatureData(extracted(rows), ALL).take(ints(chosen))
    longest = max(len(rows[n][1]) for n in chosen)
    bags, offsets = batch.bags["a"], batch.bags["a"].offsets.tolist()
    assert [bags.ids.tolist()[a:b] for a, b in pairwise(offsets)] == [rows[n][0] for n in chosen]
    assert bags.weights is not None
    assert bags.weights.tolist() == [i / 8 for i in bags.ids.tolist()]
    steps, offsets = batch.bags["s__i"], batch.bags["s__i"].offsets.tolist()
    cells = [steps.ids.tolist()[a:b] for a, b in pairwise(offsets)]
    assert steps.steps == longest
    assert cells == [step for n in chosen for step in rows[n][1] + [[]] * (longest - len(rows[n][1]))]
    assert batch.dense["d"].tolist() == [[2.0 * n, 2.0 * n + 1] for n in chosen]
    first = np.cumsum([0, *(len(sequence) for _, sequence in rows)])
    for n, block in zip(chosen, batch.dense["s__f"].numpy(), strict=True):
        count = len(rows[n][1])
        np.testing.assert_array_equal(block[:count, 0], 3.0 * (first[n] + np.arange(count)))
        assert not block[count:].any()
    assert batch.lengths["s"].tolist() == [len(rows[n][1]) for n in chosen]


def test_unequal_steps_of_one_group_are_refused() -> None:
    columns = extracted([([], [[1]]), ([], [[1], [2]])])
    columns["s__f"] = Ragged(np.zeros((2, 3), np.float32), ints([1, 1]), seq_lengths=ints([1, 1]))
    with pytest.raises(DataError, match=r"sequence 's': feature 's__f': row 1 has 1 steps, but 's__i' has 2. All feat"):
        FeatureData(columns, ALL)


def test_numbers_that_are_not_finite_are_refused() -> None:
    columns = extracted([([], []), ([], [])])
    columns["d"][1, 0] = np.nan
    with pytest.raises(DataError, match=r"feature 'd': value nan in row 1 is not finite. Give the feature a default"):
        FeatureData(columns, ALL)


def test_tokens_without_an_id_mapping_are_refused() -> None:
    columns = {"a": Ragged(np.array(["x"], object), ints([1]))}
    with pytest.raises(ConfigError, match=r"feature 'a': yields tokens, not ids.*Declare an id mapping"):
        FeatureData(columns, (PLAIN,))


def test_no_rows_and_no_features_are_refused() -> None:
    with pytest.raises(DataError, match=r"there are no rows"):
        FeatureData(extracted([]), ALL)
    with pytest.raises(ConfigError, match=r"there are no features to train on. Declare at least one"):
        FeatureData({}, ())


@pytest.mark.parametrize(
    ("name", "column", "message"),
    [
        ("a", None, "feature 'a': the plan did not extract this feature"),
        ("a", np.zeros((1, 2), np.float32), "feature 'a': a ndarray is not the output of kind sparse"),
        ("d", np.zeros((1, 5), np.float32), r"feature 'd': has the shape \(1, 5\), not \[rows, 2\]"),
        ("d", np.zeros((2, 2), np.float32), "features have different numbers of rows"),
        ("s__i", Ragged(ints([]), ints([0]), seq_lengths=ints([0])), "a sparse sequence came without key_lengths"),
    ],
)
def test_outputs_that_do_not_fit_their_specs_are_our_bug(name: str, column: Any, message: str) -> None:
    columns = extracted([([], [])])
    if column is None:
        del columns[name]
    else:
        columns[name] = column
    with pytest.raises(InvariantError, match=message):
        FeatureData(columns, ALL)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=200), st.integers(1, 7), st.integers(0, 3))
def test_batches_hold_each_row_once(longest: list[int], size: int, seed: int) -> None:
    batches = shuffle_into_batches(ints(longest), size, np.random.default_rng(seed))
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(longest)))
    assert {len(batch) for batch in batches} <= set(range(1, size + 1))


def test_rows_of_like_length_share_a_batch() -> None:
    longest = np.random.default_rng(0).integers(0, 50, 800)
    batches = shuffle_into_batches(longest, 50, np.random.default_rng(1))
    assert len(batches) == 16
    assert sum(len(batch) * longest[batch].max() for batch in batches) < 1.1 * longest.sum()
