"""`recserve build`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from recserve.bundle import Bundle
    from recserve.dtypes import F32


_Tables = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Embedding tables: NAME.npy, float32[rows, dim] each.")
]
_Score = Annotated[
    str | None, typer.Option(help="What to rank by, such as 'ctr ** 0.7 * cvr'; needed with several outputs.")
]
_Samples = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Raw columns (Parquet) from which the proof draws rows as well.")
]
_Engine = Annotated[
    str, typer.Option(help="Runs the candidate network: auto (measured), onnxruntime, openvino, cuda, tensorrt.")
]
_Block = Annotated[
    int | None, typer.Option(help="Most candidates of one call of the engine, 0: all; without it, as measured.")
]
_Seconds = Annotated[float, typer.Option(help="To measure engines with, at most; 0: measure nothing.")]
_Candidates = Annotated[int, typer.Option(help="Candidates expected in a request: what engines are measured on.")]
_Precision = Annotated[
    str,
    typer.Option(help="The candidate network computes in fp32 (exact), bf16, int8, or auto: the fastest that passes."),
]
_PayloadPrecision = Annotated[
    str, typer.Option(help="Tensors of an item are stored in fp32, fp16, bf16, int8, or auto: the least that passes.")
]
_TablePrecision = Annotated[
    str, typer.Option(help="Table rows are stored in one of the same, or by table: item_emb=int8,*=bf16.")
]
_Expect = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=NUMBER",
        help="Traffic and limits by which it is decided what an item stores: item_count, requests_per_s, "
        "item_updates_per_s, rebuilds_per_day, max_payload_bytes_per_item, max_rebuild_s. Repeat it.",
    ),
]
_Records = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Held-back raw columns (Parquet) on which the gate is measured.")
]
_Label = Annotated[str | None, typer.Option(help="Column of the records with 0 or 1, for AUC.")]
_Group = Annotated[str | None, typer.Option(help="Column of the records to group by, for GAUC.")]
_MaxDifference = Annotated[float, typer.Option(help="Gate: scores may differ by so much from fp32.")]
_MaxAucLoss = Annotated[float, typer.Option(help="Gate: AUC and GAUC may fall by so much against fp32.")]


def build(
    *,
    features: Annotated[Path, typer.Option(metavar="FILE", help="Feature config, fg.json.", show_default=False)],
    network: Annotated[Path, typer.Option(metavar="FILE", help="ONNX graph in flat form.", show_default=False)],
    out: Annotated[Path, typer.Option(metavar="DIR", help="New <base>/<name>/<version>.", show_default=False)],
    tables: _Tables = None,
    score: _Score = None,
    samples: _Samples = None,
    engine: _Engine = "auto",
    block: _Block = None,
    engine_seconds: _Seconds = 2.0,
    candidates: _Candidates = 300,
    precision: _Precision = "fp32",
    payload_precision: _PayloadPrecision = "fp32",
    table_precision: _TablePrecision = "fp32",
    expect: _Expect = None,
    records: _Records = None,
    label: _Label = None,
    group: _Group = None,
    max_difference: _MaxDifference = 0.02,
    max_auc_loss: _MaxAucLoss = 0.001,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Build a bundle: compile, split by rate, choose an engine, prove that staged equals flat, publish.

    Everything is exact unless you ask for less, of the candidate network, of what is stored for an item, or of table
    rows. The build refuses to publish where that costs more than the gate allows, on drawn requests and your --records;
    auto takes the cheapest that passes. The bundle records what was chosen and measured. On a processor of another
    kind, engines are measured again at the first start.

    \b
    Example:
      recserve build --features fg.json --network network.onnx --tables tables/ --out models/rank/7
      recserve build ... --precision bf16 --records holdout.parquet --label click --group user_id
      recserve build ... --payload-precision auto --table-precision item_emb=int8,*=bf16
      recserve build ... --expect item_count=2000000 --expect max_payload_bytes_per_item=2048
    """  # noqa: D301 - \b keeps the lines of the examples
    from recserve.bundle import Bundle
    from recserve.cli.output import read_parquet
    from recserve.network.engine_choice import EngineOptions
    from recserve.network.storing import StoreOptions
    from recserve.staging.precision import Precision
    from recserve.staging.quality import QualityGate

    bundle = Bundle.build(
        features=features,
        tables={} if tables is None else load_tables(tables),
        network=network,
        out=out,
        score=score,
        samples=None if samples is None else read_parquet(samples),
        progress=lambda line: typer.echo(f"{line} ...", err=True),
        engine=EngineOptions(engine, block, engine_seconds, candidates),
        precision=Precision(precision, payload_precision, Precision.parse_tables(table_precision)),
        gate=QualityGate(max_difference, max_auc_loss, max_auc_loss, label, group),
        records=None if records is None else read_parquet(records),
        storing=StoreOptions.parse(expect or [], candidates),
    )
    _print_built(bundle, as_json=as_json)


def _print_built(bundle: Bundle, *, as_json: bool) -> None:
    from recserve.cli.output import print_json
    from recserve.network.engine_choice import Measured

    if as_json:
        print_json(bundle.manifest.model_dump())
        return

    def listed(figures: dict[str, float]) -> str:
        return ", ".join(f"{name} {value:.3g}" for name, value in figures.items())

    manifest = bundle.manifest
    typer.echo(f"Built {bundle.path}: ranks by {manifest.score}; proof: {listed(manifest.proof)}")
    typer.echo(f"Engine: {Measured.from_dict(manifest.engine).choice.label}")
    storage = manifest.storage
    sizes = [(table["bytes"], table["fp32_bytes"]) for table in storage["tables"].values()]
    now, exact = (sum(size) for size in zip(*sizes, strict=True)) if sizes else (0, 0)
    typer.echo(
        f"Stored: {storage['item_bytes']:,} bytes an item ({storage['item_fp32_bytes']:,} in fp32), "
        f"{now:,} bytes of table rows ({exact:,} in fp32)"
    )
    if manifest.precision:
        typer.echo("Precision: " + ", ".join(f"{part} {word}" for part, word in manifest.precision.items()))
    for trial in storage["trials"]:
        if trial["problem"]:
            words = ", ".join(f"{part} {word}" for part, word in trial["precision"].items())
            typer.echo(f"Not taken: {words}: {trial['problem']}")
    if manifest.quality:
        typer.echo(f"Quality: {listed(manifest.quality)}")


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
