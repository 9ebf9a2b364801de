from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.errors import ConfigError
from recserve.scoring.graph import Graph
from recserve.scoring.ops_ties import hash_row, java_double, tied_label


def label(rows: list[list[float | None]], classes: int, prior: list[float] | None, reference: bool) -> list[float]:
    graph = Graph()
    values = [graph.input(f"x{i}", "number") for i in range(len(rows[0]))]
    graph.output("label", graph.apply("h2o_label", *values, classes=classes, prior=prior))
    columns = {f"x{i}": [row[i] for row in rows] for i in range(len(rows[0]))}
    found: list[float] = graph.build().run(columns, reference=reference).outputs["label"].tolist()
    return found


SHARES = st.sampled_from([0.0, 0.25, 0.5])
CELLS = st.one_of(st.none(), st.floats(-1e6, 1e6))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(SHARES, SHARES, SHARES, CELLS, CELLS), min_size=1, max_size=6),
    st.sampled_from([None, [0.2, 0.5, 0.3]]),
)
def test_the_block_equals_the_definition(rows: list[tuple[float | None, ...]], prior: list[float] | None) -> None:
    lists = [list(row) for row in rows]
    found = label(lists, 3, prior, reference=False)
    assert found == label(lists, 3, prior, reference=True)
    for row, one in zip(lists, found, strict=True):
        known = [np.nan if x is None else x for x in row]
        assert one == tied_label(known[:3], known[3:], prior)  # type: ignore[arg-type]


def test_java_gives_the_same_numbers() -> None:
    assert java_double(42) == 0.7275636800328681
    assert java_double(-1) == 0.26894263088050496
    assert java_double(-(2**63) + 12345) == 0.3618031071604718


def test_the_hash_is_of_shifted_bits() -> None:
    assert hash_row([1.0]) == 0x3FF0000000000000 >> 6
    assert hash_row([-1.0]) == -(0x4010000000000000 >> 6)
    assert hash_row([1.0, 1.0]) == 0
    assert hash_row([float("nan")]) == 0x7FF8000000000000 >> 6


def test_the_list_of_ties_starts_with_class_0_even_where_it_is_not_the_best() -> None:
    found = {tied_label([0.2, 0.4, 0.4], [x], [0.9, 0.05, 0.05]) for x in np.linspace(0, 1, 60).tolist()}
    assert 0 in found
    assert 1 not in found


def test_missing_probabilities_give_no_label() -> None:
    assert np.isnan(label([[0.5, None, 1.0]], 2, None, reference=False)).all()


def test_wrong_counts_are_refused() -> None:
    graph = Graph()
    with pytest.raises(ConfigError, match="3 classes for 1 arguments"):
        graph.apply("h2o_label", 1.0, classes=3)
    with pytest.raises(ConfigError, match="1 shares for 2 classes"):
        graph.apply("h2o_label", 1.0, 2.0, classes=2, prior=[1.0])
