"""SHA-256 of files.

A server loads a new version on threads of lower priority, while it answers with the old one. Reading gigabytes there
takes the interpreter's lock thousands of times, and a thread of low priority that holds it makes the others wait. So
large files are then read by a child process, at the lowest priority there is.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

LARGE_BYTES: Final = 64 << 20
"""Files that are as large together are worth a process."""

_CHILD: Final = """
import hashlib, os, sys
os.nice(19)
for path in sys.stdin.read().split(chr(0)):
    with open(path, "rb") as file:
        print(hashlib.file_digest(file, "sha256").hexdigest())
"""


def sha256_of(path: Path) -> str:
    """The checksum of a file, as hexadecimal digits.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_all(paths: Sequence[Path]) -> list[str]:
    """The checksum of each file; in a child process where the caller's priority is low and the files are large.

    Raises:
        OSError: one cannot be read.
    """
    if is_polite() and sum(path.stat().st_size for path in paths) >= LARGE_BYTES:
        digests = _by_child(paths)
        if len(digests) == len(paths):
            return digests
    return [sha256_of(path) for path in paths]


def is_polite() -> bool:
    """Whether the calling thread has given way to others: it runs at a lower priority than processes begin with."""
    return sys.platform == "linux" and os.getpriority(os.PRIO_PROCESS, 0) > 0


def _by_child(paths: Sequence[Path]) -> list[str]:
    """The checksums as a child process says them; fewer than the files where it could not."""
    names = "\0".join(str(path) for path in paths)
    command = [sys.executable, "-I", "-S", "-c", _CHILD]
    try:
        done = subprocess.run(command, input=names, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    except OSError:
        return []
    return done.stdout.split()
