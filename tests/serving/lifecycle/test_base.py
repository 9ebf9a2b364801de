from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from recserve.serving.lifecycle.base import Arrival, LocalBase, Settling, has_unfinished, manifest_files


def put(folder: Path, name: str = "model.onnx", content: str = "x", age_s: float = 0.0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text(content)
    os.utime(file, (time.time() - age_s,) * 2)
    return folder


def test_versions_are_the_directories_whose_names_are_numbers(tmp_path: Path) -> None:
    for name in ("1", "0002", "notes", "-3", "4.5"):
        (tmp_path / name).mkdir()
    (tmp_path / "7").touch()
    base = LocalBase(tmp_path)
    assert base.versions() == {1: str(tmp_path / "1"), 2: str(tmp_path / "0002")}
    assert LocalBase(tmp_path / "none").versions() is None
    assert base.fetch("/x/1") == Path("/x/1")


def test_a_version_is_whole_when_nothing_changed_for_a_while(tmp_path: Path) -> None:
    folder = put(tmp_path / "1", age_s=1000)  # a copy that keeps times is seen by its change time
    base = LocalBase(tmp_path, Arrival(settle_s=0.2))
    assert not base.is_whole(str(folder))
    time.sleep(0.3)
    assert base.is_whole(str(folder))
    put(folder, "more")
    assert not base.is_whole(str(folder))


def test_what_is_renamed_into_its_place_is_whole_at_once(tmp_path: Path) -> None:
    folder = put(tmp_path / "draft")
    time.sleep(0.25)
    folder.rename(tmp_path / "1")
    assert LocalBase(tmp_path, Arrival(settle_s=0.2)).is_whole(str(tmp_path / "1"))


def test_an_empty_directory_and_unfinished_names_are_not_whole(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    base = LocalBase(tmp_path, Arrival(settle_s=0))
    assert not base.is_whole(str(tmp_path / "1"))
    put(tmp_path / "1")
    assert base.is_whole(str(tmp_path / "1"))
    put(tmp_path / "1", ".model.onnx.a1B2c3")
    assert not base.is_whole(str(tmp_path / "1"))


@pytest.mark.parametrize(
    ("name", "is_unfinished"),
    [
        ("a.tmp", True), ("sub/b.part", True), ("_temporary/0/x", True), (".m.onnx.Xy12Ab", True),
        ("model.onnx", False), (".gitkeep", False), ("part-0001", False),
    ],
)  # fmt: skip
def test_names_tell_of_copies_that_go_on(name: str, is_unfinished: bool) -> None:
    assert has_unfinished([name]) == is_unfinished


def test_a_bundle_is_whole_when_every_listed_file_has_its_size(tmp_path: Path) -> None:
    folder = put(tmp_path / "1", "a.bin", "12")
    manifest = {"files": {"a.bin": {"size_bytes": 3}, "b/c.bin": {"size_bytes": 1}}}
    put(folder, "manifest.json", json.dumps(manifest))
    base = LocalBase(tmp_path, Arrival(settle_s=1000))
    assert not base.is_whole(str(folder))
    put(folder, "a.bin", "123")
    assert not base.is_whole(str(folder))
    put(folder / "b", "c.bin", "1")
    assert base.is_whole(str(folder))
    put(folder, "manifest.json", '{"files": 3}')
    assert manifest_files(folder) is None


def test_a_done_marker_alone_says_it_where_one_is_wanted(tmp_path: Path) -> None:
    folder = put(tmp_path / "1")
    base = LocalBase(tmp_path, Arrival(settle_s=0, done_marker="DONE"))
    assert not base.is_whole(str(folder))
    put(folder, "DONE")
    assert base.is_whole(str(folder))


def test_times_of_the_future_are_not_waited_for() -> None:
    now = [0.0]
    settling = Settling(5.0, clock=lambda: now[0])
    future_s = time.time() + 1e6  # the clock of the file server is wrong
    assert not settling.is_still("a", (("x", 1, 1),), future_s)
    now[0] = 4.0
    assert not settling.is_still("a", (("x", 2, 1),), future_s)
    now[0] = 8.0
    assert not settling.is_still("a", (("x", 2, 1),), future_s)
    now[0] = 9.5
    assert settling.is_still("a", (("x", 2, 1),), future_s)
    settling.keep_only({})
    assert not settling.is_still("a", (("x", 2, 1),), future_s)


def test_a_fingerprint_changes_with_the_files(tmp_path: Path) -> None:
    folder = put(tmp_path / "1")
    base = LocalBase(tmp_path)
    before = base.fingerprint(str(folder))
    assert base.fingerprint(str(folder)) == before
    put(folder, content="xy")
    assert base.fingerprint(str(folder)) != before
    base.forget(str(folder))
    assert folder.is_dir()
