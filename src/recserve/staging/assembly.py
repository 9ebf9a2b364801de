"""From the parts of a model to a proven pipeline: choose an engine, prove, and pass the gate of what is not exact."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from recserve.errors import ConfigError, InvariantError
from recserve.features.feature_set import FeatureSet
from recserve.network.engine_choice import AUTO, EngineOptions, Measured
from recserve.network.engines import PRECISIONS, EngineChoice, check_word
from recserve.network.model import Network
from recserve.network.split import SplitNetwork
from recserve.staging.cuts import Cuts, NetworkInput, decide_cuts, match_inputs
from recserve.staging.flat import FlatPipeline
from recserve.staging.pipeline import Pipeline
from recserve.staging.proof import Proof, prove
from recserve.staging.quality import Quality, QualityGate, check_quality
from recserve.staging.score import Score
from recserve.staging.tuning import tune
from recserve.tables.table import Table


@dataclass(frozen=True)
class Precision:
    """In which precision a model serves; anything but fp32 has to pass a quality gate.

    Attributes:
        network: "fp32" or "bf16", of the candidate part.

    Raises:
        ConfigError: an unknown word.
    """

    network: str = "fp32"

    def __post_init__(self) -> None:
        check_word("precision", self.network, PRECISIONS)

    @property
    def is_exact(self) -> bool:
        """All is float32."""
        return not self.as_dict()

    def as_dict(self) -> dict[str, str]:
        """What is not fp32, by part."""
        return {part: word for part, word in asdict(self).items() if word != "fp32"}


@dataclass(frozen=True)
class Parts:
    """What a model is made of."""

    features: FeatureSet
    tables: Mapping[str, Table]
    flat: Network
    split: SplitNetwork

    @property
    def inputs(self) -> tuple[NetworkInput, ...]:
        """Of the flat network, and where they come from."""
        return match_inputs(self.features.graph, self.flat)


@dataclass(frozen=True)
class Wishes:
    """How a model shall serve, and on what that is checked.

    Attributes:
        engine: which engines may run the candidate part, and how long to measure them.
        precision: exact by default.
        gate: what an inexact precision may cost.
        samples: columns as training saw them, from which proof and gate draw rows.
        records: columns held back from training, on which the gate is measured.
    """

    engine: EngineOptions = field(default_factory=EngineOptions)
    precision: Precision = field(default_factory=Precision)
    gate: QualityGate = field(default_factory=QualityGate)
    samples: Mapping[str, Any] | None = None
    records: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Assembly:
    """A proven model.

    Attributes:
        parts: as they are served.
        cuts: what runs where.
        measured: how the candidate part runs.
        proof: of the exact pipeline.
        precision: in which it serves.
        quality: of the approximate pipeline; None where all is exact.
    """

    parts: Parts
    cuts: Cuts
    measured: Measured
    proof: Proof
    precision: Precision
    quality: Quality | None

    def describe(self) -> dict[str, Any]:
        """For the manifest, as plain JSON values."""
        return {
            "proof": self.proof.as_dict(),
            "engine": self.measured.as_dict(),
            "precision": self.precision.as_dict(),
            "quality": {} if self.quality is None else self.quality.as_dict(),
        }


def assemble(parts: Parts, score: Score, wishes: Wishes, say: Callable[[str], None]) -> Assembly:
    """Choose, prove and measure.

    Args:
        parts: of the model, exact.
        score: by which candidates are ranked.
        wishes: how it shall serve.
        say: called with a line for each step.

    Raises:
        ConfigError: the parts do not fit together, staged and flat differ, an engine cannot run, or the gate is missed.
    """
    cuts = decide_cuts(parts.features.graph, parts.inputs, parts.split)
    say("choosing an engine for the candidate network")
    measured = tune(parts.inputs, parts.split, wishes.engine)
    say("proving that staged equals flat")
    measured, proof = _prove(parts, cuts, measured, wishes)
    if wishes.precision.is_exact:
        return Assembly(parts, cuts, measured, proof, wishes.precision, None)
    say("measuring what the precision costs")
    return _approximate(Assembly(parts, cuts, measured, proof, wishes.precision, None), score, wishes)


def _prove(parts: Parts, cuts: Cuts, measured: Measured, wishes: Wishes) -> tuple[Measured, Proof]:
    """A measured engine that fails gives way to the default; one that the config names does not."""
    try:
        return measured, prove(_pipeline(parts, cuts, measured.choice), parts.flat, wishes.samples)
    except (ConfigError, InvariantError) as error:
        is_engines = isinstance(error, InvariantError) or error.code == "proof_failed"
        if not is_engines or wishes.engine.engine != AUTO or measured.choice == EngineChoice():
            raise
        default = Measured(EngineChoice(), measured.cpu, measured.us)
        return default, prove(_pipeline(parts, cuts, default.choice), parts.flat, wishes.samples)


def _approximate(exact: Assembly, score: Score, wishes: Wishes) -> Assembly:
    """The same model in the precision that is wished for, once it passed the gate."""
    measured = tune(exact.parts.inputs, exact.parts.split, wishes.engine, wishes.precision.network)
    parts = exact.parts
    pipeline = _pipeline(parts, exact.cuts, measured.choice)
    flat = FlatPipeline(parts.features.compile(), exact.parts.inputs, exact.parts.tables, parts.flat)
    quality = check_quality(flat, pipeline, score, wishes.gate, samples=wishes.samples, records=wishes.records)
    return Assembly(parts, exact.cuts, measured, exact.proof, wishes.precision, quality)


def _pipeline(parts: Parts, cuts: Cuts, choice: EngineChoice) -> Pipeline:
    return Pipeline(parts.features, parts.tables, parts.split, cuts, choice=choice)
