"""The quality gate of what is not exact: how far an approximate pipeline is from the exact one, and if it may pass.

Axes: R records, one request of one candidate each.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from recserve.dtypes import F32, I64
from recserve.errors import ConfigError, suggest
from recserve.features.graph import PlanGraph
from recserve.staging.draw import column_sides, draw_columns, sample_columns
from recserve.staging.flat import FlatPipeline
from recserve.staging.pipeline import Pipeline, run_staged
from recserve.staging.score import Score

_REQUESTS: Final = 8
_CANDIDATES: Final = 40
_SEED: Final = 20260102


@dataclass(frozen=True)
class QualityGate:
    """What an approximate model may cost, and on what it is measured.

    Attributes:
        max_difference: largest allowed |approximate - exact| of any output, relative to max(1, |exact|).
        max_auc_loss: largest allowed fall of the AUC of the score on the records.
        max_gauc_loss: largest allowed fall of the AUC within groups of records.
        label: column of the records with 0 or 1; None: no AUC is measured.
        group: column of the records by whose values they are grouped, such as a user or request id.
        most_records: of the records, the first so many count.

    Raises:
        ConfigError: a threshold is negative or no number, or there are no records to count.
    """

    max_difference: float = 0.02
    max_auc_loss: float = 0.001
    max_gauc_loss: float = 0.001
    label: str | None = None
    group: str | None = None
    most_records: int = 2000

    def __post_init__(self) -> None:
        for name in ("max_difference", "max_auc_loss", "max_gauc_loss"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} {getattr(self, name)!r} is not 0 or more", where="quality gate")
        if self.most_records < 1:
            raise ConfigError(f"most_records {self.most_records!r} is not positive", where="quality gate")


@dataclass(frozen=True)
class Quality:
    """What was measured.

    Attributes:
        requests: drawn and of records.
        max_difference: largest |approximate - exact|, relative to max(1, |exact|).
        mean_difference: mean of the same.
        auc: of the exact score on the records; None without labels of both kinds.
        auc_change: approximate minus exact.
        gauc: AUC within groups, weighted by their records; None without groups that have labels of both kinds.
        gauc_change: approximate minus exact.
    """

    requests: int
    max_difference: float
    mean_difference: float
    auc: float | None = None
    auc_change: float | None = None
    gauc: float | None = None
    gauc_change: float | None = None

    def as_dict(self) -> dict[str, float]:
        """For the manifest: what was measured, without what was not."""
        return {name: float(value) for name, value in asdict(self).items() if value is not None}


class QualityCheck:
    """The gate with what the exact model answers, to compare any number of approximate pipelines with."""

    def __init__(
        self,
        exact: FlatPipeline,
        graph: PlanGraph,
        score: Score,
        gate: QualityGate,
        *,
        samples: Mapping[str, Any] | None = None,
        records: Mapping[str, Any] | None = None,
    ) -> None:
        """Draw requests, and run the exact model on them and on the records.

        Args:
            exact: flat, in float32.
            graph: the feature plan of both.
            score: by which candidates are ranked.
            gate: the thresholds.
            samples: columns from which half of the drawn requests take their rows.
            records: columns of equal length, held back from training; with the columns of the label and the group.

        Raises:
            ConfigError: the label or the group is no column, or there are no records to read them from.
        """
        if records is None and gate.label is not None:
            raise ConfigError("a label needs records to be read from", code="no_records", where="quality gate")
        self._gate: Final = gate
        self._score: Final = score
        self._rows: Final = None if records is None else _Records.read(records, gate)
        requests = list(_draw_requests(graph, samples))
        if self._rows is not None:
            columns = column_sides(graph)
            known = {name: self._rows.columns[name] for name in columns if name in self._rows.columns}
            absent = {name: [None] for name in columns}
            requests += [absent | {name: [known[name][row]] for name in known} for row in range(self._rows.count)]
        self._requests: Final = requests
        self._expected: Final = [exact.run(columns) for columns in requests]

    def measure(self, approximate: Pipeline) -> Quality:
        """How far a pipeline, as it would serve, is from the exact model."""
        answers = [run_staged(approximate, columns) for columns in self._requests]
        differences = [_relative(found, want) for found, want in zip(answers, self._expected, strict=True)]
        every = np.concatenate(differences)
        found: dict[str, float] = {}
        if self._rows is not None:
            want, got = (_join(outputs[_REQUESTS:]) for outputs in (self._expected, answers))
            found = _measure_auc(self._rows, self._score.evaluate(want), self._score.evaluate(got))
        return Quality(len(self._requests), float(every.max(initial=0.0)), float(every.mean()), **found)


def find_misses(quality: Quality, gate: QualityGate) -> str:
    """What misses which threshold, in words; empty where all is within the gate."""
    return "; ".join(
        f"{what} {measured:.4g}, allowed {most:g}"
        for what, measured, most in _thresholds(quality, gate)
        if not measured <= most
    )


def admitted_share(quality: Quality, gate: QualityGate) -> float:
    """The error that the gate admits, as a share of what was measured, by the worst miss; 1 where nothing is missed."""
    shares = (most / measured for _, measured, most in _thresholds(quality, gate) if not measured <= most)
    return min((share if math.isfinite(share) else 0.0 for share in shares), default=1.0)


def _thresholds(quality: Quality, gate: QualityGate) -> list[tuple[str, float, float]]:
    """(words, measured, allowed) of what was measured."""
    found = [("scores differ by", quality.max_difference, gate.max_difference)]
    losses = (("AUC", quality.auc_change, gate.max_auc_loss), ("GAUC", quality.gauc_change, gate.max_gauc_loss))
    return found + [(f"{name} falls by", -change, most) for name, change, most in losses if change is not None]


def _relative(found: Mapping[str, F32], expected: Mapping[str, F32]) -> npt.NDArray[np.float64]:
    """|found - expected| / max(1, |expected|) of all outputs; infinite where one of them is no number."""
    parts = []
    for name, want in expected.items():
        with np.errstate(invalid="ignore"):
            difference = np.abs(np.float64(found[name]) - want) / np.maximum(1.0, np.abs(want))
        difference = np.where((found[name] == want) | (np.isnan(found[name]) & np.isnan(want)), 0.0, difference)
        parts.append(np.where(np.isnan(difference), np.inf, difference).ravel())
    return np.concatenate(parts)


def _draw_requests(graph: PlanGraph, samples: Mapping[str, Any] | None) -> Iterator[dict[str, list[Any]]]:
    rng = np.random.default_rng(_SEED)
    rows = {"item": _CANDIDATES, "candidate": _CANDIDATES, "user": 1, "context": 1}
    for number in range(_REQUESTS):
        if samples is not None and number % 2:
            yield sample_columns(graph, samples, rows, rng)
        else:
            yield draw_columns(graph, rows, rng)


def _join(answers: Sequence[Mapping[str, F32]]) -> dict[str, F32]:
    """{output: the values of all requests}; there is at least one."""
    return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}


@dataclass(frozen=True)
class _Records:
    """Held-back records as lists."""

    columns: Mapping[str, list[Any]]
    count: int
    label: I64 | None
    group: I64 | None

    @classmethod
    def read(cls, records: Mapping[str, Any], gate: QualityGate) -> _Records:
        names: list[str] = list(records.column_names if hasattr(records, "column_names") else records)
        for name in (gate.label, gate.group):
            if name is not None and name not in names:
                raise ConfigError(
                    f"the records have no column {name!r}",
                    code="unknown_column",
                    where="quality gate",
                    hint=suggest(name, names),
                )
        columns = {name: _as_list(records[name])[: gate.most_records] for name in names}
        sizes = {len(column) for column in columns.values()}
        if len(sizes) != 1 or sizes == {0}:
            raise ConfigError(f"the columns of the records have {sorted(sizes)} rows", where="quality gate")
        label = None if gate.label is None else _read_labels(gate.label, columns[gate.label])
        group = None
        if gate.group is not None:
            group = np.unique([str(cell) for cell in columns[gate.group]], return_inverse=True)[1].astype(np.int64)
        return cls(columns, sizes.pop(), label, group)


def _as_list(column: Any) -> list[Any]:
    return list(column.to_pylist() if hasattr(column, "to_pylist") else column)


def _read_labels(name: str, cells: Sequence[Any]) -> I64:
    for row, cell in enumerate(cells):
        if cell not in (0, 1):
            raise ConfigError(
                f"row {row} of the label {name!r} is {cell!r:.40}, expected 0 or 1",
                code="bad_label",
                where="quality gate",
            )
    return np.array(cells, np.int64)


def _measure_auc(rows: _Records, exact: F32, approximate: F32) -> dict[str, float]:
    found: dict[str, float] = {}
    if rows.label is None:
        return found
    pairs = {"auc": [(auc(rows.label, exact), auc(rows.label, approximate))]}
    if rows.group is not None:
        pairs["gauc"] = [(gauc(rows.label, exact, rows.group), gauc(rows.label, approximate, rows.group))]
    for name, ((before, after),) in pairs.items():
        if before is not None and after is not None:
            found |= {name: before, f"{name}_change": after - before}
    return found


def auc(label: I64, score: F32) -> float | None:
    """Share of pairs of a 1 and a 0 that the score orders rightly, ties counting half; None without both."""
    positives = int(label.sum())
    negatives = len(label) - positives
    if not positives or not negatives:
        return None
    order = np.argsort(score, kind="stable")
    _, first, counts = np.unique(score[order], return_index=True, return_counts=True)
    ranks = np.repeat(first + (counts + 1) / 2, counts)
    return float((ranks[label[order] == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def gauc(label: I64, score: F32, group: I64) -> float | None:
    """AUC within each group, weighted by its records, over groups with both labels; None without such a group."""
    total, weight = 0.0, 0
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(group[order]) != 0, True])
    for start, end in itertools.pairwise(starts.tolist()):
        members = order[start:end]
        value = auc(label[members], score[members])
        if value is not None:
            total, weight = total + value * len(members), weight + len(members)
    return total / weight if weight else None
