"""The compiled form against the interpreter."""

from __future__ import annotations

from random import Random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.scoring.compiled import BLOCK_ROWS
from recserve.scoring.draw import draw_columns, draw_graph
from recserve.scoring.program import Scores

SEEDS = st.integers(0, 2**32)


def assert_same(found: Scores, wanted: Scores) -> None:
    """Equal bit for bit, but for the bits of NaN."""
    assert found.errors == wanted.errors
    assert list(found.outputs) == list(wanted.outputs)
    for name, want in wanted.outputs.items():
        got = found.outputs[name]
        assert got.dtype == want.dtype
        if want.dtype == object:
            assert repr(got.tolist()) == repr(want.tolist()), name  # NaN in a list equals NaN
            assert list(map(type, got.tolist())) == list(map(type, want.tolist())), name
        else:
            np.testing.assert_array_equal(got, want, err_msg=name)


@settings(max_examples=60)
@given(SEEDS)
def test_drawn_graphs_score_alike_in_both_forms(seed: int) -> None:
    random = Random(seed)
    program = draw_graph(random).build()
    columns = draw_columns(random, random.choice((0, 1, 3, 20)))
    assert_same(program.run(columns), program.run(columns, reference=True))


@settings(max_examples=5)
@given(SEEDS)
def test_rows_are_scored_alike_in_blocks_and_one_by_one(seed: int) -> None:
    random = Random(seed)
    program = draw_graph(random).build()
    columns = draw_columns(random, 2 * BLOCK_ROWS + 3)
    together = program.run(columns)
    for row in (0, BLOCK_ROWS - 1, BLOCK_ROWS, 2 * BLOCK_ROWS + 2):
        alone = program.run({name: values[row : row + 1] for name, values in columns.items()})
        assert (0 in alone.errors) == (row in together.errors)
        for name, values in together.outputs.items():
            np.testing.assert_array_equal(alone.outputs[name], values[row : row + 1])
