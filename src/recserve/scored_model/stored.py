"""The directory of a scored model: written complete or not at all, checked when it is read."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import orjson
import pydantic

from recserve import __version__
from recserve.errors import BundleError, ConfigError, suggest
from recserve.importers.model import ImportedModel, Output, Report
from recserve.manifests import MANIFEST, read_manifest
from recserve.rates import Rate
from recserve.scored_model.proof import prove
from recserve.scoring.program import Program
from recserve.staging.score import Score
from recserve.version_directory import publish_directory, read_target

PROGRAM_FILE: Final = "program.bin"
FORMAT: Final = "recserve-scored"
FORMAT_VERSION: Final = 1
Side = Literal["user", "item", "context", "candidate"]
RATES: Final[dict[Side, Rate]] = {
    "user": Rate.REQUEST,
    "item": Rate.ITEM,
    "context": Rate.REQUEST,
    "candidate": Rate.CANDIDATE,
}
SIDES: Final[tuple[Side, ...]] = tuple(RATES)


class OutputEntry(pydantic.BaseModel, extra="forbid", strict=True, frozen=True):
    """`importers.model.Output`."""

    name: str
    dtype: Literal["float64", "string", "bool", "object"]
    parts: list[str]
    kind: Literal["scalar", "vector"]


class ScoredManifest(pydantic.BaseModel, extra="forbid", strict=True, frozen=True):
    """manifest.json.

    Attributes:
        inputs: name → dtype, in the model's order.
        sides: input → side, where the model ranks; else None.
        score: expression over the numeric outputs by which candidates are ranked, or the name of one; None without
            sides.
        proof: largest relative difference between stages and whole on drawn rows; None without sides.
        report: what the importer read.
        program_sha256: of program.bin.
    """

    format: str
    format_version: int
    name: str
    version: int
    created: str
    recserve_version: str
    inputs: dict[str, Literal["float64", "string", "bool"]]
    outputs: list[OutputEntry]
    sides: dict[str, Side] | None
    score: str | None
    proof: float | None
    report: dict[str, Any]
    program_sha256: str


@dataclass(frozen=True)
class StoredModel:
    """What the directory holds.

    Attributes:
        directory: of the version.
        manifest: checked.
        model: ready to score.
    """

    directory: Path
    manifest: ScoredManifest
    model: ImportedModel


def publish(
    model: ImportedModel, out: str | Path, *, sides: Mapping[str, str] | None = None, score: str | None = None
) -> Path:
    """Write a model as the directory of a version.

    Args:
        model: what `importers.read` gave.
        out: `<base>/<name>/<version>`, which must not exist; version is a positive integer.
        sides: input → "user", "item", "context" or "candidate", for all inputs: the model then ranks candidates.
        score: name of a numeric output, or an expression over them; needed where there are several and `sides` is
            given.

    Returns:
        The directory.

    Raises:
        ConfigError: the path is no version or exists already, sides or score do not fit the model, or the stages
            answer otherwise than the whole.
    """
    target = Path(out)
    name, version = read_target(target)
    checked = None if sides is None else check_sides(sides, model)
    ranking, proof = None, None
    if checked is not None:
        ranking = parse_score(score, model.specs).text
        proof = prove(model.program, rates_of(checked, model.program))
    data = model.program.to_bytes()
    manifest = ScoredManifest(
        format=FORMAT,
        format_version=FORMAT_VERSION,
        name=name,
        version=version,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        recserve_version=__version__,
        inputs=dict(model.inputs),  # type: ignore[arg-type]  # checked by pydantic
        outputs=[OutputEntry(name=o.name, dtype=o.dtype, parts=list(o.parts), kind=o.kind) for o in model.specs],  # type: ignore[arg-type]
        sides=checked,
        score=ranking,
        proof=proof,
        report=asdict(model.report),
        program_sha256=hashlib.sha256(data).hexdigest(),
    )

    def write(folder: Path) -> None:
        (folder / PROGRAM_FILE).write_bytes(data)
        (folder / MANIFEST).write_bytes(orjson.dumps(manifest.model_dump(), option=orjson.OPT_INDENT_2))

    return publish_directory(target, write)


def check_sides(sides: Mapping[str, Any], model: ImportedModel) -> dict[str, Side]:
    """Sides of all inputs, in the model's order.

    Raises:
        ConfigError: an unknown input or side, or an input without a side.
    """
    for name, side in sides.items():
        if name not in model.inputs:
            raise ConfigError(f"the model has no input {name!r}", where="sides", hint=suggest(name, model.inputs))
        if side not in SIDES:
            hint = suggest(str(side), SIDES) or f"It is one of {', '.join(SIDES)}"
            raise ConfigError(f"{side!r} is no side", where=f"sides.{name}", hint=hint)
    if missing := [name for name in model.inputs if name not in sides]:
        raise ConfigError(
            f"{', '.join(map(repr, missing[:5]))} {'has' if len(missing) == 1 else 'have'} no side",
            where="sides",
            hint="Say of each input whether it is of the user, item, context or candidate",
        )
    return {name: sides[name] for name in model.inputs}


def rates_of(sides: Mapping[str, Side], program: Program) -> dict[str, Rate]:
    """Rates of the columns that the program reads."""
    return {name: RATES[side] for name, side in sides.items() if name in program.inputs}


def goals_of(outputs: tuple[Output, ...]) -> tuple[Output, ...]:
    """The outputs that are numbers."""
    return tuple(output for output in outputs if output.dtype == "float64")


def parse_score(text: str | None, outputs: tuple[Output, ...]) -> Score:
    """The ranking expression; a name of an output may be free text.

    Raises:
        ConfigError: there is no numeric output, or several and no expression, or the expression is none over them.
    """
    names = tuple(output.name for output in goals_of(outputs) if output.kind == "scalar")
    if not names:
        raise ConfigError("the model has no output that is a number", code="no_score", where="score")
    if text in names:
        return Score.parse(None, (text,))
    return Score.parse(text, names)


def is_scored_model(directory: str | Path) -> bool:
    """Whether a directory is that of a scored model, by what its manifest begins with."""
    path = Path(directory) / MANIFEST
    try:
        with path.open("rb") as file:
            return f'"{FORMAT}"'.encode() in file.read(256)
    except OSError:
        return False


def read_stored(directory: str | Path) -> StoredModel:
    """Read the directory of a version.

    Raises:
        BundleError: a file is missing, damaged, changed, or of another version.
    """
    folder = Path(directory)
    manifest = read_manifest(
        folder,
        ScoredManifest,
        form=FORMAT,
        form_version=FORMAT_VERSION,
        kind="scored model",
        remake="Import the model again, or serve it with the recserve that imported it",
    )
    path = folder / PROGRAM_FILE
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BundleError(f"cannot be read: {error.strerror}", code="missing_file", where=str(path)) from error
    if hashlib.sha256(data).hexdigest() != manifest.program_sha256:
        raise BundleError("is not what was published: its digest differs", code="damaged_file", where=str(path))
    try:
        program = Program.from_bytes(data)
    except BundleError as error:
        raise error.at(str(path)) from None
    outputs = [Output(o.name, o.dtype, tuple(o.parts), o.kind) for o in manifest.outputs]
    try:
        report = Report(**manifest.report)
        unknown = [part for output in outputs for part in output.parts if part not in program.outputs]
        if unknown or any(not output.parts for output in outputs):
            raise BundleError(f"names the output {(unknown or [''])[0]!r}, which the program lacks")
        model = ImportedModel(program, manifest.inputs, outputs, report)
        if manifest.sides is not None:
            check_sides(manifest.sides, model)
            parse_score(manifest.score, model.specs)
    except (TypeError, ConfigError) as error:
        raise BundleError(
            f"does not fit the program: {error}", code="bad_manifest", where=str(folder / MANIFEST)
        ) from error
    return StoredModel(folder, manifest, model)
