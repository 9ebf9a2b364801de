"""A set of features: read, checked, described, compiled."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import orjson

from recserve.errors import ConfigError, suggest
from recserve.features import ops
from recserve.features.check import check, relax
from recserve.features.declared import MODES, Declared, Mode
from recserve.features.fg_json import read_document, write_document
from recserve.features.graph import PlanGraph
from recserve.features.lower import lower
from recserve.features.outputs import OutputSpec
from recserve.features.passes import optimize
from recserve.features.pipeline_config import read_config
from recserve.features.plan import Plan
from recserve.features.profiles import profile_named
from recserve.features.sequence_join import SequenceJoin, sequence_joins
from recserve.features.spec import FeatureSpec, SequenceGroup

_CALLS: Final = (ops.CallForNumbers, ops.CallForTokens, ops.CallCompiled)
SEMANTICS_VERSION: Final = 1
"""Grows with every change of what a feature computes; part of the digest."""


class FeatureSet:
    """Checked features. Build one with `load`, `from_fg_json` or `of`.

    Attributes:
        features: the features in config order, stubs among them.
        mode: what the columns hold: "raw", "encoded" or "bucketize" (see `declared`).
        profile: name of the semantics profile (see `profiles`).
        asset_dir: where vocabularies and tokenizers lie.
        encoded_separator: separates the values of a cell in encoded mode.
        warnings: what lenient reading left out, a sentence each.
    """

    def __init__(
        self,
        features: tuple[Declared, ...],
        mode: Mode = "raw",
        profile: str = "pyfg",
        asset_dir: Path | None = None,
        encoded_separator: str = "\x03",
        *,
        warnings: tuple[str, ...] = (),
    ) -> None:
        self.features, self.mode, self.profile = features, mode, profile
        self.asset_dir, self.encoded_separator, self.warnings = asset_dir, encoded_separator, warnings

    @classmethod
    def load(
        cls,
        path: str | Path,
        mode: Mode | None = None,
        profile: str | None = None,
        *,
        lenient: bool = False,
        sides: Mapping[str, str] | None = None,
    ) -> FeatureSet:
        """Read an fg.json file, or a pipeline config of TorchEasyRec or EasyRec; its assets lie beside it.

        Args:
            path: of the file. What it holds tells what it is: fg.json is a JSON object.
            mode: what the columns hold; as the file says if None ("raw" of an fg.json).
            profile: as the file says if None ("easyrec-tf" of EasyRec, else "pyfg").
            lenient: see `from_fg_json`.
            sides: of the raw columns of an EasyRec config, {column: side}; see `pipeline_config`.

        Raises:
            ConfigError: the file cannot be read, or is wrong; names the file, the features and the options.
        """
        path = Path(path)
        try:
            text = path.read_text("utf-8")
        except OSError as error:
            raise ConfigError(f"cannot read it: {error.strerror}", where=str(path)) from None
        except UnicodeDecodeError:
            raise ConfigError("it is not UTF-8", where=str(path)) from None
        try:
            found = read_config(text, sides)
            features = cls.from_fg_json(
                found.document,
                mode or found.mode,
                profile or found.profile,
                path.parent,
                found.encoded_separator,
                lenient=lenient,
            )
        except ConfigError as error:
            raise error.at(str(path)) from None
        features.warnings = (*found.notes, *features.warnings)
        return features

    @classmethod
    def from_fg_json(
        cls,
        doc: Mapping[str, Any],
        mode: Mode = "raw",
        profile: str = "pyfg",
        asset_dir: str | Path | None = None,
        encoded_separator: str = "\x03",
        *,
        lenient: bool = False,
    ) -> FeatureSet:
        """Read a document of the form of fg.json.

        Args:
            doc: {"features": [...]}.
            mode: what the columns hold.
            profile: a name of `profiles.PROFILES`.
            asset_dir: where vocabularies and tokenizers lie.
            encoded_separator: separates the values of a cell in encoded mode.
            lenient: leave out unknown, unused and contradictory options, with a warning each (`warnings`). Of
                contradictory id mappings the one with precedence stays.

        Raises:
            ConfigError: the document is wrong; all problems at once, each with its feature and option. The code is
                "unsupported_profile" for an unknown profile.
        """
        rules = profile_named(profile)
        if mode not in MODES:
            raise ConfigError(f"unknown mode {mode!r}", hint=suggest(mode, MODES))
        if not encoded_separator:
            raise ConfigError("encoded_separator is empty")
        document = read_document(doc, mode, rules, lenient)
        declared, warnings = document.features, list(document.warnings)
        if lenient:
            declared, dropped = relax(declared)
            warnings += dropped
        problems = [*document.problems, *(problem.text for problem in check(declared))]
        if problems:
            raise ConfigError(_listed(problems))
        folder = None if asset_dir is None else Path(asset_dir)
        return cls(declared, mode, profile, folder, encoded_separator, warnings=tuple(warnings))

    @classmethod
    def of(
        cls,
        *features: FeatureSpec | Declared | tuple[SequenceGroup, Sequence[FeatureSpec]],
        profile: str = "pyfg",
        asset_dir: str | Path | None = None,
    ) -> FeatureSet:
        """Features built in Python from the models of `spec_types`; a sequence group is (group, members).

        Raises:
            ConfigError: as `from_fg_json`.
        """
        declared: list[Declared] = []
        for feature in features:
            if isinstance(feature, tuple):
                declared += [Declared(member, feature[0]) for member in feature[1]]
            else:
                declared.append(feature if isinstance(feature, Declared) else Declared(feature))
        return cls.from_fg_json(write_document(tuple(declared)), profile=profile, asset_dir=asset_dir)

    def to_fg_json(self) -> dict[str, Any]:
        """The document that `from_fg_json` reads back as the same features."""
        return write_document(self.features)

    @cached_property
    def graph(self) -> PlanGraph:
        """The plan as data, after all passes.

        Raises:
            ConfigError: an asset is missing or wrong.
        """
        return optimize(lower(self.features, self.asset_dir, self.encoded_separator))

    def compile(self, reference: bool = False) -> Plan:
        """The plan, ready to run.

        Args:
            reference: run it by the slow interpreter.

        Raises:
            ConfigError: an asset is missing or wrong.
        """
        return Plan(self.graph, self.profile, reference)

    @property
    def input_columns(self) -> list[str]:
        """Names of the columns that the plan reads, without the training mask."""
        return self.compile().input_columns

    def sequence_joins(self) -> list[SequenceJoin]:
        """The sequence columns that come from items, by the key column of each sequence; see `sequence_join`."""
        return sequence_joins(self.features)

    @property
    def outputs(self) -> list[OutputSpec]:
        """The features as the network sees them, in config order, without stubs."""
        return [output.spec for output in self.graph.outputs]

    def describe(self) -> dict[str, dict[str, Any]]:
        """Each feature without stubs, in config order, as plain JSON values.

        `inputs` and `sequence_inputs` are column names; `default_value` and `value_dim` are those that apply.
        """
        specs = {spec.name: spec for spec in self.outputs}
        return {f.name: _described(f, specs[f.name]) for f in self.features if f.name in specs}

    @property
    def digest(self) -> str:
        """SHA-256 of everything that decides what the features are: options, mode, profile, version and assets."""
        assets = [op.sha256 for op in self.graph.ops if isinstance(op, ops.Tokenize)]
        assets += [op.stops for op in self.graph.ops if isinstance(op, ops.NormalizeText)]
        assets += [op.function.version for op in self.graph.ops if isinstance(op, _CALLS)]
        vocabularies = [op.vocabulary for op in self.graph.ops if isinstance(op, ops.VocabIds)]
        content = {
            "semantics": SEMANTICS_VERSION,
            "profile": self.profile,
            "profile_version": profile_named(self.profile).version,
            "mode": self.mode,
            "encoded_separator": self.encoded_separator,
            "document": self.to_fg_json(),
            "assets": assets,
            "vocabularies": vocabularies,
        }
        return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _listed(problems: list[str]) -> str:
    if len(problems) == 1:
        return problems[0]
    return f"{len(problems)} problems\n" + "\n".join(f"  - {problem}" for problem in problems)


def _described(feature: Declared, spec: OutputSpec) -> dict[str, Any]:
    columns = [given for given in feature.inputs if given.side not in ("feature", "const")]
    return {
        "inputs": [given.column for given in columns],
        "sequence_inputs": [given.column for given in columns if given.is_sequence],
        "is_sparse": feature.is_sparse,
        "output_dim": feature.output_dim,
        "num_embeddings": spec.rows,
        "default_value": feature.default,
        "value_dim": feature.value_dim,
        "rate": spec.rate.value,
    }
