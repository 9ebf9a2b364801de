"""`recserve features`: extract a file, show a row, compare two outputs."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recserve.cli.groups import DefaultGroup

if TYPE_CHECKING:
    from recserve.features.diff import Comparison

DIFFERENT = 1
"""Exit code of `diff` where the files differ."""

Config = Annotated[Path, typer.Argument(help="Feature config, fg.json.", show_default=False)]
Input = Annotated[
    Path,
    typer.Option(
        "--input", metavar="FILE", help="Raw columns: Parquet, or .ndjson (an object a line).", show_default=False
    ),
]
Profile = Annotated[
    str | None, typer.Option(metavar="NAME", help="Semantics profile.", show_default="as the file says, else pyfg")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

features = typer.Typer(
    name="features",
    cls=DefaultGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Extract features from raw columns.",
)


@features.command()
def extract(
    *,
    config: Config,
    source: Input,
    out: Annotated[Path, typer.Option("--output", metavar="FILE", help="Parquet file to write.", show_default=False)],
    batch_rows: Annotated[int, typer.Option(min=1, help="Rows of a batch; a few batches are in memory.")] = 16_384,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads that extract.", show_default="one a core")] = None,
    profile: Profile = None,
    reference: Annotated[bool, typer.Option("--reference", help="Use the slow interpreter, to compare with.")] = False,
    as_json: Json = False,
) -> None:
    """Extract features from raw columns, as training and serving do.

    Writes one column per feature: a dense feature as a fixed-size list of float32, ids as a list of int64, texts as a
    list of strings, a sequence as a list of these, and the weights of weighted ids as <feature>.weights. The file
    appears under its name when it is complete. The name `extract` may be left out.

    \b
    Example:
      recserve features fg.json --input samples.parquet --output features.parquet
      recserve features show fg.json --input samples.parquet --row 3
      recserve features diff offline.parquet online.parquet
    """  # noqa: D301 - \b keeps the lines of the example
    from recserve.cli.output import print_json
    from recserve.features.feature_set import FeatureSet
    from recserve.features.files import extract_file

    feature_set = FeatureSet.load(config, profile=profile)
    start = time.perf_counter()
    done = extract_file(
        feature_set.compile(reference=reference),
        source,
        out,
        batch_rows=batch_rows,
        threads=threads,
        digest=feature_set.digest,
        progress=progress_line(),
    )
    seconds = time.perf_counter() - start
    if as_json:
        print_json(
            {
                "input": str(source),
                "output": str(out),
                "rows": done.rows,
                "columns": list(done.columns),
                "bytes": out.stat().st_size,
                "seconds": round(seconds, 3),
                "rows_per_s": round(done.rows / seconds, 1),
                "digest": feature_set.digest,
            }
        )
    else:
        speed = f"{done.rows / seconds:,.0f} rows/s"
        typer.echo(f"Wrote {done.rows:,} rows of {len(done.columns)} columns to {out} ({seconds:.1f} s, {speed})")


def progress_line() -> Callable[[int, int | None], None] | None:
    """Shows rows on one line of the terminal; None where standard error is none."""
    if not sys.stderr.isatty():
        return None
    start = time.perf_counter()

    def show(rows: int, total: int | None) -> None:
        speed = rows / max(time.perf_counter() - start, 1e-9)
        of_all = f" of {total:,} ({rows / total:.0%})" if total else ""
        end = "\n" if rows == total else ""
        typer.echo(f"\r{rows:,} rows{of_all}, {speed:,.0f} rows/s   {end}", nl=False, err=True)

    return show


@features.command()
def show(
    *,
    config: Config,
    source: Input,
    row: Annotated[int, typer.Option(min=0, help="Row of the file, counted from 0.")] = 0,
    feature: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Show this feature; repeatable.", show_default="all")
    ] = None,
    profile: Profile = None,
    as_json: Json = False,
) -> None:
    """Show one row as text: each feature's raw cells, every value on the way, and the result.

    \b
    Example:
      recserve features show fg.json --input samples.parquet --row 3 --feature ctr_7d
    """  # noqa: D301 - \b keeps the lines of the example
    from dataclasses import asdict

    from recserve.cli.output import print_json
    from recserve.errors import DataError
    from recserve.features.feature_set import FeatureSet
    from recserve.features.files import read_batches
    from recserve.features.trace import explain_row

    plan = FeatureSet.load(config, profile=profile).compile()
    rows = 0
    for batch in read_batches(source, plan.input_columns, 1024):
        rows += batch.rows
        if row < rows:
            traces = explain_row(plan, batch.columns, row - batch.first, feature or ())
            if as_json:
                print_json([asdict(trace) for trace in traces])
            else:
                typer.echo("\n\n".join("\n".join(trace.lines()) for trace in traces))
            return
    raise DataError(f"there is no row {row}", where=str(source), hint=f"There are {rows}, counted from 0")


@features.command()
def check(
    *,
    config: Annotated[Path, typer.Argument(help="fg.json, or a pipeline config.", show_default=False)],
    lenient: Annotated[bool, typer.Option("--lenient", help="Leave out what is wrong, and say so.")] = False,
    sides: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Sides of EasyRec's columns, JSON: {column: side}.")
    ] = None,
    write: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the features as fg.json.")] = None,
    profile: Profile = None,
    as_json: Json = False,
) -> None:
    """Read a feature config and say what is wrong with it; bring one of TorchEasyRec or EasyRec along.

    \b
    Example:
      recserve features check pipeline.config --lenient --write fg.json
    """  # noqa: D301 - \b keeps the lines of the example
    from collections import Counter

    import orjson

    from recserve.cli.output import print_json
    from recserve.features.feature_set import FeatureSet

    found = FeatureSet.load(config, profile=profile, lenient=lenient, sides=_read_sides(sides))
    rates = Counter(spec.rate.value for spec in found.outputs)
    if write is not None:
        write.write_bytes(orjson.dumps(found.to_fg_json(), option=orjson.OPT_INDENT_2))
    about = {"features": len(found.outputs), "mode": found.mode, "profile": found.profile, "rates": dict(rates)}
    if as_json:
        print_json(about | {"warnings": list(found.warnings)})
        return
    for warning in found.warnings:
        typer.echo(f"warning: {warning}", err=True)
    counts = ", ".join(f"{count} {rate}" for rate, count in rates.items())
    typer.echo(f"{config}: {len(found.outputs)} features ({counts}), mode {found.mode}, profile {found.profile}")


def _read_sides(file: Path | None) -> dict[str, str] | None:
    """{column: side} of a JSON file."""
    import orjson

    from recserve.errors import ConfigError

    if file is None:
        return None
    try:
        sides = orjson.loads(file.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise ConfigError(f"cannot be read: {error}", where=str(file)) from error
    if not isinstance(sides, dict) or not all(isinstance(side, str) for side in sides.values()):
        raise ConfigError("is not an object {column: side}", where=str(file))
    return sides


@features.command()
def diff(
    *,
    left: Annotated[Path, typer.Argument(help="Extracted features (Parquet).", show_default=False)],
    right: Annotated[Path, typer.Argument(help="Extracted features to compare with.", show_default=False)],
    relative: Annotated[float, typer.Option(min=0, help="Relative difference of floats that counts as equal.")] = 0.0,
    absolute: Annotated[float, typer.Option(min=0, help="Absolute difference of floats that counts as equal.")] = 0.0,
    examples: Annotated[int, typer.Option(min=0, help="Rows to show for each feature.")] = 3,
    as_json: Json = False,
) -> None:
    """Compare two feature outputs, feature by feature and row by row.

    Exit code 0: equal. 1: different.

    \b
    Example:
      recserve features diff offline.parquet online.parquet --relative 1e-6
    """  # noqa: D301 - \b keeps the lines of the example
    from recserve.cli.output import print_json
    from recserve.features.diff import Tolerance, compare_files

    found = compare_files(left, right, Tolerance(relative, absolute), examples)
    if as_json:
        print_json(describe_comparison(found))
    else:
        _print_comparison(found)
    if not found.is_equal:
        raise typer.Exit(DIFFERENT)


@features.command()
def options(
    *,
    feature_type: Annotated[
        str | None, typer.Argument(help="A feature type, such as id_feature.", show_default="list the types")
    ] = None,
    write: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write the tables of the reference's pages anew.")
    ] = None,
) -> None:
    """List the feature types, or the options of one.

    \b
    Example:
      recserve features options lookup_feature
    """  # noqa: D301 - \b keeps the lines of the example
    from recserve.cli.output import print_table
    from recserve.errors import ConfigError, suggest
    from recserve.features.option_docs import document_common, document_type, page_names, update_page
    from recserve.features.spec_types import TYPES

    if write is not None:
        for name in page_names():
            page = write / f"{name}.md"
            page.write_text(update_page(page.read_text(encoding="utf-8"), name), encoding="utf-8")
    elif feature_type is None:
        kinds = [(name, (model.__doc__ or "").splitlines()[0]) for name, model in TYPES.items()]
        print_table("Feature types; sequence_<type> is the same over the steps of a sequence", ["type", "what"], kinds)
    elif feature_type not in TYPES:
        raise ConfigError(f"there is no feature type {feature_type!r}", hint=suggest(feature_type, TYPES))
    else:
        columns = ["option", "type", "default", "meaning"]
        for title, found in (
            (f"Options of {feature_type}", document_type(feature_type)),
            ("Options of every type", document_common()),
        ):
            rows = [(o.name, o.type, o.default, re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", o.meaning)) for o in found]
            print_table(title, columns, rows)


def describe_comparison(found: Comparison) -> dict[str, Any]:
    """A comparison as plain JSON values."""
    return {
        "equal": found.is_equal,
        "left_rows": found.left_rows,
        "right_rows": found.right_rows,
        "features": {
            feature.name: {
                "equal": feature.is_equal,
                "rows": feature.rows,
                "mismatches": feature.mismatches,
                "rate": feature.rate,
                "largest_difference": feature.largest,
                "problem": feature.problem,
                "examples": [{"row": row, "left": a, "right": b} for row, a, b in feature.examples],
            }
            for feature in found.features
        },
    }


def _print_comparison(found: Comparison) -> None:
    from recserve.cli.output import print_table
    from recserve.features.trace import show as show_value

    if found.left_rows != found.right_rows:
        typer.echo(f"{found.left_rows:,} rows on the left, {found.right_rows:,} on the right.")
    wrong = [feature for feature in found.features if not feature.is_equal]
    if not wrong:
        typer.echo(f"{len(found.features)} features are equal in {min(found.left_rows, found.right_rows):,} rows.")
        return
    wrong.sort(key=lambda feature: -feature.rate)
    rows = [
        (
            feature.name,
            f"{feature.rate:.2%}",
            feature.problem or f"{feature.mismatches:,} of {feature.rows:,}",
            "" if feature.largest is None else feature.largest,
        )
        for feature in wrong
    ]
    title = f"{len(wrong)} of {len(found.features)} features differ"
    print_table(title, ["feature", "differ", "rows", "largest difference"], rows)
    for feature in wrong:
        for row, left, right in feature.examples:
            typer.echo(f"{feature.name}, row {row}: {show_value(left)} | {show_value(right)}")
