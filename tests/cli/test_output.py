from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from recserve.cli.output import print_json, print_table, read_bytes, read_parquet, write_parquet
from recserve.errors import DataError


def test_json_takes_numbers_of_numpy(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": np.float32(0.5), "b": np.array([1, 2]), "c": float("nan")})
    assert json.loads(capsys.readouterr().out) == {"a": 0.5, "b": [1, 2], "c": None}


def test_a_table_in_a_pipe_is_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("A title longer than its table", ["name", "value"], [("x" * 100, 0.123456789), ("[red]y", 3)])
    out = capsys.readouterr().out
    assert "A title longer than its table\n" in out
    assert "x" * 100 in out
    assert "0.123457" in out
    assert "[red]y" in out


def test_a_request_comes_from_a_file_or_from_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "r.json"
    file.write_bytes(b"{}")
    assert read_bytes(str(file)) == b"{}"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"[]")))
    assert read_bytes("-") == b"[]"
    with pytest.raises(DataError, match="none: cannot be read: No such file or directory"):
        read_bytes(str(tmp_path / "none"))


def test_parquet_is_written_whole_and_read_back(tmp_path: Path) -> None:
    table = pa.table({"a": [1, 2]})
    write_parquet(table, tmp_path / "new" / "t.parquet")
    assert read_parquet(tmp_path / "new" / "t.parquet").equals(table)
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["t.parquet"]


def test_a_broken_parquet_file_is_told(tmp_path: Path) -> None:
    file = tmp_path / "t.parquet"
    file.write_bytes(b"PAR1 and no more")
    for path in (file, tmp_path / "none"):
        with pytest.raises(DataError, match=f"^{path}: cannot be read as Parquet: "):
            read_parquet(path)
    (tmp_path / "folder").write_bytes(b"")
    with pytest.raises(DataError, match="cannot be written"):
        write_parquet(pa.table({"a": [1]}), tmp_path / "folder" / "t.parquet")
