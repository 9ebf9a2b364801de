"""The bundle: an immutable, versioned directory that holds a model whole, and opens as a pipeline.

    <base>/<name>/<version>/
    ├── manifest.json           format, digests, proof, and the SHA-256 and size of every other file
    ├── features.json           the feature config; assets/ beside it holds its vocabularies
    ├── tables/                 embedding tables, as NumPy files that are mapped, not read
    └── network/
        ├── flat.onnx           as exported: what the proof compares with
        ├── item.onnx           the parts by rate; absent where nothing runs at that rate
        ├── request.onnx
        ├── candidate.onnx
        └── split.json          what crosses between the parts

Building compiles, splits, and proves that the staged pipeline answers as the flat one; a mismatch publishes nothing. A
bundle appears under its name by one rename, complete. Nothing in it is ever unpickled.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import orjson
import pydantic

from recserve import __version__
from recserve.checksums import sha256_of, sha256_of_all
from recserve.dtypes import F32
from recserve.errors import BundleError, ConfigError
from recserve.features.assets import FEATURES_FILE, save_features
from recserve.features.declared import Mode
from recserve.features.feature_set import FeatureSet
from recserve.features.profiles import PROFILES
from recserve.manifests import MANIFEST, read_manifest
from recserve.network.calibration import calibrate
from recserve.network.embedded_tables import lift_tables
from recserve.network.engine_choice import AUTO, EngineOptions, Measured
from recserve.network.engines import EngineChoice
from recserve.network.model import Network
from recserve.network.split import SplitNetwork, split_network
from recserve.network.storage import load_split, save_split
from recserve.network.storing import StoreOptions
from recserve.staging.assembly import Assembly, Parts, Wishes, assemble
from recserve.staging.cuts import NetworkInput, decide_cuts, input_rates, match_inputs
from recserve.staging.forms import keep_faster
from recserve.staging.pipeline import Pipeline
from recserve.staging.precision import Precision
from recserve.staging.quality import QualityGate
from recserve.staging.score import Score
from recserve.staging.tuning import adopt
from recserve.tables.table import Table
from recserve.version_directory import publish_directory, read_target

FORMAT: Final = "recserve-bundle"
FORMAT_VERSION: Final = 1
Progress = Callable[[str], None]


class FileEntry(pydantic.BaseModel, extra="forbid", strict=True, frozen=True):
    """Checksum and size of one file."""

    sha256: str
    size_bytes: int


class Manifest(pydantic.BaseModel, extra="forbid", strict=True, frozen=True):
    """manifest.json.

    Attributes:
        profile: of the feature semantics; `profile_version` is its version, which `plan_digest` covers too.
        mode: what the columns hold.
        encoded_separator: of the values of a cell in encoded mode.
        plan_digest: of the feature plan; checked at open, so that a plan compiled otherwise never serves.
        score: expression over the outputs by which candidates are ranked.
        tables: names of the embedding tables.
        proof: how far staged and flat were apart on the drawn inputs, in float32.
        engine: how the candidate part runs, and what was measured (`Measured`); empty: ONNX Runtime in one call.
        precision: of what is not exact, by part: "network", "payload", "tables", and "tables.<name>" of a table with a
            word of its own; what lacks is fp32.
        storage: bytes of an item's tensors and of each table, now and in fp32, and which precisions were tried.
        quality: how far the approximate model is from the exact one; empty where all is exact.
        files: by path relative to the bundle, with `/`.
    """

    format: str
    format_version: int
    name: str
    version: int
    created: str
    recserve_version: str
    profile: str
    profile_version: int
    mode: Mode
    encoded_separator: str
    plan_digest: str
    score: str
    outputs: list[str]
    tables: list[str]
    unused_features: list[str]
    proof: dict[str, float]
    engine: dict[str, Any] = {}
    precision: dict[str, str] = {}
    quality: dict[str, float] = {}
    storage: dict[str, Any] = {}
    files: dict[str, FileEntry]


@dataclass(frozen=True)
class Bundle:
    """An open bundle.

    Attributes:
        path: of its directory.
        manifest: checked against the files.
        features: the feature config.
        tables: by name, mapped.
        split: the network by rate.
        score: the ranking expression.
    """

    path: Path
    manifest: Manifest
    features: FeatureSet
    tables: Mapping[str, Table]
    split: SplitNetwork
    score: Score

    @classmethod
    def build(
        cls,
        *,
        features: FeatureSet | str | Path,
        tables: Mapping[str, F32 | Table],
        network: Network | str | Path,
        out: str | Path,
        score: str | None = None,
        samples: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
        engine: EngineOptions | None = None,
        precision: Precision | None = None,
        gate: QualityGate | None = None,
        records: Mapping[str, Any] | None = None,
        storing: StoreOptions | None = None,
    ) -> Bundle:
        """Compile, split, prove and publish a model.

        Args:
            features: a feature set or the path of its `features.json`.
            tables: float32[V, dim] by table name, direct-addressed; or ready tables.
            network: flat ONNX graph, or its path (DESIGN: the network's contract). An input that holds the ids of a
                sparse feature makes the table inside the network one of the bundle's.
            out: `<base>/<name>/<version>`, which must not exist; version is a positive integer.
            score: expression over the outputs; may be left out if there is one output.
            samples: columns as training saw them; the proof draws rows from them beside rows of its own.
            progress: called with a line for each step.
            engine: which engines may run the candidate part, and how long to measure them.
            precision: of the network, the payload and the tables; exact by default.
            gate: what an inexact precision may cost.
            records: columns held back from training, on which the gate is measured.
            storing: expected traffic, and how many bytes an item may store: where the item side is cut.

        Raises:
            ConfigError: anything in the parts is wrong or does not fit together, staged and flat differ, or the gate is
                missed.
        """
        say = progress or (lambda _: None)
        target = Path(out)
        name, version = read_target(target)
        feature_set = features if isinstance(features, FeatureSet) else FeatureSet.load(features)
        _check_mode(feature_set)
        flat = network if isinstance(network, Network) else Network.load(network)
        flat, ready = _gather_tables(feature_set, flat, tables)
        say("compiling features")
        inputs = match_inputs(feature_set.graph, flat)
        say("splitting the network")
        split = _split(flat, inputs, _storing(storing, precision), engine or EngineOptions())
        ranking = Score.parse(score, tuple(flat.outputs))
        _check_score(ranking, flat)
        wishes = Wishes(engine or EngineOptions(), precision or Precision(), gate or QualityGate(), samples, records)
        model = assemble(Parts(feature_set, ready, flat, split), ranking, wishes, say)
        say("writing")
        used = {entry.output.spec.table for entry in inputs if entry.output is not None}
        tables_used = {key: table for key, table in model.parts.tables.items() if key in used}
        model = replace(model, parts=replace(model.parts, tables=tables_used))
        _publish(target, _draft_manifest(name, version, model, ranking), model.parts)
        return cls.open(target)

    @classmethod
    def open(cls, path: str | Path, *, verify: bool = True) -> Bundle:
        """Open a bundle.

        Args:
            path: of its directory.
            verify: compare every file with its checksum (reads all bytes once); sizes are compared in any case.

        Raises:
            BundleError: naming the file: missing, damaged, tampered with, or of another format.
        """
        folder = Path(path)
        manifest = read_manifest(
            folder,
            Manifest,
            form=FORMAT,
            form_version=FORMAT_VERSION,
            kind="recserve bundle",
            remake="Build the bundle again, or serve it with the recserve that built it",
        )
        _verify_files(folder, manifest, contents=verify)
        features = _load_features(folder, manifest.profile, manifest.mode, manifest.encoded_separator)
        if features.digest != manifest.plan_digest:
            raise BundleError(
                f"this version of recserve compiles the features to plan {features.digest[:12]}, "
                f"but the model was built with plan {manifest.plan_digest[:12]}",
                code="plan_mismatch",
                where=str(folder),
                hint="Build the bundle again with this version",
            )
        tables = {name: Table.open(folder / "tables", name) for name in manifest.tables}
        split = load_split(folder / "network")
        return cls(folder, manifest, features, tables, split, Score.parse(manifest.score, tuple(manifest.outputs)))

    @property
    def name(self) -> str:
        """The model's name."""
        return self.manifest.name

    @property
    def version(self) -> int:
        """The model's version."""
        return self.manifest.version

    def pipeline(self, threads: int = 1, engine: EngineOptions | None = None) -> Pipeline:
        """The stages, compiled and ready.

        Args:
            threads: for each part of the network.
            engine: which engines may run the candidate part; None: as the build chose, measured again where it ran on
                another processor.
        """
        graph = self.features.graph
        flat = Network.load(self.path / "network" / "flat.onnx")
        try:
            inputs = match_inputs(graph, flat)
            payload = self.manifest.precision.get("payload", "fp32")
            cuts = decide_cuts(graph, inputs, self.split).stored_in(payload)
            recorded = self.manifest.engine
            measured = Measured.from_dict(recorded) if recorded else Measured(EngineChoice())
            choice = adopt(inputs, self.split, measured, engine)
            return Pipeline(self.features, self.tables, self.split, cuts, threads=threads, choice=choice)
        except ConfigError as error:
            raise error.at(str(self.path)) from None


def _gather_tables(
    features: FeatureSet, flat: Network, given: Mapping[str, F32 | Table]
) -> tuple[Network, dict[str, Table]]:
    """The tables that are given and those inside the network, and the network without them."""
    sparse = {o.spec.name: o.spec.table for o in features.graph.outputs if o.spec.table is not None}
    lifted = lift_tables(flat, sparse)
    for name in lifted.tables:
        if name in given:
            raise ConfigError(
                f"table {name!r} is given, and the network has it inside too",
                code="embedded_table",
                where=flat.where,
                hint="Leave it out of `tables`, or export the network with rows as inputs",
            )
    tables = {name: value if isinstance(value, Table) else Table.direct(name, value) for name, value in given.items()}
    return lifted.network, tables | {name: Table.direct(name, rows) for name, rows in lifted.tables.items()}


def _split(
    flat: Network, inputs: tuple[NetworkInput, ...], storing: StoreOptions, engine: EngineOptions
) -> SplitNetwork:
    """Rewritten and cut, or only cut where that is faster here."""
    rates, costs = input_rates(inputs), calibrate()
    return keep_faster(
        split_network(flat, rates, storing=storing, costs=costs),
        lambda: split_network(flat, rates, (), storing=storing, costs=costs),
        inputs,
        engine,
    )


def _storing(options: StoreOptions | None, precision: Precision | None) -> StoreOptions:
    """The options with the precision that the payload is to have; while that is open, as they are."""
    options = options or StoreOptions()
    word = AUTO if precision is None else precision.payload
    return options if word == AUTO else replace(options, payload_precision=word)


def _check_mode(features: FeatureSet) -> None:
    """Only raw columns have sides, and without sides there are no rates."""
    if features.mode != "raw":
        raise ConfigError(
            f"features in mode {features.mode!r} read columns that belong to no side",
            code="unsupported_mode",
            where="features",
            hint="Build with the raw features; finished ids and numbers are for training",
        )


def _check_score(score: Score, flat: Network) -> None:
    for name in score.names:
        dims = flat.outputs[name].dims
        if len(dims) != 1 and (len(dims) != 2 or (isinstance(dims[1], int) and dims[1] != 1)):
            raise ConfigError(
                f"{score.text!r} reads {name!r} of the shape {list(dims)}; it takes one number for each candidate",
                code="bad_score",
                where="score",
                hint="Export an output of the shape [N] or [N, 1] to rank by",
            )


def _draft_manifest(name: str, version: int, model: Assembly, score: Score) -> Manifest:
    """The manifest without digests, which are those of the written files."""
    parts = model.parts
    return Manifest(
        format=FORMAT,
        format_version=FORMAT_VERSION,
        name=name,
        version=version,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        recserve_version=__version__,
        profile=parts.features.profile,
        profile_version=PROFILES[parts.features.profile].version,
        mode=parts.features.mode,
        encoded_separator=parts.features.encoded_separator,
        plan_digest="",
        score=score.text,
        outputs=list(parts.flat.outputs),
        tables=sorted(parts.tables),
        unused_features=list(model.cuts.unused_features),
        files={},
        **model.describe(),
    )


def _publish(target: Path, draft: Manifest, parts: Parts) -> None:
    def write(folder: Path) -> None:
        save_features(parts.features, folder)
        saved = _load_features(folder, draft.profile, draft.mode, draft.encoded_separator)
        (folder / "tables").mkdir()
        for table in parts.tables.values():
            table.save(folder / "tables")
        (folder / "network").mkdir()
        (folder / "network" / "flat.onnx").write_bytes(parts.flat.to_bytes())
        save_split(parts.split, folder / "network")
        files = {
            path.relative_to(folder).as_posix(): _describe_file(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        manifest = draft.model_copy(update={"files": files, "plan_digest": saved.digest})
        (folder / MANIFEST).write_bytes(orjson.dumps(manifest.model_dump(), option=orjson.OPT_INDENT_2))

    publish_directory(target, write)


def _load_features(folder: Path, profile: str, mode: Mode, encoded_separator: str) -> FeatureSet:
    path = folder / FEATURES_FILE
    try:
        document = orjson.loads(path.read_bytes())
        return FeatureSet.from_fg_json(document, mode, profile, folder, encoded_separator)
    except (OSError, orjson.JSONDecodeError) as error:
        raise BundleError(f"cannot be read: {error}", code="damaged_file", where=str(path)) from error
    except ConfigError as error:
        raise error.at(str(path)) from None


def _describe_file(path: Path) -> FileEntry:
    return FileEntry(sha256=sha256_of(path), size_bytes=path.stat().st_size)


def _verify_files(folder: Path, manifest: Manifest, *, contents: bool) -> None:
    for path in folder.rglob("*"):
        relative = path.relative_to(folder).as_posix()
        if relative not in manifest.files and relative != MANIFEST and not path.is_dir():
            raise BundleError(
                f"file {relative!r} is not in the manifest",
                code="bad_manifest",
                where=str(folder),
                hint="Nothing may be added to a bundle; remove it",
            )
    for relative, entry in manifest.files.items():
        path = folder / relative
        if not path.resolve().is_relative_to(folder.resolve()):
            raise BundleError(f"file {relative!r} is outside the bundle", code="bad_manifest", where=str(folder))
        if not path.is_file():
            raise BundleError("is missing", code="missing_file", where=str(path), hint="Copy the bundle again")
        if (size := path.stat().st_size) != entry.size_bytes:
            raise BundleError(
                f"has {size} bytes instead of {entry.size_bytes}",
                code="damaged_file",
                where=str(path),
                hint="Copy the bundle again",
            )
    if not contents:
        return
    paths = [folder / relative for relative in manifest.files]
    for path, entry, digest in zip(paths, manifest.files.values(), sha256_of_all(paths), strict=True):
        if digest != entry.sha256:
            raise BundleError(
                "is not what was published: its checksum differs",
                code="damaged_file",
                where=str(path),
                hint="Copy the bundle again, and never edit one in place",
            )
