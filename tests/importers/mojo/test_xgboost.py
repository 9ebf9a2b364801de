from __future__ import annotations

import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recserve.errors import ConfigError
from recserve.importers import read

Make = Callable[..., Path]


def booster(tests: list[tuple[int, float, bool]], objective: str = "reg:squarederror", features: int = 4) -> bytes:
    """One stump a test: below the threshold 1, else 2, each times 10 to its number."""
    parts = [b"binf", struct.pack("<fIiiiII", 0.5, features, 0, 0, 0, 1, 6), bytes(4 * 27)]
    parts += [struct.pack("<q", len(text)) + text.encode() for text in (objective, "gbtree")]
    parts.append(struct.pack("<i", len(tests)) + bytes(39 * 4))
    for number, (feature, threshold, default_left) in enumerate(tests):
        split = feature | (default_left << 31)
        parts.append(struct.pack("<ii", 1, 3) + bytes(35 * 4))
        parts.append(struct.pack("<iiiIf", -1, 1, 2, split, threshold))
        parts += [struct.pack("<iiiIf", 0, -1, -1, 0, leaf * 10.0**number) for leaf in (1, 2)]
        parts.append(bytes(16 * 3))
    return b"".join(parts) + struct.pack(f"<{len(tests)}i", *[0] * len(tests))


def make(make_mojo: Make, data: bytes, **extra: Any) -> Path:
    info = {"algo": "xgboost", "mojo_version": "1.10", "cats": 1, "nums": 1, "cat_offsets": [0, 3], "sparse": False}
    info |= {"use_all_factor_levels": True, "booster": "gbtree", "has_offset": False, **extra}
    domains: dict[int, list[str]] = {0: ["a", "b"]}
    if info.get("n_classes") == 2:
        domains[2] = ["no", "yes"]
    return make_mojo(info, ["city", "x", "y"], domains, {"boosterBytes": data})


# Features: city a, city b, city missing, x.
TESTS = [(0, 0.5, True), (2, 0.5, True), (3, 0.0, False)]
ROWS: dict[str, list[Any]] = {"city": ["a", "b", None, "new"], "x": [-1.0, 0.0, None, 3.0]}


def value(hot: int, x: float, is_sparse: bool) -> float:
    row = [float(i == hot) for i in range(3)] + [x]
    total = 0.5
    for number, (feature, threshold, default_left) in enumerate(TESTS):
        cell = row[feature]
        missing = math.isnan(cell) or (is_sparse and cell == 0)
        total += (1 if (default_left if missing else cell < threshold) else 2) * 10.0**number
    return total


@pytest.mark.parametrize("is_sparse", [False, True])
def test_levels_are_one_hot_and_sparse_zeros_are_missing(is_sparse: bool, make_mojo: Make) -> None:
    model = read(make(make_mojo, booster(TESTS), sparse=is_sparse))
    want = [value(hot, x, is_sparse) for hot, x in [(0, -1.0), (1, 0.0), (2, math.nan), (2, 3.0)]]
    assert model.score(ROWS).outputs["predict"].tolist() == want


def test_an_offset_takes_the_place_of_the_base_score(make_mojo: Make) -> None:
    model = read(make(make_mojo, booster(TESTS), has_offset=True, offset_column="o"))
    found = model.score(ROWS | {"o": [0.25, 0.0, 1.0, 2.0]}).outputs["predict"]
    cells = [(0, -1.0), (1, 0.0), (2, math.nan), (2, 3.0)]
    want = [value(*cell, False) - 0.5 + o for cell, o in zip(cells, [0.25, 0.0, 1.0, 2.0], strict=True)]
    np.testing.assert_allclose(found, want)


def test_two_classes_share_one_sum(make_mojo: Make) -> None:
    classes = {"category": "Binomial", "n_classes": 2}
    found = read(make(make_mojo, booster([(3, 0.0, False)], "binary:logistic"), **classes)).score(ROWS).outputs
    np.testing.assert_allclose(found["yes"], [1 / (1 + math.exp(-x)) for x in (1, 2, 2, 2)], rtol=1e-6)
    np.testing.assert_allclose(found["no"], 1 - found["yes"], atol=1e-7)


@pytest.mark.parametrize(
    ("data", "extra", "message"),
    [
        (booster(TESTS)[:300], {}, "boosterBytes: the booster's 300 bytes end early"),
        (booster(TESTS, features=9), {}, "the booster has 9 features, model.ini 4"),
        (booster([(7, 0.0, True)]), {}, r"tree 0: tests a feature outside of 0 … 3"),
        (booster(TESTS), {"cat_offsets": [0]}, "has 1 offsets for 1 columns of 2"),
        (booster(TESTS, "reg:odd"), {}, "the objective 'reg:odd' is unknown"),
        (booster(TESTS), {"mojo_version": "1.20"}, "newer than 1.10"),
    ],
)
def test_contradictions_are_refused(data: bytes, extra: dict[str, Any], message: str, make_mojo: Make) -> None:
    with pytest.raises(ConfigError, match=message):
        read(make(make_mojo, data, **extra))
