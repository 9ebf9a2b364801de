"""Parameters in canonical form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recserve.scoring.params import Param, canonical, canonical_value, identity


@pytest.mark.parametrize(
    ("value", "wanted"),
    [(1, 1.0), (np.float32(0.5), 0.5), (np.bool_(True), True), (True, True), ("a", "a"), (float("nan"), None)],
)
def test_values_become_floats_booleans_texts_or_nothing(value: Any, wanted: Any) -> None:
    found = canonical_value(value)
    assert found == wanted
    assert type(found) is type(wanted)


def test_arrays_are_copied_and_cannot_be_changed() -> None:
    mine = np.ones(3)
    found = canonical(Param("numbers"), mine)
    mine[0] = 2.0
    assert found.tolist() == [1.0, 1.0, 1.0]
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 2.0


def test_parameters_that_differ_have_different_identities() -> None:
    variants: list[dict[str, Any]] = [
        *({"value": value} for value in (0.0, -0.0, 1.0, True, "1", None)),
        {"value": np.array([1.0])},
        {"value": np.array([[1.0]])},
        {"value": np.array([1])},
    ]
    assert len({identity(variant) for variant in variants}) == len(variants)
    assert identity({"value": np.array([np.nan])}) == identity({"value": np.array([np.nan])})
