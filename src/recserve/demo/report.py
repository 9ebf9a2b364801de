"""What the demo found, as data.

Axes: K items of an answer.
"""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from recserve.demo.steps import StepTime


@dataclass(frozen=True)
class Quality:
    """How well probabilities meet the labels of the test period.

    Attributes:
        name: whose probabilities.
        auc, gauc: 0 … 1; GAUC is the mean AUC within users.
        log_loss: natural logarithm; None for a score that is no probability.
    """

    name: str
    auc: float
    gauc: float
    log_loss: float | None


@dataclass(frozen=True)
class TopQuality:
    """True click rate of the best items, as a mean over users: what each ranking would have earned.

    Attributes:
        users: number of users, each with a request of `candidates` items.
        top: items counted of each answer.
        rates: {ranking: mean true probability}.
    """

    users: int
    candidates: int
    top: int
    rates: dict[str, float]


@dataclass(frozen=True)
class Latency:
    """Time of live requests at the client, one after the other, JSON and HTTP included.

    Attributes:
        requests: how many.
        candidates: median number of candidates.
        p50_ms, p99_ms: milliseconds.
    """

    requests: int
    candidates: int
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True)
class ShownItem:
    """A row of the live answer: item, score, {goal: probability}, true probability where known, popularity."""

    item_id: str
    words: str
    score: float
    outputs: dict[str, float]
    truth: float | None
    popularity: float


@dataclass(frozen=True)
class LoopCheck:
    """What the server's log gives when it is read back as samples.

    Attributes:
        records: records of the live requests found in the log.
        samples: samples of the shown request, one per item.
        positives: of them, those with the event that the demo wrote.
        features: features compared.
        values: numbers compared.
        differing: names of features that are not the same, bit for bit; empty where training = serving.
        score_gap: largest |score of the flat network on the samples − logged score|.
    """

    records: int
    samples: int
    positives: int
    features: int
    values: int
    differing: list[str]
    score_gap: float


@dataclass(frozen=True)
class TrainingSummary:
    """A training run: samples it learned from, later ones that judge it, and epochs."""

    train_rows: int
    test_rows: int
    epochs: int


@dataclass(frozen=True)
class DemoReport:
    """All figures of a run.

    Attributes:
        data: "shop" or "ml-100k".
        goal: what DIN predicts.
        folder: where the files are.
        training: the run.
        quality: DIN first.
        bundle: figures of the proof that staged = flat.
        live: the answer that was shown.
        stages_us: {stage: microseconds} of that answer, by the server.
        latency: of all live requests.
        top: None where no truth is known.
        loop: the log read back.
        steps: with wall times.
    """

    data: str
    goal: str
    seed: int
    quick: bool
    folder: Path
    training: TrainingSummary
    quality: list[Quality]
    bundle: dict[str, float]
    live: list[ShownItem]
    stages_us: dict[str, float]
    latency: Latency
    top: TopQuality | None
    loop: LoopCheck
    steps: list[StepTime]

    @property
    def seconds(self) -> float:
        """Wall time of all steps."""
        return sum(step.seconds for step in self.steps)

    def quality_of(self, name: str) -> Quality:
        """The row of that name."""
        return next(row for row in self.quality if row.name == name)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values, with the machine they were measured on."""
        machine = {"python": platform.python_version(), "machine": platform.machine(), "system": platform.system()}
        return {**asdict(self), "folder": str(self.folder), "seconds": self.seconds, **machine}

    def write(self, file: Path) -> None:
        """Write `as_json` to a file."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(orjson.dumps(self.as_json(), option=orjson.OPT_INDENT_2))
