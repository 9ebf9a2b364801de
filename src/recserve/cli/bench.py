"""`recserve bench`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from recserve.errors import ConfigError, suggest

FOLDER: Final = Path(__file__).resolve().parents[3] / "benchmarks"
"""In the checkout that recserve was installed from."""


def bench(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="Which benchmark; without it, list them.")] = None,
) -> None:
    """Run a benchmark of the repository. What follows the name is the benchmark's own.

    \b
    Example:
      recserve bench ranking --json ranking.json
    """  # noqa: D301 - \b keeps the lines of the example
    known = find_benchmarks(FOLDER)
    if name is None:
        for key, file in known.items():
            typer.echo(f"{key:<12} {first_line(file)}")
        return
    if name not in known:
        raise ConfigError(f"no benchmark {name!r}", hint=suggest(name, known) or f"There are: {', '.join(known)}.")
    done = subprocess.run([sys.executable, str(known[name]), *context.args], check=False)  # noqa: S603 - ours
    raise typer.Exit(done.returncode)


def find_benchmarks(folder: Path) -> dict[str, Path]:
    """Name → file of the scripts in a folder, which share it with modules of their own.

    Raises:
        ConfigError: recserve was installed without its repository.
    """
    files = [file for file in sorted(folder.glob("*.py")) if '\nif __name__ == "__main__":' in file.read_text()]
    if not files:
        raise ConfigError(
            "there are no benchmarks", where=str(folder), hint="They come with the repository, not with the package."
        )
    return {file.stem: file for file in files}


def first_line(file: Path) -> str:
    """The first line of a file's docstring."""
    import ast

    return (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").partition("\n")[0]
