from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recserve.cli.build import build, load_tables, save_tables
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


def test_an_engine_and_a_gate_are_recorded_and_printed(
    market: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("openvino")
    save_tables(market.tables, tmp_path / "tables")
    (tmp_path / "fg.json").write_text(json.dumps(market.features.to_fg_json()))
    options = {"features": tmp_path / "fg.json", "network": market.network("deepfm"), "tables": tmp_path / "tables"}
    records = pa.table({name: [row.get(name) for row in market.items] for name in ("item_id", "category", "price")})
    pq.write_table(records.append_column("click", pa.array([n % 2 for n in range(64)])), tmp_path / "r.parquet")
    build(**options, out=tmp_path / "m" / "1", engine="onnxruntime", block=8)
    assert "Engine: onnxruntime fp32 block 8" in capsys.readouterr().out
    held = {"records": tmp_path / "r.parquet", "label": "click"}
    build(**options, out=tmp_path / "m" / "2", engine="openvino", block=8, precision="bf16", max_auc_loss=1.0, **held)
    printed = capsys.readouterr().out
    assert "Engine: openvino bf16 block 8" in printed
    assert "auc_change" in printed
    with pytest.raises(ConfigError, match="unknown engine 'onnx'"):
        build(**options, out=tmp_path / "m" / "3", engine="onnx")


def test_stored_precisions_are_recorded_and_printed(
    market: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_tables(market.tables, tmp_path / "tables")
    (tmp_path / "fg.json").write_text(json.dumps(market.features.to_fg_json()))
    options = {"features": tmp_path / "fg.json", "network": market.network("deepfm"), "tables": tmp_path / "tables"}
    name = sorted(market.tables)[0]
    asked = {"payload_precision": "auto", "table_precision": f"{name}=fp32,*=bf16", "max_difference": 0.03}
    build(**options, **asked, out=tmp_path / "m" / "1")
    printed = capsys.readouterr().out
    assert "bytes an item (" in printed
    assert "bytes of table rows (" in printed
    assert "Precision: payload bf16, tables bf16" in printed
    assert "Not taken: payload int8, tables bf16: scores differ by" in printed
    with pytest.raises(ConfigError, match="unknown precision 'item_emb:int8'"):
        build(**options, table_precision="item_emb:int8", out=tmp_path / "m" / "2")
