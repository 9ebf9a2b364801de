"""A network is rewritten where that answers faster here, and stays as exported where it does not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from recserve.bundle import Bundle
from recserve.errors import ConfigError
from recserve.network.engine_choice import EngineOptions
from recserve.network.model import Network
from recserve.network.split import SplitNetwork, split_network
from recserve.ranker import Ranker
from recserve.staging import forms
from recserve.staging.cuts import input_rates, match_inputs
from recserve.staging.forms import keep_faster, measure_forms

Forms = tuple[SplitNetwork, SplitNetwork]


@pytest.fixture
def inputs(market: Any) -> Any:
    return match_inputs(market.features.graph, Network.load(market.network("deepfm")))


@pytest.fixture
def both(market: Any, inputs: Any) -> Forms:
    flat = Network.load(market.network("deepfm"))
    rates = input_rates(inputs)
    return split_network(flat, rates), split_network(flat, rates, ())


def timed(monkeypatch: pytest.MonkeyPatch, *us: float) -> list[Sequence[SplitNetwork]]:
    """Makes measuring worth it, and its answers known."""
    seen: list[Sequence[SplitNetwork]] = []

    def answer(compared: Sequence[SplitNetwork], *_: Any) -> list[float]:
        seen.append(compared)
        return list(us)

    monkeypatch.setattr(forms, "WORTH_MEASURING", 0)
    monkeypatch.setattr(forms, "measure_forms", answer)
    return seen


@pytest.mark.parametrize(("us", "kept"), [((100.0, 50.0), 1), ((100.0, 95.0), 0), ((50.0, 100.0), 0)])
def test_the_faster_form_is_kept(
    both: Forms, inputs: Any, monkeypatch: pytest.MonkeyPatch, us: tuple[float, float], kept: int
) -> None:
    seen = timed(monkeypatch, *us)
    assert keep_faster(both[0], lambda: both[1], inputs, EngineOptions()) is both[kept]
    assert seen == [[both[0], both[1]]]


def test_what_is_small_or_not_to_be_measured_is_rewritten(
    both: Forms, inputs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert keep_faster(both[0], lambda: pytest.fail("is split"), inputs, EngineOptions()) is both[0]
    timed(monkeypatch, 100.0, 1.0)
    assert keep_faster(both[0], lambda: pytest.fail("is split"), inputs, EngineOptions(seconds=0)) is both[0]
    assert keep_faster(both[1], lambda: pytest.fail("is split"), inputs, EngineOptions()) is both[1]


def test_a_network_that_cannot_be_cut_as_exported_is_rewritten(
    both: Forms, inputs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> SplitNetwork:
        raise ConfigError("an item sequence is needed")

    timed(monkeypatch, 100.0, 1.0)
    assert keep_faster(both[0], fail, inputs, EngineOptions()) is both[0]


def test_both_forms_are_measured_on_drawn_inputs(both: Forms) -> None:
    us = measure_forms(both, 20, 3, 0.01)
    assert len(us) == 2
    assert all(0 < value < math.inf for value in us)


def test_a_network_that_stays_as_exported_is_proven_and_served(
    market: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed(monkeypatch, 100.0, 1.0)
    bundle = Bundle.build(
        features=market.features,
        tables=market.tables,
        network=market.network("deepfm"),
        out=tmp_path / "m" / "1",
        engine=EngineOptions(engine="onnxruntime", block=0),
    )
    assert bundle.split.report.changes == ()
    assert bundle.manifest.proof
    assert len(Ranker.open(bundle.path, items=market.items).rank({"user_id": 1}, {}, list(range(20))).scores) == 20
