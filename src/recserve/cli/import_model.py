"""`recserve import`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from recserve.errors import ConfigError, RecserveError, RequestError

if TYPE_CHECKING:
    from recserve.importers.comparison import Comparison
    from recserve.importers.model import ImportedModel

SHOWN: Final = 20
"""Differences that the table shows."""

Words = Annotated[
    list[str],
    typer.Argument(metavar="[FORMAT] SOURCE", help="The model's file or directory; the format is guessed if left out."),
]
Out = Annotated[Path | None, typer.Option(metavar="BASE/NAME/VERSION", help="Write the version's directory.")]
Sides = Annotated[
    Path | None,
    typer.Option(
        metavar="JSON", help='Rank with the model: {"FIELD": "user" | "item" | "context" | "candidate"} of each input.'
    ),
]
Score = Annotated[str | None, typer.Option(help="Output, or expression over outputs, to rank by.")]
Check = Annotated[Path | None, typer.Option(metavar="CSV", help="Score these rows and compare with expected columns.")]
Expected = Annotated[
    Path | None, typer.Option(metavar="CSV", help="Expected columns, if they are not in the file of the rows.")
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column", metavar="COLUMN[=OUTPUT]", help="Compare this column; repeatable. Without it, all named as outputs."
    ),
]
Rtol = Annotated[float, typer.Option(min=0, help="Relative tolerance of numbers.")]
Atol = Annotated[float, typer.Option(min=0, help="Absolute tolerance of numbers.")]
Export = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write the model as PMML 4.4 or ONNX: FILE.pmml or FILE.onnx.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def import_model(
    words: Words,
    *,
    out: Out = None,
    sides: Sides = None,
    score: Score = None,
    check: Check = None,
    expected: Expected = None,
    column: Columns = None,
    rtol: Rtol = 1e-6,
    atol: Atol = 1e-9,
    export: Export = None,
    as_json: AsJson = False,
) -> None:
    """Read another platform's model, report what was read, check its scores, and write it as a version to serve.

    Ends with 1 where scores differ from the expected ones, and with 2 where the model cannot be read; nothing is
    written then.

    \b
    Example:
      recserve import churn.pmml --out models/churn/1 --check rows.csv
      recserve import mojo gbm.zip --out models/gbm/1 --sides sides.json --score p1
      recserve serve models/churn
    """  # noqa: D301 - \b keeps the lines of the example
    form, source = _form_and_source(words)
    document: dict[str, Any] = {"source": str(source)}
    try:
        if export is not None and export.suffix not in {".pmml", ".onnx"}:
            raise ConfigError(
                f"{export.suffix!r} is no format to export to", hint="End the file's name in .pmml or .onnx"
            )
        is_equal = _import(
            form,
            source,
            document,
            out=out,
            export=export,
            ranking=(None if sides is None else _read_sides(sides), score),
            checking=None if check is None else (check, expected or check, _mapping(column), (rtol, atol)),
        )
    except RecserveError as error:
        if not as_json:
            raise
        document["error"] = {key: getattr(error, key) for key in ("code", "where", "problem", "hint")}
        _print(document, as_json)
        raise typer.Exit(2 if isinstance(error, ConfigError | RequestError) else 1) from None
    _print(document, as_json)
    raise typer.Exit(0 if is_equal else 1)


def _form_and_source(words: list[str]) -> tuple[str | None, Path]:
    if len(words) > 2:
        raise ConfigError(f"expected [FORMAT] SOURCE, got {len(words)} words", hint="Quote names that hold blanks")
    return (None if len(words) == 1 else words[0]), Path(words[-1])


def _import(
    form: str | None,
    source: Path,
    document: dict[str, Any],
    *,
    out: Path | None,
    export: Path | None,
    ranking: tuple[dict[str, str] | None, str | None],
    checking: tuple[Path, Path, dict[str, str] | None, tuple[float, float]] | None,
) -> bool:
    """Do the work and fill the document. Whether scores are as expected."""
    from recserve.importers import formats
    from recserve.scored_model.stored import publish
    from recserve.version_directory import read_target

    if out is not None:
        read_target(out)  # before the work
    form = form or formats.guess(source)
    if form in formats.CONVERTERS:
        if checking is not None or export is not None or ranking != (None, None):
            raise ConfigError(
                f"a model in the format {form!r} becomes a plain model: no --check, --sides, --score or --export",
                hint="Leave them out, and compare answers of the served model",
            )
        _convert(form, source, out, document)
        return True
    model = formats.read(source, form)
    document |= {"inputs": model.inputs, "outputs": model.outputs, "report": asdict(model.report)}
    document["lines"] = _lines_of(model)
    if checking is not None:
        found = _check(model, checking)
        document["check"] = asdict(found)
        if found.differences:
            return False
    if export is not None:
        document["export"] = str(_export(model, export))
    if out is not None:
        document["out"] = str(publish(model, out, sides=ranking[0], score=ranking[1]))
    elif ranking != (None, None):
        raise ConfigError("--sides and --score belong to --out", hint="Say where the ranking model goes")
    return True


def _export(model: ImportedModel, path: Path) -> Path:
    if path.suffix == ".pmml":
        from recserve.importers.export.pmml import to_pmml

        data = to_pmml(model)
    else:
        from recserve.importers.export.onnx import to_onnx

        data = to_onnx(model)
    try:
        path.write_bytes(data)
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror}", where=str(path)) from None
    return path


def _convert(form: str, source: Path, out: Path | None, document: dict[str, Any]) -> None:
    """Make a plain model of a source."""
    from importlib import import_module

    from recserve.importers import formats
    from recserve.version_directory import publish_directory

    if out is None:
        raise ConfigError(f"a model in the format {form!r} is converted", hint="Say where to with --out")
    if not source.exists():
        raise ConfigError("no such file or directory", code="not_found", where=str(source))
    reports: list[Any] = []
    convert = import_module(formats.CONVERTERS[form].module).convert
    publish_directory(out, lambda folder: reports.append(convert(source, folder)))
    from recserve.importers.comparison import report_lines

    document |= {"report": asdict(reports[0]), "out": str(out), "lines": list(report_lines(reports[0], {}, {}))}


def _lines_of(model: ImportedModel) -> list[str]:
    from recserve.importers.comparison import report_lines

    return list(report_lines(model.report, model.inputs, model.outputs))


def _check(model: ImportedModel, checking: tuple[Path, Path, dict[str, str] | None, tuple[float, float]]) -> Comparison:
    from recserve.importers.comparison import compare, read_table

    rows, expected, columns, (rtol, atol) = checking
    table = read_table(rows)
    wanted = table if expected == rows else read_table(expected)
    return compare(model, table, wanted, columns=columns, rtol=rtol, atol=atol)


def _mapping(columns: list[str] | None) -> dict[str, str] | None:
    """`COLUMN=OUTPUT` as pairs; a column alone is an output's name."""
    if not columns:
        return None
    pairs = (text.partition("=") for text in columns)
    return {column: output or column for column, _, output in pairs}


def _read_sides(path: Path) -> dict[str, str]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"cannot be read as JSON: {error}", where=str(path)) from None
    if not isinstance(document, dict) or not all(isinstance(side, str) for side in document.values()):
        raise ConfigError("expected an object of fields and sides", where=str(path), hint='Such as {"age": "user"}')
    return document


def _print(document: dict[str, Any], as_json: bool) -> None:
    from recserve.cli.output import print_json, print_table

    lines = document.pop("lines", [])
    check = document.get("check")
    if as_json:
        if check is not None:
            check["errors"] = {str(row): message for row, message in check["errors"].items()}
        print_json(document)
        return
    for line in lines:
        typer.echo(line)
    if check is not None:
        differences = check["differences"]
        cells = check["rows"] * len(check["columns"])
        columns = ", ".join(check["columns"])
        typer.echo(f"Checked {check['rows']} rows of {columns}: {cells - len(differences)} of {cells} cells agree")
        typer.echo(f"Largest relative distance of those: {check['worst']:.3g}")
        if differences:
            shown = [[str(d[key]) for key in ("row", "column", "expected", "got")] for d in differences[:SHOWN]]
            print_table(f"{len(differences)} differences", ["row", "column", "expected", "got"], shown)
    if "export" in document:
        typer.echo(f"Exported: {document['export']}")
    if "out" in document:
        typer.echo(f"Written: {document['out']}")
