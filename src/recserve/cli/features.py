"""`recserve features`.

Axes: N rows, S steps over all rows, V values over all rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import pyarrow as pa

    from recserve.features.plan import Plan


def features(
    *,
    config: Annotated[Path, typer.Argument(help="Feature config, fg.json.", show_default=False)],
    source: Annotated[Path, typer.Argument(help="Raw columns (Parquet).", show_default=False)],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Parquet file to write.", show_default=False)],
    batch_rows: Annotated[int, typer.Option(min=1, help="Rows in memory at once.")] = 65_536,
    reference: Annotated[bool, typer.Option("--reference", help="Use the slow interpreter, to compare with.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Extract features from raw columns, as training and serving do.

    Writes one column per feature: a dense feature as a fixed-size list of float32, ids as a list of int64, a sequence
    as a list of these, and the weights of weighted ids as <feature>.weights.

    \b
    Example:
      recserve features fg.json samples.parquet --out features.parquet
    """  # noqa: D301 - \b keeps the lines of the example
    from recserve.cli.output import print_json
    from recserve.features.feature_set import FeatureSet

    plan = FeatureSet.load(config).compile(reference=reference)
    rows, columns = write_features(plan, source, out, batch_rows)
    if as_json:
        print_json({"out": str(out), "rows": rows, "columns": columns})
    else:
        typer.echo(f"Wrote {rows:,} rows of {len(columns)} columns to {out}")


def write_features(plan: Plan, source: Path, out: Path, batch_rows: int) -> tuple[int, list[str]]:
    """Extract batch by batch. The file appears under its name when it is complete.

    Returns:
        (rows, names of the columns written).

    Raises:
        DataError: the source cannot be read, a column is missing or a cell is wrong; or the file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from recserve.errors import DataError

    part = out.with_name(f".{out.name}.part")
    rows, writer = 0, None
    try:
        for batch in read_batches(source, batch_rows):
            columns = {k: v for name, value in plan.run(batch).items() for k, v in to_arrow(name, value).items()}
            table = pa.table(columns)
            if writer is None:
                out.parent.mkdir(parents=True, exist_ok=True)
                writer = pq.ParquetWriter(part, table.schema)
            writer.write_table(table)
            rows += len(table)
            typer.echo(f"\r{rows:,} rows", nl=False, err=True)
        assert writer is not None  # `read_batches` yields at least one
        writer.close()
        part.rename(out)
        typer.echo("", err=True)
        return rows, list(writer.schema.names)
    except OSError as error:
        raise DataError(f"cannot be written: {error.strerror}", where=str(out)) from None
    finally:
        part.unlink(missing_ok=True)


def read_batches(source: Path, batch_rows: int) -> Iterator[pa.Table]:
    """The rows of a Parquet file, `batch_rows` at a time; one empty table if it has none.

    Raises:
        DataError: the file cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from recserve.errors import DataError

    try:
        with pq.ParquetFile(source) as file:
            if not file.metadata.num_rows:
                yield file.schema_arrow.empty_table()
            for batch in file.iter_batches(batch_rows):
                yield pa.Table.from_batches([batch])
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"cannot be read as Parquet: {error}", where=str(source)) from None


def to_arrow(name: str, value: Any) -> dict[str, pa.Array]:
    """The columns of one feature: its values, and its weights where it has any."""
    import numpy as np
    import pyarrow as pa

    if isinstance(value, np.ndarray):
        return {name: _vectors(value)}
    lengths = [value.lengths] if value.seq_lengths is None else [value.key_lengths, value.seq_lengths]
    flat = _vectors(value.values) if value.values.ndim == 2 else pa.array(value.values)
    columns = {name: _nest(flat, lengths)}
    if value.weights is not None:
        columns[f"{name}.weights"] = _nest(pa.array(value.weights), lengths)
    return columns


def _vectors(rows: Any) -> pa.Array:
    import pyarrow as pa

    return pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])


def _nest(flat: pa.Array, lengths: list[Any]) -> pa.Array:
    import pyarrow as pa

    from recserve.columns import offsets_of

    for counts in lengths:
        if counts is not None:  # a dense sequence has no values within a step
            flat = pa.LargeListArray.from_arrays(offsets_of(counts), flat)
    return flat
