"""The quality gate of what is not exact: how far an approximate pipeline is from the exact one, and if it may pass.

Axes: R records, one request of one candidate each.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from recserve.dtypes import F32, I64
from recserve.errors import ConfigError, suggest
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


def check_quality(
    exact: FlatPipeline,
    approximate: Pipeline,
    score: Score,
    gate: QualityGate,
    *,
    samples: Mapping[str, Any] | None = None,
    records: Mapping[str, Any] | None = None,
) -> Quality:
    """Compare an approximate pipeline with the exact one, and refuse it where it is too far off.

    Args:
        exact: flat, in float32.
        approximate: staged, as it would serve.
        score: by which candidates are ranked.
        gate: the thresholds.
        samples: columns from which half of the drawn requests take their rows.
        records: columns of equal length, held back from training; with the columns of the label and the group.

    Raises:
        ConfigError: a threshold is missed, with what was measured; or the label or the group is no column.
    """
    differences = [_drawn_differences(exact, approximate, samples)]
    found: dict[str, float] = {}
    requests = _REQUESTS
    if records is not None:
        rows = _Records.read(records, gate)
        columns = {name: rows.columns[name] for name in column_sides(approximate.graph) if name in rows.columns}
        want, got = _score_records(exact, approximate, columns, rows.count)
        requests += rows.count
        differences.append(_relative(got, want))
        found = _measure_auc(rows, score.evaluate(want), score.evaluate(got))
    elif gate.label is not None:
        raise ConfigError("a label needs records to be read from", code="no_records", where="quality gate")
    every = np.concatenate(differences)
    quality = Quality(requests, float(every.max(initial=0.0)), float(every.mean()), **found)
    _refuse_misses(quality, gate)
    return quality


def _refuse_misses(quality: Quality, gate: QualityGate) -> None:
    misses = []
    if not quality.max_difference <= gate.max_difference:
        misses.append(f"scores differ by {quality.max_difference:.4g}, allowed {gate.max_difference:g}")
    for name, change, most in (
        ("AUC", quality.auc_change, gate.max_auc_loss),
        ("GAUC", quality.gauc_change, gate.max_gauc_loss),
    ):
        if change is not None and not -change <= most:
            misses.append(f"{name} falls by {-change:.4g}, allowed {most:g}")
    if misses:
        raise ConfigError(
            "; ".join(misses),
            code="quality_missed",
            where="quality gate",
            hint="Choose a precision nearer to fp32 for the network, the payload or the tables, or allow more",
        )


def _relative(found: Mapping[str, F32], expected: Mapping[str, F32]) -> npt.NDArray[np.float64]:
    """|found - expected| / max(1, |expected|) of all outputs; infinite where one of them is no number."""
    parts = []
    for name, want in expected.items():
        with np.errstate(invalid="ignore"):
            difference = np.abs(np.float64(found[name]) - want) / np.maximum(1.0, np.abs(want))
        difference = np.where((found[name] == want) | (np.isnan(found[name]) & np.isnan(want)), 0.0, difference)
        parts.append(np.where(np.isnan(difference), np.inf, difference).ravel())
    return np.concatenate(parts)


def _drawn_differences(
    exact: FlatPipeline, approximate: Pipeline, samples: Mapping[str, Any] | None
) -> npt.NDArray[np.float64]:
    rng = np.random.default_rng(_SEED)
    rows = {"item": _CANDIDATES, "candidate": _CANDIDATES, "user": 1, "context": 1}
    parts = []
    for number in range(_REQUESTS):
        graph = approximate.graph
        is_sampled = samples is not None and number % 2
        columns = sample_columns(graph, samples or {}, rows, rng) if is_sampled else draw_columns(graph, rows, rng)
        parts.append(_relative(run_staged(approximate, columns), exact.run(columns)))
    return np.concatenate(parts)


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


def _score_records(
    exact: FlatPipeline, approximate: Pipeline, columns: Mapping[str, list[Any]], count: int
) -> tuple[dict[str, F32], dict[str, F32]]:
    """({output: R values} exact, the same approximate): each record is a request of one candidate."""
    want: dict[str, list[F32]] = {}
    got: dict[str, list[F32]] = {}
    for row in range(count):
        one = {name: [None] for name in column_sides(approximate.graph)} | {n: [c[row]] for n, c in columns.items()}
        for target, outputs in ((want, exact.run(one)), (got, run_staged(approximate, one))):
            for name, values in outputs.items():
                target.setdefault(name, []).append(values)
    return {n: np.concatenate(v) for n, v in want.items()}, {n: np.concatenate(v) for n, v in got.items()}


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
