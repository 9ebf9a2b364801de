from __future__ import annotations

import math
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from recserve.errors import ConfigError
from recserve.importers import read
from recserve.importers.mojo.isolation import average_path, read_plane_tree

Make = Callable[..., Path]


def plane(number: int, normal: list[float], point: list[float]) -> bytes:
    return struct.pack("<iB", number, ord("N")) + struct.pack("<4d", *normal, *point)


def leaf(number: int, rows: int) -> bytes:
    return struct.pack("<iBi", number, ord("L"), rows)


TREE = struct.pack("<i", 2) + plane(0, [1.0, -1.0], [0.5, 0.0]) + leaf(1, 1) + plane(2, [0.0, 1.0], [0.0, 2.0])
TREE += leaf(5, 2) + leaf(6, 10) + bytes(64)  # H2O leaves zeros behind


def test_rows_on_a_plane_go_left_and_missing_values_right(make_mojo: Make) -> None:
    info = {"algo": "extendedisolationforest", "category": "AnomalyDetection", "supervised": False, "n_features": 2}
    path = make_mojo(info | {"ntrees": 1, "sample_size": 64}, ["a", "b"], files={"trees/t00.bin": TREE})
    rows = {"a": [0.5, 1.0, 3.0, None], "b": [0.0, 0.0, 2.25, 1.0]}
    lengths = [1.0, 3.0, 2 + average_path(10), 2 + average_path(10)]
    for reference in (False, True):
        scores = read(path).score(rows, reference=reference)
        assert scores.outputs["mean_length"].tolist() == lengths
        want = [2 ** -(length / average_path(64)) for length in lengths]
        assert scores.outputs["anomaly_score"].tolist() == pytest.approx(want, rel=1e-15)


def test_the_average_path_is_h2os() -> None:
    assert [average_path(rows) for rows in (0, 1, 2)] == [0.0, 0.0, 1.0]
    assert average_path(3) == 2 * (math.log(2) + 0.5772156649) - 4 / 3


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (TREE[:60], "end inside a node"),
        (struct.pack("<i", 3) + TREE[4:], "planes of 3 columns for 2"),
        (struct.pack("<i", 2) + leaf(4, 1), "has node 4 at byte 4"),
        (struct.pack("<iiB", 2, 0, 65), "has a node of kind 65"),
    ],
)
def test_a_damaged_tree_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_plane_tree(data, 2, "t00.bin")


def test_a_forest_without_trees_is_refused(make_mojo: Make) -> None:
    info = {"algo": "extendedisolationforest", "supervised": False, "n_features": 1, "ntrees": 0, "sample_size": 4}
    with pytest.raises(ConfigError, match="the forest has no trees"):
        read(make_mojo(info, ["a"]))
