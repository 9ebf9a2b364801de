"""Compiles kernels for use by address, one at a time and only those that a program needs, and caches them on disk.

For each module of kernels a small Python file of entry points is generated. Its name is a digest of the sources that
its kernels are made of: Numba's own cache looks only at the file of the function it compiles, and would go on serving
old code after an edit to a file that this one imports.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import re
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numba

from recserve import memory
from recserve.scoring.kernels import KERNELS, layout

_PACKAGE = "recserve.scoring.kernels"
_IMPORT = re.compile(rf"^from {re.escape(_PACKAGE)}\.(\w+) import", re.MULTILINE)


def cache_folder() -> Path:
    """Where generated files and compiled code go: $RECSERVE_CACHE_DIR, else recserve in the user's cache folder."""
    if chosen := os.environ.get("RECSERVE_CACHE_DIR"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "recserve"


def source_of(module: str) -> str:
    """The text of the entry points of a module of kernels."""
    kernels = KERNELS[module]
    lines = [
        f'"""Entry points of {_PACKAGE}.{module}, made by recserve. Do not edit."""',
        "",
        f"from {_PACKAGE}.{module} import {', '.join(kernels)}",
        "from recserve.memory import view_i64",
    ]
    for kernel in kernels:
        views = f"view_i64(op, {layout.INSTRUCTION}), view_i64(run, {layout.RUN})"
        lines += ["", "", f"def {kernel}_entry(op, run):", f"    return {kernel}({views})"]
    return "\n".join(lines) + "\n"


def _sources(module: str, found: dict[str, bytes]) -> None:
    """Add the files that a module of kernels is made of to `found`."""
    if module not in found:
        text = (Path(__file__).parent / f"{module}.py").read_bytes()
        found[module] = text
        for other in _IMPORT.findall(text.decode()):
            _sources(other, found)


def digest_of(module: str) -> str:
    """A digest of all that the compiled kernels of a module are made from."""
    found = {"memory": Path(memory.__file__).read_bytes(), "numba": numba.__version__.encode()}
    _sources(module, found)
    parts = [f"{name}\0{hashlib.sha256(text).hexdigest()}" for name, text in sorted(found.items())]
    return hashlib.sha256("\n".join([source_of(module), *parts]).encode()).hexdigest()[:16]


@functools.cache
def _entry_module(module: str) -> ModuleType:
    """The generated module of entry points, from its file in the cache folder."""
    name = f"recserve_scoring_{module}_{digest_of(module)}"
    path = _write_source(name, source_of(module))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    # Numba unpickles cached code by importing its module by name: without this entry the second process fails with
    # "No module named ...".
    sys.modules[name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


def _write_source(name: str, text: str) -> Path:
    """The file of that name and text; in the cache folder, or in this process's own if that cannot be written."""
    try:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        return _place(folder, name, text)
    except OSError:
        return _place(_private_folder(), name, text)


@functools.cache
def _private_folder() -> Path:
    """A folder of this process alone: code in one that others may write must not be run."""
    return Path(tempfile.mkdtemp(prefix="recserve-"))


def _place(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.py"
    if not path.exists():
        with tempfile.NamedTemporaryFile("w", dir=folder, suffix=".tmp", delete=False, encoding="utf-8") as file:
            file.write(text)
        Path(file.name).replace(path)  # at once: another process never sees half a file
    return path


@functools.cache
def _compiled(kernel: str) -> Any:
    module = next(module for module, kernels in KERNELS.items() if kernel in kernels)
    entry = getattr(_entry_module(module), f"{kernel}_entry")
    return numba.cfunc("int64(int64, int64)", cache=True)(entry)


def address_of(kernel: str) -> int:
    """Address of the compiled kernel. Compiles it, or loads it from the cache, at the first call in a process."""
    return int(_compiled(kernel).address)
