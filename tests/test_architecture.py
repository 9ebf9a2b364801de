"""The shape of the code: import order, fences around heavy libraries, sizes, names.

Each rule fails with its reason and the places that break it. `docs/explanation/architecture.md` draws the rooms.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache, cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "recserve"

# Left to right. A room imports from rooms of earlier steps; rooms in one step do not know each other.
ORDER: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("dtypes",),
    ("rates",),
    ("columns", "numba_cache"),
    ("memory", "signatures", "version_directory", "manifests", "wire", "checksums"),
    ("kernel_cache", "rows"),
    ("features", "tables", "network", "scoring", "client"),
    ("staging",),
    ("bundle",),
    ("importers", "store", "candidates"),
    ("plain_model", "sequence_history", "row_scores"),
    ("ranker",),
    ("debug", "scored_model"),
    ("serving", "samples", "training"),
    ("demo",),
    ("cli",),
)
STEP = {room: step for step, rooms in enumerate(ORDER) for room in rooms}

# Library: where it may be imported (paths under src/recserve; `*` matches slashes too), and why only there.
FENCES: dict[str, tuple[tuple[str, ...], str]] = {
    "numba": (
        ("memory.py", "kernel_cache.py", "numba_cache.py", "*kernels*", "features/codegen.py", "features/compiled.py"),
        "what Numba compiles is kept apart: it takes a subset of Python and a second to import",
    ),
    "onnx": (
        ("network/*", "training/export*", "importers/*"),
        "only the network and who writes its file know graphs",
    ),
    "onnx_ir": (("network/*", "importers/*"), "only the network works on graphs"),
    "onnxscript": (("network/*", "training/export*", "importers/torch*"), "serving needs no exporter"),
    "onnxruntime": (("network/session*",), "another engine must fit in by adding one file"),
    "openvino": (("network/session*",), "another engine must fit in by adding one file"),
    "google": (
        ("wire/*", "network/model.py", "client/*", "serving/*", "importers/*"),
        "only who reads or writes messages knows protobuf",
    ),
    "grpc": (("serving/*", "client/*"), "a Ranker works without a server"),
    "lxml": (("importers/*",), "only importers read XML"),
    "tensorflow": (("importers/*",), "serving needs no TensorFlow but for the graphs that nothing else runs"),
    "prometheus_client": (("serving/*",), "a Ranker works without a server"),
    "starlette": (("serving/*",), "a Ranker works without a server"),
    "uvicorn": (("serving/*",), "a Ranker works without a server"),
    "duckdb": (("samples/*",), "serving needs no query engine"),
    "torch": (("training/*", "importers/torch*"), "serving needs no trainer"),
    "typer": (("cli*", "demo/*", "training/progress*"), "only commands talk to a terminal"),
    "rich": (("cli*", "demo/*", "training/progress*"), "only commands talk to a terminal"),
}

# Test files that test no single module.
CROSS_CUTTING = {
    "tests/test_architecture.py": "the shape of the code",
    "tests/test_docs.py": "the documentation",
    "tests/test_end_to_end.py": "the whole path, from logs to a ranked response",
    "tests/test_conformance.py": "answers of other systems",
    "tests/test_imported_models.py": "models of other platforms behind every protocol",
    "tests/test_soak.py": "a server under everything at once",
    "tests/test_hostile_wires.py": "a server under hostile bytes on every wire",
    "tests/test_dockerfile.py": "the image",
    "tests/test_benchmark_pages.py": "tables and charts of the benchmarks",
    "tests/test_bad_input.py": "every public entry under wrong input",
    "tests/conformance/test_fg_cases.py": "answers of other feature generators",
    "tests/conformance/test_interchange_cases.py": "answers of other evaluators of models",
    "tests/conformance/test_rest_cases.py": "answers of other servers",
}

# Round trips with other tools, a file each.
ROUND_TRIPS = "tests/interop/"


@dataclass(frozen=True)
class Source:
    """One Python file, parsed."""

    path: Path
    tree: ast.Module
    lines: int

    @property
    def name(self) -> str:
        """Path from the repository's root."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def inner(self) -> str:
        """Path under src/recserve."""
        return self.path.relative_to(PACKAGE).as_posix()

    @property
    def room(self) -> str:
        """First part of the path under src/recserve, without suffix."""
        return self.inner.split("/")[0].removesuffix(".py")

    @cached_property
    def imports(self) -> tuple[tuple[int, str], ...]:
        """(line, dotted name) of each import, those inside functions too; `from a import b` is `a.b`."""
        found: list[tuple[int, str]] = []
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found += ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                prefix = "." * node.level + (node.module or "")
                found += ((node.lineno, f"{prefix}.{alias.name}") for alias in node.names)
        return tuple(found)

    def functions(self) -> Iterator[tuple[int, str, int]]:
        """(line, name, number of lines) of each function and method, from `def` to its last line."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node.lineno, node.name, (node.end_lineno or node.lineno) - node.lineno + 1


@cache
def read(folder: str) -> tuple[Source, ...]:
    """Every Python file under `folder` of the repository."""
    found = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        found.append(Source(path, ast.parse(text, str(path)), text.count("\n")))
    return tuple(found)


def everything() -> tuple[Source, ...]:
    return read("src") + read("tests") + read("benchmarks")


def refuse(broken: list[str], reason: str) -> None:
    """Fail with the reason first and then every place."""
    assert not broken, f"{reason}\n" + "\n".join(f"  {place}" for place in broken)


def test_every_module_belongs_to_a_room() -> None:
    known = {*STEP, "__init__", "__main__"}
    refuse(
        [source.name for source in read("src") if source.room not in known],
        "A new room needs its place in ORDER of this file and in docs/explanation/architecture.md.",
    )


def test_imports_go_one_way() -> None:
    broken = []
    for source in read("src"):
        if source.room not in STEP:  # the package's front page re-exports
            continue
        for line, name in source.imports:
            package, _, inner = name.partition(".")
            room = inner.split(".")[0]
            if not package:
                broken.append(f"{source.name}:{line} imports {name}: write absolute imports")
            if package != "recserve" or room in {source.room, "__version__"}:
                continue
            # A name that is no room comes from the front page, which knows everybody.
            if STEP.get(room, len(ORDER)) >= STEP[source.room]:
                broken.append(f"{source.name}:{line} imports {name}")
    order = " → ".join("{" + ", ".join(rooms) + "}" if len(rooms) > 1 else rooms[0] for rooms in ORDER)
    refuse(broken, f"Imports go from right to left only, so that each room can be read and tested alone: {order}")
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text()
    assert f"`{order}`" in page, "docs/explanation/architecture.md shows another order"


@pytest.mark.parametrize("library", FENCES)
def test_heavy_libraries_stay_behind_their_fences(library: str) -> None:
    allowed, reason = FENCES[library]
    broken = [
        f"{source.name}:{line} imports {name}"
        for source in read("src")
        if not any(fnmatch(source.inner, pattern) for pattern in allowed)
        for line, name in source.imports
        if name.split(".")[0] == library
    ]
    refuse(broken, f"{library} belongs in {', '.join(allowed)} only: {reason}.")


def run_python(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_recserve_loads_no_heavy_library() -> None:
    heavy = [*FENCES, "pyarrow", "llvmlite", "pydantic"]
    loaded = json.loads(run_python("import sys, json, recserve; print(json.dumps(sorted(sys.modules)))"))
    refuse(
        sorted(set(heavy).intersection(loaded)),
        "`import recserve` is instant and works with the least installed. Import lazily in recserve/__init__.py.",
    )


def test_serving_needs_no_trainer() -> None:
    rooms = [room for rooms in ORDER for room in rooms if room not in {"samples", "training", "demo"}]
    modules = [
        "recserve." + source.inner.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for source in read("src")
        if source.room in rooms
    ]
    run_python(
        "import importlib, sys\n"
        "for absent in ('torch', 'onnxscript'):\n"
        "    sys.modules[absent] = None\n"
        f"for name in {modules!r}:\n"
        "    importlib.import_module(name)\n"
    )


def test_files_fit_in_500_lines() -> None:
    refuse(
        [f"{source.name}: {source.lines} lines" for source in everything() if source.lines > 500],
        "A file is read in one sitting: at most 500 lines.",
    )


def test_functions_fit_on_a_screen() -> None:
    sizes = [
        (lines, f"{s.name}:{line} {name}: {lines} lines") for s in everything() for line, name, lines in s.functions()
    ]
    refuse([place for lines, place in sizes if lines > 60], "A function is at most 60 lines.")
    ours = sorted(lines for source in read("src") for _, _, lines in source.functions())
    p95 = ours[len(ours) * 95 // 100]
    assert p95 <= 45, f"19 of 20 functions are at most 45 lines; the 95th percentile is {p95}."


def test_names_say_what_a_thing_is() -> None:
    vague = re.compile(r"(^|_)(utils?|helpers?|managers?|common|misc)(_|$)")
    broken = [source.name for source in everything() if any(vague.search(part) for part in source.name[:-3].split("/"))]
    broken += [
        f"{source.name}:{node.lineno} class {node.name}"
        for source in everything()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ClassDef) and re.search(r"(Utils?|Helper|Manager)$", node.name)
    ]
    refuse(broken, "A name says what is inside; these names fit anything, so anything ends up there.")


def test_modules_say_what_they_are_for() -> None:
    refuse(
        [source.name for source in read("src") + read("benchmarks") if not ast.get_docstring(source.tree)],
        "A module opens with what it is for.",
    )


def test_no_error_is_swallowed() -> None:
    broad = {"Exception", "BaseException"}
    broken = [
        f"{source.name}:{node.lineno}"
        for source in everything()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id in broad))
        and all(isinstance(statement, ast.Pass) for statement in node.body)
    ]
    refuse(broken, "`except: pass` hides the next bug. Catch the one error you expect, and say why it is no problem.")


def test_only_commands_print() -> None:
    broken = [
        f"{source.name}:{node.lineno}"
        for source in read("src")
        if source.room not in {"cli", "demo"}
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    refuse(broken, "A library returns, raises or logs; only commands (cli, demo) and benchmarks print.")


def test_nothing_is_left_for_later() -> None:
    mark = re.compile(r"#.*\b(TO[D]O|FIX[M]E)\b")
    broken = [
        f"{source.name}:{number}"
        for source in everything()
        for number, text in enumerate(source.path.read_text(encoding="utf-8").splitlines(), 1)
        if mark.search(text)
    ]
    refuse(broken, "What is left to do belongs in an issue, where somebody sees it.")


def mirrored(test: Path) -> bool:
    """Whether `tests/x/test_y.py` or `tests/x/test_y_<aspect>.py` has a module or room `src/recserve/x/y`."""
    folder = PACKAGE / test.relative_to(ROOT / "tests").parent
    words = test.stem.removeprefix("test_").split("_")
    names = ["_".join(words[:count]) for count in range(len(words), 0, -1)]
    return any((folder / f"{name}.py").is_file() or (folder / name).is_dir() for name in names)


def test_tests_mirror_the_code() -> None:
    broken = [
        source.name
        for source in read("tests")
        if source.path.name.startswith("test_") and source.name not in CROSS_CUTTING and not mirrored(source.path)
        if not source.name.startswith(ROUND_TRIPS)
    ]
    refuse(
        broken,
        "tests/x/test_y.py tests src/recserve/x/y.py (or one aspect of it: test_y_<aspect>.py), so that both are found "
        "from either. List what tests no single module in CROSS_CUTTING.",
    )
