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
from recserve.importers.mojo.prediction import class_names

Make = Callable[..., Path]
STUMP = struct.pack("<BHBfff", 0x70, 0, 2, 1.0, -1.0, 1.0)


def make(make_mojo: Make, files: dict[str, bytes] | None = None, **extra: Any) -> Path:
    info = {"algo": "gbm", "mojo_version": "1.40", "_genmodel_encoding": "AUTO", "n_trees": 1, "category": "Binomial"}
    info |= {"n_classes": 2, "distribution": "bernoulli", "init_f": 0.0, **extra}
    return make_mojo(info, ["x", "y"], {1: ["0", "1"]}, {"trees/t00_000.bin": STUMP} | (files or {}))


def test_labels_that_are_java_integers_get_a_letter() -> None:
    assert class_names(("0", "-1", "+2", "1.0", "a", "99999999999")) == ["p0", "p-1", "p+2", "1.0", "a", "99999999999"]


def test_platts_calibration_comes_beside_the_probabilities(make_mojo: Make) -> None:
    path = make(make_mojo, calib_method="platt", calib_glm_beta=[-3.0, 1.0])
    found = read(path).score({"x": [0.0]}).outputs
    p0 = 1 - 1 / (1 + math.e)
    assert found["p0"][0] == pytest.approx(p0)
    assert found["cal_p1"][0] == pytest.approx(1 / (1 + math.exp(3 * p0 - 1)))
    assert found["cal_p0"][0] == pytest.approx(1 - found["cal_p1"][0])


def test_isotonic_calibration_interpolates(make_mojo: Make) -> None:
    files = {f"calib/thresholds_{a}": struct.pack(">i2d", 2, *v) for a, v in (("x", (0.0, 1.0)), ("y", (0.2, 0.6)))}
    path = make(make_mojo, files, calib_method="isotonic", calib_min_x=0.0, calib_max_x=0.5)
    found = read(path).score({"x": [0.0, 2.0]}).outputs
    np.testing.assert_allclose(found["cal_p1"], [0.2 + 0.4 * found["p1"][0], 0.4])


@pytest.mark.parametrize(
    ("files", "extra", "message"),
    [
        ({}, {"calib_method": "odd"}, "the calibration 'odd' is unknown"),
        (
            {},
            {"balance_classes": True, "prior_class_distrib": [1.0], "model_class_distrib": [1.0]},
            "shares of 2 classes",
        ),
        (
            {"calib/thresholds_x": struct.pack(">i", 0), "calib/thresholds_y": struct.pack(">i", 0)},
            {"calib_method": "isotonic"},
            "has 0 thresholds for 0 values",
        ),
        ({"calib/thresholds_x": b"\x00\x00\x00\x09"}, {"calib_method": "isotonic"}, "has 4 bytes where 76 are due"),
    ],
)
def test_contradictions_are_refused(
    files: dict[str, bytes], extra: dict[str, Any], message: str, make_mojo: Make
) -> None:
    with pytest.raises(ConfigError, match=message):
        read(make(make_mojo, files, **extra))
