"""A model is proven in the engine that will run it, and an inexact one passes a gate or is not published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recserve.bundle import Bundle
from recserve.errors import ConfigError, InvariantError
from recserve.network.engine_choice import EngineOptions, Measured
from recserve.network.engines import EngineChoice
from recserve.ranker import Ranker
from recserve.staging import assembly
from recserve.staging.assembly import Precision
from recserve.staging.quality import QualityGate


def build(market: Any, out: Path, **options: Any) -> Bundle:
    return Bundle.build(
        features=market.features, tables=market.tables, network=market.network("deepfm"), out=out, **options
    )


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown precision 'bf61'.*bf16"):
        Precision("bf61")


def test_a_bundle_records_its_engine(market: Any, tmp_path: Path) -> None:
    bundle = build(market, tmp_path / "m" / "1", engine=EngineOptions(engine="onnxruntime", block=16))
    assert Measured.from_dict(bundle.manifest.engine).choice == EngineChoice(block=16)
    assert bundle.pipeline().choice == EngineChoice(block=16)
    assert (bundle.manifest.precision, bundle.manifest.quality) == ({}, {})


@pytest.mark.parametrize("error", [ConfigError("differs", code="proof_failed"), InvariantError("differs")])
def test_a_measured_engine_that_is_wrong_gives_way_to_the_default(
    market: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    real = assembly.prove

    def prove(pipeline: Any, *rest: Any) -> Any:
        if pipeline.choice.block == 16:
            raise error
        return real(pipeline, *rest)

    monkeypatch.setattr(assembly, "prove", prove)
    monkeypatch.setattr(assembly, "tune", lambda *_: Measured(EngineChoice(block=16), "cpu", {"a": 1.0}))
    bundle = build(market, tmp_path / "m" / "1")
    assert Measured.from_dict(bundle.manifest.engine).choice == EngineChoice()
    with pytest.raises(type(error), match="differs"):
        build(market, tmp_path / "m" / "2", engine=EngineOptions(engine="onnxruntime", block=16))


def test_a_network_in_bf16_serves_once_it_passed_the_gate(market: Any, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    bundle = build(market, tmp_path / "m" / "1", precision=Precision("bf16"), engine=EngineOptions(block=8))
    assert bundle.manifest.precision == {"network": "bf16"}
    assert bundle.manifest.quality["max_difference"] <= 0.02
    ranker = Ranker.open(bundle.path, items=market.items)
    assert (ranker.pipeline.choice.engine, ranker.pipeline.choice.precision) == ("openvino", "bf16")
    assert len(ranker.rank({"user_id": 1}, {}, list(range(20))).scores) == 20


def test_what_misses_the_gate_is_not_published(market: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setattr(assembly, "check_quality", _refuse)
    with pytest.raises(ConfigError, match=r"scores differ by .*, allowed 0"):
        build(market, tmp_path / "m" / "1", precision=Precision("bf16"), gate=QualityGate(0))
    assert not (tmp_path / "m" / "1").exists()


def _refuse(*_: Any, **__: Any) -> None:
    raise ConfigError("scores differ by 0.5, allowed 0", code="quality_missed")
