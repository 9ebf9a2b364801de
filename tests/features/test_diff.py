from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recserve.errors import DataError
from recserve.features import diff
from recserve.features.diff import Tolerance, compare_files, differing_rows

FLOATS = st.sampled_from([0.0, -0.0, 1.0, 1.001, 2.0, math.nan, math.inf, -math.inf])
TYPES: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.list_(pa.float32(), 2), st.lists(FLOATS, min_size=2, max_size=2)),
    (pa.large_list(pa.int64()), st.lists(st.integers(0, 2), max_size=3)),
    (pa.large_list(pa.large_string()), st.lists(st.sampled_from(["a", "b", ""]), max_size=3)),
    (pa.large_list(pa.large_list(pa.int64())), st.lists(st.lists(st.integers(0, 1), max_size=2), max_size=2)),
    (pa.large_list(pa.list_(pa.float32(), 1)), st.lists(st.lists(FLOATS, min_size=1, max_size=1), max_size=2)),
    (pa.float64(), FLOATS | st.none()),
    (pa.int64(), st.integers(0, 2) | st.none()),
]


def equals(a: Any, b: Any, near: Tolerance) -> bool:
    """The same by one value at a time."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(equals(x, y, near) for x, y in zip(a, b, strict=True))
    if isinstance(a, float) and isinstance(b, float):
        if a == b or (math.isnan(a) and math.isnan(b)):
            return True
        return math.isfinite(b) and abs(a - b) <= near.absolute + near.relative * abs(b)
    return bool(a == b)


@given(st.data())
def test_rows_differ_where_their_values_do(data: st.DataObject) -> None:
    kind, cells = data.draw(st.sampled_from(TYPES))
    near = data.draw(st.sampled_from([Tolerance(), Tolerance(absolute=0.01), Tolerance(relative=0.01)]))
    rows = data.draw(st.lists(st.tuples(cells, cells), max_size=6))
    left, right = (pa.array([row[side] for row in rows], kind) for side in (0, 1))
    differs, _ = differing_rows(left, right, near)
    pairs = zip(left.to_pylist(), right.to_pylist(), strict=True)
    assert differs.tolist() == [not equals(a, b, near) for a, b in pairs]


def write(path: Path, columns: dict[str, Any]) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=2)
    return path


def test_each_feature_gets_its_rate_and_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diff, "BATCH_ROWS", 2)
    left = write(tmp_path / "a", {"x": [[1], [2], [3], [4]], "y": [1.0, 2.0, 3.0, 4.0], "z": ["a"] * 4})
    right = write(tmp_path / "b", {"x": [[1], [2, 2], [3], [5]], "y": [1.0, 2.0, 3.5, 4.0], "w": ["a"] * 4})
    found = compare_files(left, right, examples=1)
    by_name = {feature.name: feature for feature in found.features}
    assert not found.is_equal
    assert (by_name["x"].rate, by_name["x"].examples) == (0.5, [(1, [2], [2, 2])])
    assert (by_name["y"].mismatches, by_name["y"].largest, by_name["y"].examples) == (1, 0.5, [(2, 3.0, 3.5)])
    assert (by_name["z"].problem, by_name["w"].problem) == ("only on the left", "only on the right")
    assert by_name["z"].rate == 1.0
    assert compare_files(left, left).is_equal


def test_files_of_other_lengths_and_types_differ(tmp_path: Path) -> None:
    left = write(tmp_path / "a", {"x": [1, 2, 3], "t": [1, 2, 3]})
    right = write(tmp_path / "b", {"x": [1, 2], "t": [1.0, 2.0]})
    found = compare_files(left, right)
    assert (found.left_rows, found.right_rows, found.is_equal) == (3, 2, False)
    assert found.features[0].is_equal
    assert found.features[0].rows == 2
    assert found.features[1].problem == "int64 on the left, double on the right"


def test_what_is_no_parquet_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("no")
    with pytest.raises(DataError, match=r"a: cannot be read as Parquet"):
        compare_files(tmp_path / "a", tmp_path / "a")
