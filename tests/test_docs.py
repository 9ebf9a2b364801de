"""The documentation is true: its code runs, its commands and links exist, its lists are complete.

Conventions of the pages (README, CONTRIBUTING, docs/**.md):

- A ```python block runs, unless its first line is a comment that starts with `# not run`. The blocks of one page run
  in order, as one program, in an empty folder.
- On the pages of features, each `print` is a line that ends with `# ` and what it prints.
- A `recserve ...` or `make ...` line of a ```sh block names a command, options or a target that exist.
- A region between `<!-- figures:begin -->` and `<!-- figures:end -->` is written by a command, not by hand.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FENCE = re.compile(r"^ *```(\w*)[^\n]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)|<img[^>]* src=\"([^\"]+)\"")
NOT_RUN = "# not run"
PRINTED = re.compile(r"^ *print\(.*?\)(?:  # (.*))?$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, text, and the line of its first line of text."""

    language: str
    text: str
    line: int


def pages() -> list[Path]:
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def pages_with_programs() -> list[Path]:
    """The Chinese README is left out: it holds the code of the English one, see below."""
    return [page for page in pages() if program(page).strip() and page.name != "README.zh-CN.md"]


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@cache
def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path) -> Iterator[Block]:
    for found in FENCE.finditer(read(page)):
        yield Block(found[1], found[2], read(page).count("\n", 0, found.start(2)) + 1)


def program(page: Path) -> str:
    """The page's Python blocks at the lines where they stand, so that a traceback names the page's own lines."""
    lines: list[str] = []
    for block in blocks(page):
        if block.language == "python" and not block.text.lstrip().startswith(NOT_RUN):
            lines += [""] * (block.line - 1 - len(lines)) + block.text.splitlines()
    return "\n".join(lines)


def commands(page: Path) -> Iterator[str]:
    """The lines of the page's shell blocks, without prompt and comment, continued lines joined."""
    for block in blocks(page):
        if block.language in {"sh", "bash", "console"}:
            for line in block.text.replace("\\\n", " ").splitlines():
                yield line.removeprefix("$ ").split(" #")[0].strip()


def anchors(page: Path) -> set[str]:
    """The anchors of the page's headings, as code hosts make them."""
    headings = re.findall(r"^#+ +(.+)$", FENCE.sub("", read(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """(file, anchor) of each link of the page to something in the repository."""
    for target in (found[1] or found[2] for found in LINK.finditer(FENCE.sub("", read(page)))):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            yield ((page.parent / path).resolve() if path else page), anchor


@pytest.mark.parametrize("page", pages_with_programs(), ids=name)
def test_python_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    script = f"exec(compile({program(page)!r}, {str(page)!r}, 'exec'), {{'__name__': '__main__'}})"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{name(page)}\n{done.stderr}"
    if shows_results(page):
        told = [found[1] for found in PRINTED.finditer(program(page))]
        assert told == done.stdout.splitlines(), f"{name(page)} shows other results than its code prints"


def shows_results(page: Path) -> bool:
    """On the pages of the feature types, and where features are looked into, each print has its result behind it."""
    return page.parent.name == "features" or page.name in {"features.md", "look_inside_features.md"}


def recserve_commands() -> list[str]:
    return sorted({line for page in pages() for line in commands(page) if line.startswith("recserve ")})


@cache
def help_of(*program: str) -> str:
    """What a program says of itself; once for all lines that name it."""
    done = subprocess.run(
        [sys.executable, *program, "--help"],
        env={**os.environ, "COLUMNS": "300", "TERM": "dumb", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("line", recserve_commands())
def test_commands_of_the_docs_exist(line: str) -> None:
    words = shlex.split(line)[1:]
    parts = list(itertools.takewhile(re.compile(r"[a-z]+").fullmatch, words[:2]))
    program = ["-c", "from recserve.cli import main; main()", *parts]
    if parts[0] == "bench" and len(parts) > 1:  # what follows the name is the benchmark's own
        program = [str(ROOT / "benchmarks" / f"{parts[1]}.py")]
    text = help_of(*program)
    options = {word.split("=")[0] for word in words if word.startswith("--")}
    missing = sorted(option for option in options if not re.search(rf"{option}\b", text))
    assert not missing, f"`{line}`: the command has no {', '.join(missing)}\n{text}"


def test_targets_of_the_docs_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    used = {line.split()[1] for page in pages() for line in commands(page) if re.match(r"make [a-z]", line)}
    for page in pages():
        used |= set(re.findall(r"`make ([a-z-]+)", read(page)))
    assert used <= targets, f"no such target: {sorted(used - targets)}"


@pytest.mark.parametrize("page", pages(), ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = [
        f"{path}#{anchor}"
        for path, anchor in links(page)
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path))
    ]
    assert not broken, f"{name(page)} links to what is not there: {broken}"


def test_every_page_is_reachable_from_the_readme() -> None:
    reached: set[Path] = set()
    queue = [ROOT / "README.md"]
    while queue:
        page = queue.pop()
        if page not in reached:
            reached.add(page)
            queue += [path for path, _ in links(page) if path.suffix == ".md" and path.exists()]
    lost = [name(page) for page in pages() if page not in reached]
    assert not lost, f"no link leads here from README.md; docs/index.md lists all pages: {lost}"


def decisions() -> list[Path]:
    return sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))


def test_every_decision_is_in_the_index() -> None:
    index = read(ROOT / "docs" / "decisions" / "index.md")
    for page in decisions():
        title = read(page).splitlines()[0].removeprefix("# ")
        assert f"[{title}]({page.name})" in index, f"docs/decisions/index.md lacks [{title}]({page.name})"


def test_decisions_have_one_form() -> None:
    numbers = [page.name[:4] for page in decisions()]
    assert len(numbers) == len(set(numbers)), f"two decisions share a number: {numbers}"
    for page in decisions():
        text = read(page)
        assert text.startswith(f"# {page.name[:4]} "), f"{page.name} starts with `# {page.name[:4]} <title>`"
        for heading in ("## Context", "## Decision", "## Consequences"):
            assert heading in text, f"{page.name} lacks {heading!r}; see 0000-template.md"


def test_generated_regions_are_closed() -> None:
    for page in pages():
        marks = re.findall(r"<!-- figures:(begin|end) -->", FENCE.sub("", re.sub(r"`[^`]*`", "", read(page))))
        assert marks == ["begin", "end"] * (len(marks) // 2), f"{name(page)}: {marks}"


def test_both_readmes_show_the_same() -> None:
    english, chinese = ROOT / "README.md", ROOT / "README.zh-CN.md"

    def shown(page: Path) -> tuple[list[str], list[str]]:
        images = [path.name for path, _ in links(page) if path.suffix in {".svg", ".png"}]
        # Comments are translated.
        return [re.sub(r" *#.*", "", block.text) for block in blocks(page)], images

    assert shown(english) == shown(chinese), "README.md and README.zh-CN.md differ in their code or pictures"
