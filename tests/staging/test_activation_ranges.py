"""Calibration sees what the candidate network reads, on drawn requests or on samples, and a bundle serves by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recserve.bundle import Bundle
from recserve.cli.network_report import print_report, report_engine, report_split
from recserve.errors import ConfigError
from recserve.network.engine_choice import EngineOptions, Measured
from recserve.ranker import Ranker
from recserve.staging.activation_ranges import calibrate
from recserve.staging.precision import Precision
from recserve.staging.quality import QualityGate

IN_ORT = EngineOptions(engine="onnxruntime", block=0)


@pytest.fixture(scope="module")
def network(market: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wide enough for a product to be worth it behind the first layer, which is split."""
    torch = pytest.importorskip("torch")
    from recserve.training.export import export_module
    from recserve.training.zoo import WideDeepConfig, build_model

    torch.manual_seed(0)
    outputs = market.features.outputs
    module = build_model("wide_deep", outputs, ("ctr",), WideDeepConfig(hidden=(64, 48, 32)))
    return export_module(module, outputs, tmp_path_factory.mktemp("wide"))


def build(market: Any, network: Path, out: Path, **options: Any) -> Bundle:
    return Bundle.build(
        features=market.features, tables=market.tables, network=network, out=out, engine=IN_ORT, **options
    )


def test_ranges_are_those_of_the_requests_and_nothing_stays_behind(market: Any, network: Path, tmp_path: Path) -> None:
    pipeline = build(market, network, tmp_path / "m" / "1").pipeline()
    samples = {"user_id": [1, 2, 3], "item_id": [4, 5, 6], "price": [0.5, 1.0, 2.0]}
    drawn, sampled = calibrate(pipeline), calibrate(pipeline, samples)
    assert [name for name, _, _ in drawn] == [name for name, _, _ in sampled]
    assert drawn != sampled
    assert sampled == calibrate(pipeline, samples)
    assert all(low <= 0 <= high for _, low, high in (*drawn, *sampled))
    assert pipeline.candidate.runner.observe is None


def test_a_network_in_int8_serves_by_the_ranges_of_its_build(market: Any, network: Path, tmp_path: Path) -> None:
    exact = build(market, network, tmp_path / "m" / "1")
    bundle = build(market, network, tmp_path / "m" / "2", precision=Precision("int8"))
    assert bundle.manifest.precision == {"network": "int8"}
    assert 0 < bundle.manifest.quality["max_difference"] <= 0.02
    recorded = Measured.from_dict(bundle.manifest.engine).choice
    ids = list(range(40))
    rankers = [Ranker.open(made.path, items=market.items) for made in (exact, bundle)]
    assert rankers[1].pipeline.choice == recorded
    assert len(recorded.ranges) == 2
    want, found = (ranker.rank({"user_id": 1}, {}, ids) for ranker in rankers)
    order = np.argsort(want.positions), np.argsort(found.positions)
    np.testing.assert_allclose(found.scores[order[1]], want.scores[order[0]], atol=0.02)
    assert not np.array_equal(found.scores[order[1]], want.scores[order[0]])


def test_a_network_in_int8_that_misses_the_gate_is_not_published(market: Any, network: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"scores differ by .*, allowed 1e-09") as caught:
        build(market, network, tmp_path / "m" / "1", precision=Precision("int8"), gate=QualityGate(1e-9))
    assert caught.value.code == "quality_missed"
    assert not (tmp_path / "m" / "1").exists()


def test_a_network_with_nothing_to_quantise_is_refused_in_int8(market: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no product with a matrix of 32 × 32 or more"):
        build(market, market.network("deepfm"), tmp_path / "m" / "1", precision=Precision("int8"))


def test_a_product_that_misses_the_gate_stays_floating_point_beside_integers(
    market: Any, network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines: list[str] = []
    every = build(market, network, tmp_path / "m" / "1", precision=Precision("int8"), gate=QualityGate(1.0))
    gate = QualityGate(0.7 * every.manifest.quality["max_difference"])
    bundle = build(market, network, tmp_path / "m" / "2", precision=Precision("int8"), gate=gate, progress=lines.append)
    missed, taken = bundle.manifest.storage["trials"]
    assert "scores differ by" in missed["problem"]
    (left_out,) = taken["left_out"]
    names = [name for name, _, _ in Measured.from_dict(every.manifest.engine).choice.ranges]
    (kept,) = Measured.from_dict(bundle.manifest.engine).choice.ranges
    assert {kept[0], left_out} == set(names)
    assert bundle.manifest.precision == {"network": "int8"}
    assert 0 < bundle.manifest.quality["max_difference"] <= gate.max_difference
    assert f"trying network int8 but for what reads {left_out}" in lines
    assert len(Ranker.open(bundle.path, items=market.items).rank({"user_id": 1}, {}, list(range(20))).scores) == 20
    explained = report_engine(bundle.manifest.engine, bundle.split)
    assert (explained["rounded"], explained["left_out"]) == ([kept[0]], [left_out])
    print_report(
        report_split(bundle.split, 100) | {"engine": explained | {"us": {"a way": 12.0}, "cpu": "a processor"}}
    )
    printed = capsys.readouterr().out
    assert "runs in onnxruntime int8, as measured on a processor." in printed
    assert f"Large products in floating-point are those that read {left_out}." in printed
