"""From the parts of a model to a proven pipeline: choose an engine, prove, and pass the gate of what is not exact.

Where a precision is `auto`, the cheapest that passes the gate is taken: first for the tables, then for the payload with
those tables, then for the network with both, so that what is published passed the gate as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from recserve.errors import ConfigError, InvariantError
from recserve.features.feature_set import FeatureSet
from recserve.network.engine_choice import AUTO as ANY_ENGINE
from recserve.network.engine_choice import EngineOptions, Measured
from recserve.network.engines import EngineChoice
from recserve.network.model import Network
from recserve.network.quantise import Range
from recserve.network.sensitivity import Relief
from recserve.network.split import SplitNetwork
from recserve.staging.activation_ranges import calibrate, measure_relief
from recserve.staging.cuts import Cuts, NetworkInput, decide_cuts, match_inputs
from recserve.staging.flat import FlatPipeline
from recserve.staging.pipeline import Pipeline
from recserve.staging.precision import AUTO, PARTS, Precision, Trial, narrow_table, words_to_try
from recserve.staging.proof import Proof, prove
from recserve.staging.quality import Quality, QualityCheck, QualityGate, admitted_share, find_misses
from recserve.staging.score import Score
from recserve.staging.tuning import is_gain, tune
from recserve.tables.table import Table

_MIXED_TRIALS: Final = 3
"""Sets of tensors to round that are tried, where rounding all misses the gate: each takes an engine and a gate."""


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
        trials: what was tried on the way, in order.
    """

    parts: Parts
    cuts: Cuts
    measured: Measured
    proof: Proof
    precision: Precision
    quality: Quality | None = None
    trials: tuple[Trial, ...] = ()

    def describe(self) -> dict[str, Any]:
        """For the manifest, as plain JSON values."""
        return {
            "proof": self.proof.as_dict(),
            "engine": self.measured.as_dict(),
            "precision": self.precision.as_dict(),
            "quality": {} if self.quality is None else self.quality.as_dict(),
            "storage": {
                "item_bytes": self.cuts.item_bytes,
                "item_fp32_bytes": self.cuts.stored_in("fp32").item_bytes,
                "tables": {name: table.describe() for name, table in sorted(self.parts.tables.items())},
                "trials": [trial.as_dict() for trial in self.trials],
            },
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
    wishes.precision.check_tables(parts.tables)
    cuts = decide_cuts(parts.features.graph, parts.inputs, parts.split)
    say("choosing an engine for the candidate network")
    measured = tune(parts.inputs, parts.split, wishes.engine)
    say("proving that staged equals flat")
    measured, proof = _prove(parts, cuts, measured, wishes)
    exact = Assembly(parts, cuts, measured, proof, Precision())
    return exact if wishes.precision.is_exact else _Search(exact, score, wishes, say).run()


def _prove(parts: Parts, cuts: Cuts, measured: Measured, wishes: Wishes) -> tuple[Measured, Proof]:
    """A measured engine that fails gives way to the default; one that the config names does not."""
    try:
        return measured, prove(_pipeline(parts, cuts, measured.choice), parts.flat, wishes.samples)
    except (ConfigError, InvariantError) as error:
        is_engines = isinstance(error, InvariantError) or error.code == "proof_failed"
        if not is_engines or wishes.engine.engine != ANY_ENGINE or measured.choice == EngineChoice():
            raise
        default = Measured(EngineChoice(), measured.cpu, measured.us)
        return default, prove(_pipeline(parts, cuts, default.choice), parts.flat, wishes.samples)


class _Search:
    """The way from an exact model to one in the precision that is wished for."""

    def __init__(self, exact: Assembly, score: Score, wishes: Wishes, say: Callable[[str], None]) -> None:
        say("measuring what the precision costs")
        parts = exact.parts
        flat = FlatPipeline(parts.features.compile(), parts.inputs, parts.tables, parts.flat)
        graph = parts.features.graph
        self._check = QualityCheck(flat, graph, score, wishes.gate, samples=wishes.samples, records=wishes.records)
        self._exact: Final = exact
        self._wishes: Final = wishes
        self._say: Final = say
        self._tuned: dict[tuple[str, tuple[Range, ...]], Measured] = {("fp32", ()): exact.measured}
        self._ranges: tuple[Range, ...] = ()
        self._narrowed: dict[tuple[str, str], Table] = {}
        self._trials: list[Trial] = []

    def run(self) -> Assembly:
        """The model in the precision that is wished for, once it passed the gate.

        Raises:
            ConfigError: a precision that was asked for by name misses the gate or cannot be had.
        """
        wished = self._wishes.precision
        settled = replace(wished, **{part: "fp32" for part in PARTS if getattr(wished, part) == AUTO})
        found: Assembly | None = None
        for part in PARTS:
            tried = self._settle(part, settled) if getattr(wished, part) == AUTO else None
            if tried is not None:
                settled, found = tried.precision, tried
        if found is None:
            found = self._exact if settled.is_exact else self._pass(settled)
        return replace(found, trials=tuple(self._trials))

    def _settle(self, part: str, settled: Precision) -> Assembly | None:
        """The cheapest precision of a part that passes the gate, beside what is settled of the others."""
        for word in words_to_try(part, self._exact.parts.tables, self._exact.cuts):
            precision = replace(settled, **{part: word})
            tried = self._try(precision, is_for_speed=part == "network")
            if tried is not None:
                return tried
            is_rounded = precision.network == "int8"
            mixed = self._try_mixed(precision, is_for_speed=part == "network") if is_rounded else None
            if mixed is not None:
                other = self._try(replace(settled, network="bf16"), is_for_speed=True) if part == "network" else None
                return mixed if other is None else min(mixed, other, key=_least_us)
        return None

    def _try(self, precision: Precision, ranges: Sequence[Range] = (), *, is_for_speed: bool) -> Assembly | None:
        """The model in a precision, where it passes; the trial is kept either way.

        Args:
            precision: of all parts.
            ranges: of the tensors that an int8 network rounds; none: all that were calibrated.
            is_for_speed: it also has to be measured faster than the exact model.
        """
        words = ", ".join(f"{part} {word}" for part, word in precision.as_dict().items())
        quality, problem, passed = None, "", None
        left_out = self._left_out(ranges)
        self._say(f"trying {words}" + (f" but for what reads {', '.join(left_out)}" if left_out else ""))
        try:
            model = self._build(precision, ranges)
            if is_for_speed and not is_gain(model.measured, self._exact.measured):
                problem = "is not faster than fp32"
            else:
                quality = self._check.measure(_pipeline(model.parts, model.cuts, model.measured.choice))
                problem = find_misses(quality, self._wishes.gate)
                passed = None if problem else replace(model, quality=quality)
        except ConfigError as error:
            problem = str(error)
        self._trials.append(Trial(precision, quality, problem, left_out))
        return passed

    def _try_mixed(self, precision: Precision, *, is_for_speed: bool) -> Assembly | None:
        """An int8 network that leaves those products in floating-point that cost most quality for what they save.

        Called where rounding all of them missed the gate.
        """
        relief: Relief | None = None
        for _ in range(_MIXED_TRIALS):
            last = self._trials[-1].quality
            if last is None or len(self._ranges) < 2:
                return None
            if relief is None:
                self._say("measuring what each product costs in int8")
                relief = measure_relief(self._exact_pipeline(), self._ranges, self._wishes.samples)
            ranges = relief.next_set(admitted_share(last, self._wishes.gate))
            if not ranges:
                return None
            tried = self._try(precision, ranges, is_for_speed=is_for_speed)
            if tried is not None:
                return tried
        return None

    def _left_out(self, ranges: Sequence[Range]) -> tuple[str, ...]:
        kept = {name for name, _, _ in ranges}
        return tuple(name for name, _, _ in self._ranges if name not in kept) if ranges else ()

    def _pass(self, precision: Precision) -> Assembly:
        """The model in precisions that were all asked for by name.

        Raises:
            ConfigError: it misses a threshold, with what was measured.
        """
        model = self._build(precision)
        quality = self._check.measure(_pipeline(model.parts, model.cuts, model.measured.choice))
        problem = find_misses(quality, self._wishes.gate)
        self._trials.append(Trial(precision, quality, problem))
        if not problem:
            return replace(model, quality=quality)
        mixed = self._try_mixed(precision, is_for_speed=False) if precision.network == "int8" else None
        if mixed is None:
            raise ConfigError(
                problem,
                code="quality_missed",
                where="quality gate",
                hint="Choose a precision nearer to fp32 for the network, the payload or the tables, or allow more",
            )
        return mixed

    def _build(self, precision: Precision, ranges: Sequence[Range] = ()) -> Assembly:
        """The model in a precision of which no part is `auto`.

        Args:
            precision: of all parts.
            ranges: of the tensors that an int8 network rounds; none: all that are calibrated.

        Raises:
            ConfigError: a table cannot hold its numbers in it, or no engine computes in it.
        """
        exact = self._exact
        tables = {name: self._narrow(table, precision.table_word(name)) for name, table in exact.parts.tables.items()}
        cuts = exact.cuts.stored_in(precision.payload)
        measured = self._tune(precision.network, ranges)
        return replace(
            exact, parts=replace(exact.parts, tables=tables), cuts=cuts, measured=measured, precision=precision
        )

    def _narrow(self, table: Table, word: str) -> Table:
        key = (table.name, word)
        if key not in self._narrowed:
            self._narrowed[key] = narrow_table(table, word)
        return self._narrowed[key]

    def _tune(self, word: str, ranges: Sequence[Range]) -> Measured:
        """How the candidate part runs in a precision, measured once."""
        exact = self._exact
        if word == "int8" and not self._ranges:
            self._ranges = calibrate(self._exact_pipeline(), self._wishes.samples)
        wanted = (tuple(ranges) or self._ranges) if word == "int8" else ()
        if (word, wanted) not in self._tuned:
            found = tune(exact.parts.inputs, exact.parts.split, self._wishes.engine, word, wanted)
            self._tuned[word, wanted] = found
        return self._tuned[word, wanted]

    def _exact_pipeline(self) -> Pipeline:
        return _pipeline(self._exact.parts, self._exact.cuts, EngineChoice())


def _least_us(model: Assembly) -> float:
    return min(model.measured.us.values())


def _pipeline(parts: Parts, cuts: Cuts, choice: EngineChoice) -> Pipeline:
    return Pipeline(parts.features, parts.tables, parts.split, cuts, choice=choice)
