"""How commands read and print."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import typer

from recserve.errors import DataError


def print_json(document: Any) -> None:
    """Print one JSON document, indented. NumPy values are numbers; NaN is null."""
    import orjson

    typer.echo(orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_INDENT_2).decode())


def print_table(title: str, names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; the first column is left-aligned, numbers get six significant digits."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(header_style="bold")
    for place, name in enumerate(names):
        table.add_column(Text(name), justify="left" if place == 0 else "right")
    for row in rows:  # as Text: a value such as "[red]" is no markup
        table.add_row(*(Text(f"{cell:.6g}" if isinstance(cell, float) else str(cell)) for cell in row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)  # a pipe has no width; do not cut what a program may read
    console.print(Text(title, "bold"))
    console.print(table)


def read_bytes(path: str) -> bytes:
    """The bytes of a file, or of standard input for `-`.

    Raises:
        DataError: the file cannot be read.
    """
    if path == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=path) from None


def read_parquet(path: Path) -> Any:
    """A pyarrow Table.

    Raises:
        DataError: the file is missing or not Parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"cannot be read as Parquet: {error}", where=str(path)) from None


def write_parquet(table: Any, path: Path) -> None:
    """Write a pyarrow Table; the file appears under its name only when it is complete.

    Raises:
        DataError: the file cannot be written.
    """
    import pyarrow.parquet as pq

    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, part)
        part.rename(path)
    except OSError as error:
        with suppress(OSError):  # there may be no folder to hold it
            part.unlink()
        raise DataError(f"cannot be written: {error.strerror}", where=str(path)) from None
