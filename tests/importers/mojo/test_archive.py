from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from recserve.errors import ConfigError
from recserve.importers.mojo import archive
from recserve.importers.mojo.archive import open_archive

Pack = Callable[[Path, dict[str, bytes]], Path]


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        open_archive(path)
    assert caught.value.code == "damaged_model"
    return str(caught.value)


def test_files_are_read_from_a_zip_and_from_the_directory_it_unpacks_to(tmp_path: Path, pack: Pack) -> None:
    path = pack(tmp_path / "m.zip", {"model.ini": b"a\r\nb\n", "trees/t.bin": b"\x00\x01"})
    with zipfile.ZipFile(path) as file:
        file.extractall(tmp_path / "folder")
    for found in (open_archive(path), open_archive(tmp_path / "folder")):
        assert found.lines("model.ini") == ["a", "b"]
        assert found.inner("trees/").data("t.bin") == b"\x00\x01"
        assert "t.bin" in found.inner("trees/")
        assert "other" not in found


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "C:/x"])
def test_names_that_lead_out_are_refused(name: str, tmp_path: Path, pack: Pack) -> None:
    message = refusal(pack(tmp_path / "m.zip", {name: b""}))
    assert "leads out of the archive" in message
    assert "m.zip" in message


def test_a_name_with_a_backslash_is_refused(tmp_path: Path, pack: Pack) -> None:
    path = pack(tmp_path / "m.zip", {"a_b": b"x"})
    path.write_bytes(path.read_bytes().replace(b"a_b", b"a\\b"))
    assert "leads out of the archive" in refusal(path)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, pack: Pack) -> None:
    message = refusal(pack(tmp_path / "m.zip", {"bomb.bin": bytes(40 << 20)}))
    assert "bomb.bin" in message
    assert "200 to 1 is refused" in message


def test_sizes_have_limits(tmp_path: Path, pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pack(tmp_path / "m.zip", {"a": b"12345", "b": b"12345"})
    monkeypatch.setattr(archive, "MAX_TOTAL", 9)
    assert "the files have 10 bytes" in refusal(path)
    monkeypatch.setattr(archive, "MAX_ENTRY", 4)
    assert "has 5 bytes; a MOJO's file may have 4" in refusal(path)


def test_two_entries_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("model.ini", "a")
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("model.ini", "b")
    assert "two entries of this name" in refusal(path)


def test_an_encrypted_entry_is_refused(tmp_path: Path, pack: Pack) -> None:
    path = pack(tmp_path / "m.zip", {"model.ini": b"a"})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(bytes(data))
    assert "is encrypted" in refusal(path)


def test_a_truncated_zip_is_refused(tmp_path: Path, pack: Pack) -> None:
    path = pack(tmp_path / "m.zip", {"model.ini": b"a" * 500})
    path.write_bytes(path.read_bytes()[:-40])
    assert "no readable zip file" in refusal(path)


def test_an_entry_whose_bytes_are_damaged_is_named(tmp_path: Path, pack: Pack) -> None:
    path = pack(tmp_path / "m.zip", {"model.ini": bytes(range(200))})
    data = bytearray(path.read_bytes())
    data[60] ^= 0xFF
    path.write_bytes(bytes(data))
    with pytest.raises(ConfigError, match=r"m.zip: model.ini: cannot be unpacked"):
        open_archive(path).data("model.ini")


def test_an_absent_file_and_one_that_is_no_text_are_named(tmp_path: Path, pack: Pack) -> None:
    found = open_archive(pack(tmp_path / "m.zip", {"model.ini": b"\xff"}))
    with pytest.raises(ConfigError, match=r"trees/t00_000.bin: the MOJO lacks this file"):
        found.data("trees/t00_000.bin")
    with pytest.raises(ConfigError, match="is not UTF-8 at byte 0"):
        found.text("model.ini")
