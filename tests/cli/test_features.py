from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recserve.cli.features import read_batches, to_arrow, write_features
from recserve.cli.output import read_parquet, write_parquet
from recserve.columns import Ragged
from recserve.errors import DataError
from recserve.features.feature_set import FeatureSet

CONFIG = {
    "features": [
        {"feature_type": "raw_feature", "feature_name": "price", "expression": "item:price"},
        {
            "feature_type": "id_feature",
            "feature_name": "brand",
            "expression": "item:brand",
            "hash_bucket_size": 100,
            "embedding_dim": 4,
        },
    ]
}


def plan() -> Any:
    return FeatureSet.from_fg_json(CONFIG).compile(reference=True)


def test_a_feature_becomes_a_column_of_its_own_shape() -> None:
    ids, key = np.array([7, 9, 4]), np.array([1, 2])
    assert to_arrow("d", np.array([[1, 2], [3, 4]], np.float32))["d"].to_pylist() == [[1.0, 2.0], [3.0, 4.0]]
    assert to_arrow("s", Ragged(ids, np.array([2, 1])))["s"].to_pylist() == [[7, 9], [4]]
    weighted = to_arrow("w", Ragged(ids, np.array([2, 1]), weights=np.array([1, 2, 3], np.float32)))
    assert weighted["w.weights"].to_pylist() == [[1.0, 2.0], [3.0]]
    sequence = Ragged(ids, np.array([3, 0]), key_lengths=key, seq_lengths=np.array([2, 0]))
    assert to_arrow("q", sequence)["q"].to_pylist() == [[[7], [9, 4]], []]
    dense = Ragged(np.array([[1], [2]], np.float32), np.array([0, 2]), seq_lengths=np.array([0, 2]))
    assert to_arrow("e", dense)["e"].to_pylist() == [[], [[1.0], [2.0]]]
    tokens = Ragged(np.array(["a", "b"], object), np.array([1, 1]))
    assert to_arrow("t", tokens)["t"].to_pylist() == [["a"], ["b"]]


def test_batches_do_not_change_what_is_written(tmp_path: Path) -> None:
    source = tmp_path / "raw.parquet"
    write_parquet(pa.table({"price": [1.0, 2.0, 3.0], "brand": ["a", "b", "a"]}), source)
    for batch_rows in (1, 2, 100):
        out = tmp_path / "new" / f"{batch_rows}.parquet"
        assert write_features(plan(), source, out, batch_rows) == (3, ["price", "brand"])
        assert read_parquet(out).equals(read_parquet(tmp_path / "new" / "1.parquet"))
    written = read_parquet(out)
    assert written["price"].to_pylist() == [[1.0], [2.0], [3.0]]
    brand = written["brand"].to_pylist()
    assert brand[0] == brand[2] != brand[1]


def test_a_file_without_rows_gives_one_without_rows(tmp_path: Path) -> None:
    source, out = tmp_path / "raw.parquet", tmp_path / "out.parquet"
    write_parquet(pa.table({"price": pa.array([], pa.float64()), "brand": pa.array([], pa.string())}), source)
    assert len(list(read_batches(source, 10))) == 1
    assert write_features(plan(), source, out, 10) == (0, ["price", "brand"])


def test_wrong_input_leaves_no_file(tmp_path: Path) -> None:
    source, out = tmp_path / "raw.parquet", tmp_path / "out.parquet"
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        write_features(plan(), source, out, 10)
    write_parquet(pa.table({"price": [1.0]}), source)
    with pytest.raises(DataError, match="'brand' is missing"):
        write_features(plan(), source, out, 10)
    assert list(tmp_path.iterdir()) == [source]
