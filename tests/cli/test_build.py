from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recserve.cli.build import load_tables, save_tables
from recserve.errors import ConfigError


def test_tables_are_read_as_they_were_written(tmp_path: Path) -> None:
    tables = {"item": np.arange(6, dtype=np.float32).reshape(3, 2), "brand": np.zeros((1, 4), np.float32)}
    save_tables(tables, tmp_path / "tables")
    loaded = load_tables(tmp_path / "tables")
    assert sorted(loaded) == ["brand", "item"]
    for name, rows in tables.items():
        np.testing.assert_array_equal(loaded[name], rows)


def test_what_is_no_table_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none: there is no such directory"):
        load_tables(tmp_path / "none")
    file = tmp_path / "t.npy"
    np.save(file, np.zeros((2, 2)))
    with pytest.raises(ConfigError) as caught:
        load_tables(tmp_path)
    assert str(caught.value) == f"{file}: is float64[2, 2]. A table is float32[rows, dim]."
    np.save(file, np.array([{}]), allow_pickle=True)
    with pytest.raises(ConfigError, match="is no NumPy file"):
        load_tables(tmp_path)
    file.write_bytes(b"\x93NUMPY")
    with pytest.raises(ConfigError, match="is no NumPy file"):
        load_tables(tmp_path)
    file.write_bytes(b"")
    with pytest.raises(ConfigError, match="is no NumPy file"):
        load_tables(tmp_path)
