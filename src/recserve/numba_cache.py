"""Makes Numba's disk cache safe where several processes write to it.

A function's cache is an index, {signature: data file}, and the data files, numbered. Two processes that compile the
same function for different signatures both read the index, both take the next free number, and the later one writes its
machine code into the file that the other's entry names: the next process runs code made for other types (numba #10486).
Workers that start together on a new machine do just that. Here a lock is held from reading the index to writing the
file, and Numba reads the index within it, so no number is taken twice. Reading needs no lock: files appear by a rename.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any, Final

from numba.core.caching import IndexDataCacheFile

_GUARDED: Final = "is_guarded_by_recserve"


def guard_cache() -> None:
    """Let this process save compiled code under a lock; again and again is as good as once."""
    if hasattr(IndexDataCacheFile.save, _GUARDED):
        return
    save = IndexDataCacheFile.save

    def save_alone(self: Any, key: Any, data: Any) -> None:
        with _locked(f"{self._index_path}.lock"):
            save(self, key, data)

    setattr(save_alone, _GUARDED, True)
    IndexDataCacheFile.save = save_alone


@contextlib.contextmanager
def _locked(path: str) -> Iterator[None]:
    """One process at a time, and one thread: each opens the file for itself. Without the module there is no lock."""
    try:
        import fcntl
    except ImportError:  # not a POSIX system
        yield
        return
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
