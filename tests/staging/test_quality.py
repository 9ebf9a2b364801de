"""The gate lets through what it should, and says what it measured where it does not."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from recserve.bundle import Bundle
from recserve.errors import ConfigError
from recserve.staging.draw import column_sides
from recserve.staging.quality import Quality, QualityCheck, QualityGate, admitted_share, auc, find_misses, gauc

LABELS = arrays(np.int64, st.shared(st.integers(1, 30), key="n"), elements=st.integers(0, 1))
SCORES = arrays(np.float32, st.shared(st.integers(1, 30), key="n"), elements=st.integers(0, 6).map(float))
GROUPS = arrays(np.int64, st.shared(st.integers(1, 30), key="n"), elements=st.integers(0, 3))


def count_pairs(label: Any, score: Any) -> float | None:
    ones, zeros = score[label == 1], score[label == 0]
    if not len(ones) or not len(zeros):
        return None
    return float(np.mean([[1.0 if a > b else 0.5 if a == b else 0.0 for b in zeros] for a in ones]))


@given(label=LABELS, score=SCORES)
def test_auc_is_the_share_of_pairs_in_order(label: Any, score: Any) -> None:
    found, expected = auc(label, score), count_pairs(label, score)
    assert found == (None if expected is None else pytest.approx(expected))


@given(label=LABELS, score=SCORES, group=GROUPS)
def test_gauc_weighs_groups_by_their_records(label: Any, score: Any, group: Any) -> None:
    parts = [(count_pairs(label[group == g], score[group == g]), int((group == g).sum())) for g in range(4)]
    known = [(value, count) for value, count in parts if value is not None]
    expected = sum(v * c for v, c in known) / sum(c for _, c in known) if known else None
    assert gauc(label, score, group) == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_difference": -0.1}, "max_difference -0.1 is not 0 or more"),
        ({"max_auc_loss": float("nan")}, "max_auc_loss nan is not 0 or more"),
        ({"max_gauc_loss": -1}, "max_gauc_loss -1 is not 0 or more"),
        ({"most_records": 0}, "most_records 0 is not positive"),
    ],
)
def test_a_wrong_gate_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        QualityGate(**fields)


@pytest.fixture(scope="module")
def records(market: Any) -> dict[str, list[Any]]:
    rng = np.random.default_rng(1)
    rows = [market.items[n] | {"item": n} for n in rng.integers(0, 64, 60)]
    columns = {name: [row.get(name) for row in rows] for name in ("item_id", "category", "style", "price", "size")}
    columns |= {"user_id": rng.integers(0, 5, 60).tolist(), "click": rng.integers(0, 2, 60).tolist()}
    return columns


def test_the_exact_pipeline_passes_any_gate(market: Any, records: dict[str, list[Any]]) -> None:
    bundle = Bundle.open(market.bundle("deepfm"))
    gate = QualityGate(1e-5, 0, 0, "click", "user_id", 50)
    flat, graph = market.flat(bundle.path), market.features.graph
    check = QualityCheck(flat, graph, bundle.score, gate, samples=records, records=records)
    found = check.measure(bundle.pipeline())
    assert check.measure(bundle.pipeline()) == found
    assert find_misses(found, gate) == ""
    assert admitted_share(found, gate) == 1
    assert found.requests == 58
    assert found.max_difference <= 1e-5
    assert (found.auc_change, found.gauc_change) == (0, 0)
    assert found.auc is not None
    assert set(found.as_dict()) == set(Quality.__dataclass_fields__)
    without = QualityCheck(flat, graph, bundle.score, QualityGate()).measure(bundle.pipeline())
    assert set(without.as_dict()) == {"requests", "max_difference", "mean_difference"}


class Worse:
    """A flat pipeline that is far from the staged one."""

    def __init__(self, flat: Any, turn: float) -> None:
        self.flat, self.turn = flat, turn

    def run(self, columns: Any) -> Any:
        return {name: self.turn - values for name, values in self.flat.run(columns).items()}


def test_a_miss_is_told_with_what_was_measured(market: Any, records: dict[str, list[Any]]) -> None:
    bundle = Bundle.open(market.bundle("deepfm"))
    columns = {name: records.get(name, [None] * 60) for name in column_sides(market.features.graph)}
    order = market.flat(bundle.path).run(columns)["ctr"]
    ranked = records | {"click": (order > np.median(order)).astype(int).tolist()}
    gate = QualityGate(max_difference=0.1, label="click", group="user_id")
    flat: Any = Worse(market.flat(bundle.path), 2.0)
    found = QualityCheck(flat, market.features.graph, bundle.score, gate, records=records).measure(bundle.pipeline())
    assert re.search(r"scores differ by [\d.]+, allowed 0.1", find_misses(found, gate))
    assert 0 < admitted_share(found, gate) <= 0.1 / found.max_difference
    better = bundle.pipeline()
    worse = ranked | {"click": [1 - cell for cell in ranked["click"]]}
    gate = QualityGate(9, label="click", group="user_id")
    found = QualityCheck(flat, market.features.graph, bundle.score, gate, records=worse).measure(better)
    assert find_misses(found, gate) == "AUC falls by 1, allowed 0.001; GAUC falls by 1, allowed 0.001"
    assert admitted_share(found, gate) == pytest.approx(0.001)


def test_what_is_no_number_misses_and_admits_nothing() -> None:
    for difference in (np.nan, np.inf):
        found = Quality(1, difference, 0.0)
        assert find_misses(found, QualityGate()) == f"scores differ by {difference:g}, allowed 0.02"
        assert admitted_share(found, QualityGate()) == 0


def test_records_that_do_not_fit_are_refused(market: Any, records: dict[str, list[Any]]) -> None:
    bundle = Bundle.open(market.bundle("deepfm"))
    flat, graph = market.flat(bundle.path), market.features.graph
    for gate, changed, message in (
        (QualityGate(label="clik"), {}, "the records have no column 'clik'"),
        (QualityGate(label="click"), {"click": [0.5] * 60}, "row 0 of the label 'click' is 0.5, expected 0 or 1"),
        (QualityGate(), {"click": [1]}, r"the columns of the records have \[1, 60\] rows"),
    ):
        with pytest.raises(ConfigError, match=message):
            QualityCheck(flat, graph, bundle.score, gate, records=records | changed)
    with pytest.raises(ConfigError, match="a label needs records"):
        QualityCheck(flat, graph, bundle.score, QualityGate(label="click"))
