"""Numba's cache under many writers at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from numba.core.caching import IndexDataCacheFile

from recserve import memory
from recserve.numba_cache import guard_cache

# Writers meet between reading the index and writing it: each waits there until both have come, or half a second.
WRITER = """
import sys, time
from pathlib import Path
from numba.core.caching import IndexDataCacheFile
from recserve.numba_cache import guard_cache

folder, me, guarded = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "guarded"
if guarded:
    guard_cache()
load = IndexDataCacheFile._load_index

def load_and_wait(self):
    found = load(self)
    (folder / f"{me}.read").touch()
    end = time.monotonic() + 0.5
    while len(list(folder.glob("*.read"))) < 2 and time.monotonic() < end:
        time.sleep(0.001)
    return found

(folder / f"{me}.ready").touch()
while len(list(folder.glob("*.ready"))) < 2:
    time.sleep(0.001)
IndexDataCacheFile._load_index = load_and_wait
IndexDataCacheFile(str(folder), "function", 1).save(me, f"code of {me}")
"""


def what_writers_leave(folder: Path, guarded: str) -> list[str | None]:
    """What the cache has for the signatures `a` and `b` after two processes saved one each at the same time."""
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(folder), me, guarded]) for me in "ab"]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    cache = IndexDataCacheFile(str(folder), "function", 1)
    return [cache.load(me) for me in "ab"]


def test_each_signature_keeps_its_own_code(tmp_path: Path) -> None:
    assert what_writers_leave(tmp_path, "guarded") == ["code of a", "code of b"]


def test_without_the_lock_one_writer_takes_the_file_of_the_other(tmp_path: Path) -> None:
    """The fault itself: where this fails, Numba has mended it and the module can go."""
    assert what_writers_leave(tmp_path, "bare") != ["code of a", "code of b"]


def test_guarding_twice_wraps_once_and_memory_has_done_it() -> None:
    assert memory.view_i64 is not None
    save = IndexDataCacheFile.save
    guard_cache()
    assert IndexDataCacheFile.save is save


def test_a_folder_that_cannot_be_written_fails_as_without_the_lock(tmp_path: Path) -> None:
    guard_cache()
    with pytest.raises(FileNotFoundError):
        IndexDataCacheFile(str(tmp_path / "gone"), "function", 1).save("a", "code")
