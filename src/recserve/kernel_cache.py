"""Compiles kernels for use by address, only those that are asked for, and caches them on disk.

A *kernel* is a function `kernel(op, run) -> status` over two integer records: an instruction, and the state of what
runs. For each module of kernels a small Python file of entry points is generated. Its name is a digest of the sources
that its kernels are made of: Numba's own cache looks only at the file of the function it compiles, and would go on
serving old code after an edit to a file that this one imports.

A machine that has none of them yet compiles for tens of seconds. So `KernelLibrary.prepare` shares the work between
processes, one a core, each with modules of its own; other processes that want the same wait for them instead of doing
it again.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import logging
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final

_log: Final = logging.getLogger("recserve.kernels")
_ROOT: Final = Path(__file__).parent.parent
_IMPORT: Final = re.compile(r"^from (recserve[\w.]*) import (\([^)]*\)|[^\n]*)", re.MULTILINE)
_NAME: Final = re.compile(r"(?<!as )\b(?!as\b)\w+")
_WORTH_SHARING: Final = 2
"""Modules without compiled kernels from which on more processes are worth their start."""


def cache_folder() -> Path:
    """Where generated files and compiled code go: $RECSERVE_CACHE_DIR, else recserve in the user's cache folder."""
    if chosen := os.environ.get("RECSERVE_CACHE_DIR"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "recserve"


@functools.cache
def _private_folder() -> Path:
    """A folder of this process alone: code in one that others may write must not be run."""
    return Path(tempfile.mkdtemp(prefix="recserve-"))


def read_sources(module: str) -> dict[str, bytes]:
    """What a module of kernels is made of: the texts of its file and of those that it imports, by full name of module.

    What stands outside the packages of kernels has only constants and types for them: what it imports is left out.
    """
    found: dict[str, bytes] = {}
    _add_sources(module, found)
    return found


def _add_sources(module: str, found: dict[str, bytes]) -> None:
    file = _ROOT.joinpath(*module.split(".")).with_suffix(".py")
    if module in found or not file.is_file():  # a package, or a name in a module
        return
    found[module] = text = file.read_bytes()
    if "kernels" in module:
        for source, names in _IMPORT.findall(text.decode()):
            _add_sources(source, found)
            for name in _NAME.findall(names):
                _add_sources(f"{source}.{name}", found)


class KernelLibrary:
    """The kernels of a package, compiled when first asked for. One object a package, at module level.

    Args:
        package: such as `recserve.features.kernels`.
        kernels: {module of the package: its kernels}.
        instruction: fields of an instruction, int64 each.
        run: fields of the state of what runs, int64 each.

    The package has a module `entries` with the object as LIBRARY: other processes import it there.
    """

    def __init__(self, package: str, kernels: Mapping[str, Sequence[str]], instruction: int, run: int) -> None:
        self.package: Final = package
        self._kernels: Final = kernels
        self._instruction: Final = instruction
        self._run: Final = run
        self._module_of: Final = {kernel: module for module, names in kernels.items() for kernel in names}
        self._folder: Final = Path(str(importlib.util.find_spec(package).submodule_search_locations[0]))  # type: ignore[union-attr,index]
        self._digests: dict[str, str] = {}
        self._modules: dict[str, ModuleType] = {}
        self._compiled: dict[str, Any] = {}

    def address_of(self, kernel: str) -> int:
        """Address of the compiled kernel. Compiles it, or loads it from the cache, at the first call in a process."""
        import numba

        if kernel not in self._compiled:
            module = self._module_of[kernel]
            entry = getattr(self._entry_module(module), f"{kernel}_entry")
            self._compiled[kernel] = numba.cfunc("int64(int64, int64)", cache=True)(entry)
            _touch(self._mark(kernel))
        return int(self._compiled[kernel].address)

    def prepare(self, kernels: Iterable[str]) -> None:
        """Compile the kernels that this machine has not compiled yet, on all its cores.

        Nothing is gained, and nothing is lost, where they are there: `address_of` then loads them. Says in the log how
        many it compiles.
        """
        wanted = list(dict.fromkeys(kernels))
        if not self._missing(wanted):
            return
        with _locked():
            missing = self._missing(wanted)
            if not missing:
                return
            _log.info("Compiling %d kernels of %s; once on this machine", len(missing), self.package)
            start = time.perf_counter()
            try:
                batches = self._share(missing, len(os.sched_getaffinity(0)))
                if len(batches) > 1:
                    self._compile_apart(batches)
                for kernel in missing:
                    self.address_of(kernel)
            finally:
                _log.info("Compiled in %.1f s", time.perf_counter() - start, extra={"is_end": True})

    def source_of(self, module: str) -> str:
        """The text of the entry points of a module of kernels."""
        kernels = self._kernels[module]
        lines = [
            f'"""Entry points of {self.package}.{module}, made by recserve. Do not edit."""',
            "",
            f"from {self.package}.{module} import {', '.join(kernels)}",
            "from recserve.memory import view_i64",
        ]
        for kernel in kernels:
            views = f"view_i64(op, {self._instruction}), view_i64(run, {self._run})"
            lines += ["", "", f"def {kernel}_entry(op, run):", f"    return {kernel}({views})"]
        return "\n".join(lines) + "\n"

    def digest_of(self, module: str) -> str:
        """A digest of all that the compiled kernels of a module are made from."""
        if module not in self._digests:
            import numba

            found = {"numba": numba.__version__.encode()} | read_sources(f"{self.package}.{module}")
            parts = [f"{name}\0{hashlib.sha256(text).hexdigest()}" for name, text in sorted(found.items())]
            digest = hashlib.sha256("\n".join([self.source_of(module), *parts]).encode())
            self._digests[module] = digest.hexdigest()[:16]
        return self._digests[module]

    def _entry_name(self, module: str) -> str:
        words = [word for word in self.package.split(".") if word not in {"recserve", "kernels"}]
        return f"recserve_{'_'.join(words)}_{module}_{self.digest_of(module)}"

    def _entry_module(self, module: str) -> ModuleType:
        """The generated module of entry points, from its file in the cache folder."""
        if module not in self._modules:
            name = self._entry_name(module)
            spec = importlib.util.spec_from_file_location(name, _write_source(name, self.source_of(module)))
            assert spec is not None
            assert spec.loader is not None
            loaded = importlib.util.module_from_spec(spec)
            # Numba unpickles cached code by importing its module by name: without this entry the second process fails
            # with "No module named ...".
            sys.modules[name] = loaded
            spec.loader.exec_module(loaded)
            self._modules[module] = loaded
        return self._modules[module]

    def _mark(self, kernel: str) -> Path:
        """The file that says that a kernel has been compiled on this machine."""
        return cache_folder() / f"{self._entry_name(self._module_of[kernel])}.{kernel}.compiled"

    def _missing(self, kernels: Sequence[str]) -> list[str]:
        return [kernel for kernel in kernels if kernel not in self._compiled and not self._mark(kernel).exists()]

    def _share(self, kernels: Sequence[str], processes: int) -> list[list[str]]:
        """The kernels in up to so many batches of about equal size; a module stays together, it shares much."""
        modules: dict[str, list[str]] = {}
        for kernel in kernels:
            modules.setdefault(self._module_of[kernel], []).append(kernel)
        if len(modules) < _WORTH_SHARING:
            return [list(kernels)]
        batches: list[tuple[int, list[str]]] = [(0, []) for _ in range(min(processes, len(modules)))]
        for module in sorted(modules, key=self._size_of, reverse=True):
            batches.sort(key=lambda batch: batch[0])
            size, batch = batches[0]
            batches[0] = (size + self._size_of(module), [*batch, *modules[module]])
        return [batch for _, batch in batches if batch]

    def _size_of(self, module: str) -> int:
        found = read_sources(f"{self.package}.{module}")
        return sum(len(text) for name, text in found.items() if "kernels" in name)

    def _compile_apart(self, batches: Sequence[Sequence[str]]) -> None:
        """Let each batch be compiled by a process of its own. What one fails to do is done here afterwards."""
        program = (
            f"import sys\nfrom {self.package}.entries import LIBRARY\nfor k in sys.argv[1:]: LIBRARY.address_of(k)"
        )
        processes = [
            subprocess.Popen(  # noqa: S603  (this interpreter, and names of our own kernels)
                [sys.executable, "-c", program, *batch], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            for batch in batches
        ]
        for process in processes:
            process.wait()


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Only one process at a time compiles; where the cache folder cannot be written each has its own anyway."""
    import fcntl

    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        file = (cache_folder() / "compiling.lock").open("w", encoding="utf-8")
    except OSError:
        yield
        return
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _touch(path: Path) -> None:
    with contextlib.suppress(OSError):  # then the next process looks for the compiled code by itself
        path.touch()


def _write_source(name: str, text: str) -> Path:
    """The file of that name and text; in the cache folder, or in this process's own if that cannot be written."""
    try:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        return _place(folder, name, text)
    except OSError:
        return _place(_private_folder(), name, text)


def _place(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.py"
    if not path.exists():
        with tempfile.NamedTemporaryFile("w", dir=folder, suffix=".tmp", delete=False, encoding="utf-8") as file:
            file.write(text)
        Path(file.name).replace(path)  # at once: another process never sees half a file
    return path
