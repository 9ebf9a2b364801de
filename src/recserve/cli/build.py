"""`recserve build`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from recserve.dtypes import F32


def build(
    *,
    features: Annotated[Path, typer.Option(metavar="FILE", help="Feature config, fg.json.", show_default=False)],
    network: Annotated[Path, typer.Option(metavar="FILE", help="ONNX graph in flat form.", show_default=False)],
    out: Annotated[Path, typer.Option(metavar="DIR", help="New <base>/<name>/<version>.", show_default=False)],
    tables: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Embedding tables: NAME.npy, float32[rows, dim] each.")
    ] = None,
    score: Annotated[
        str | None, typer.Option(help="What to rank by, such as 'ctr ** 0.7 * cvr'; needed with several outputs.")
    ] = None,
    samples: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Raw columns (Parquet) from which the proof draws rows as well.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Build a bundle: compile, split by rate, prove that staged equals flat, publish.

    \b
    Example:
      recserve build --features fg.json --network network.onnx --tables tables/ --out models/rank/7
    """  # noqa: D301 - \b keeps the lines of the example
    from recserve.bundle import Bundle
    from recserve.cli.output import print_json, read_parquet

    bundle = Bundle.build(
        features=features,
        tables={} if tables is None else load_tables(tables),
        network=network,
        out=out,
        score=score,
        samples=None if samples is None else read_parquet(samples),
        progress=lambda line: typer.echo(f"{line} ...", err=True),
    )
    if as_json:
        print_json(bundle.manifest.model_dump())
    else:
        proof = ", ".join(f"{name} {value:.3g}" for name, value in bundle.manifest.proof.items())
        typer.echo(f"Built {bundle.path}: ranks by {bundle.manifest.score}; proof: {proof}")


def load_tables(folder: Path) -> dict[str, F32]:
    """{table: float32[rows, dim]}, mapped, from the `.npy` files of a folder.

    Raises:
        ConfigError: no such folder, or a file that is no two-dimensional float32 array.
    """
    import numpy as np

    from recserve.errors import ConfigError

    if not folder.is_dir():
        raise ConfigError("there is no such directory", where=str(folder))
    tables: dict[str, F32] = {}
    for file in sorted(folder.glob("*.npy")):
        try:
            table = np.load(file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ConfigError(f"is no NumPy file: {error}", where=str(file)) from None
        if table.dtype != np.float32 or table.ndim != 2:
            raise ConfigError(
                f"is {table.dtype}{list(table.shape)}", where=str(file), hint="A table is float32[rows, dim]."
            )
        tables[file.stem] = table
    return tables


def save_tables(tables: dict[str, F32], folder: Path) -> None:
    """Write what `load_tables` reads."""
    import numpy as np

    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        np.save(folder / f"{name}.npy", rows, allow_pickle=False)
