"""What the build chose is taken on the same processor; on another it is chosen again among what was proven."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recserve.bundle import Bundle
from recserve.errors import ConfigError
from recserve.network import engine_choice, session_openvino
from recserve.network.engine_choice import EngineOptions, Measured, describe_cpu
from recserve.network.engines import EngineChoice
from recserve.network.model import Network
from recserve.ranker import Ranker
from recserve.staging.cuts import match_inputs
from recserve.staging.tuning import adopt, is_gain, tune

TALL = 1 << 30


@pytest.fixture
def parts(market: Any) -> tuple[Any, Any]:
    bundle = Bundle.open(market.bundle("deepfm"))
    flat = Network.load(bundle.path / "network" / "flat.onnx")
    return match_inputs(bundle.features.graph, flat), bundle.split


def test_a_small_network_is_not_measured(parts: tuple[Any, Any]) -> None:
    assert tune(*parts, EngineOptions()) == Measured(EngineChoice())


def test_the_choice_of_the_build_is_taken_where_it_was_measured(parts: tuple[Any, Any]) -> None:
    recorded = Measured(EngineChoice(block=16), describe_cpu(), {"x": 1.0})
    assert adopt(*parts, recorded) == recorded.choice


def test_another_processor_chooses_again_among_proven_engines(
    parts: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def choose(part: Any, ways: Any, *_: Any) -> Measured:
        seen.append({way.engine for way in ways})
        return Measured(ways[-1])

    monkeypatch.setattr("recserve.staging.tuning.choose", choose)
    found = adopt(*parts, Measured(EngineChoice(block=16), "another processor", {"x": 1.0}))
    assert found.engine == "onnxruntime"
    assert seen == [{"onnxruntime"}]


def test_the_one_who_serves_may_name_the_engine(parts: tuple[Any, Any]) -> None:
    options = EngineOptions(engine="onnxruntime", block=5)
    assert adopt(*parts, Measured(EngineChoice()), options) == EngineChoice(block=5)


def test_without_the_engine_of_an_inexact_precision_the_exact_one_serves(
    parts: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    session_openvino._core.cache_clear()
    try:
        recorded = Measured(EngineChoice("openvino", "bf16", 8, (8,)))
        assert adopt(*parts, recorded) == EngineChoice()
        assert "runs in fp32, not in bf16: " in caplog.text
        with pytest.raises(ConfigError, match="OpenVINO is not installed"):
            adopt(*parts, recorded, EngineOptions(engine="openvino"))
    finally:
        session_openvino._core.cache_clear()


@pytest.mark.parametrize("model", ["wide_deep", "deepfm", "mmoe", "two_tower"])
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_every_engine_ranks_as_the_flat_pipeline(market: Any, model: str, engine: str) -> None:
    if engine == "openvino":
        pytest.importorskip("openvino")
    path = market.bundle(model)
    ranker = Ranker.open(path, items=market.items, engine=EngineOptions(engine=engine, block=8))
    assert (ranker.pipeline.choice.engine, ranker.pipeline.choice.block) == (engine, 8)
    flat = market.flat(path)
    rng = np.random.default_rng(3)
    for rows in (1, 7, 8, 9, 30):
        ids = rng.integers(0, len(market.items), rows).tolist()
        user = {"user_id": int(rows), "gender": "f", "category_clicks": {"red": 1.0}, "budget": 0.5}
        result = ranker.rank(user, {"hour": 3}, {"item_id": ids, "recall": [0.25] * rows})
        expected = flat.run(market.tile(user, {"hour": 3}, {"item_id": ids, "recall": [0.25] * rows}))
        for name, want in expected.items():
            np.testing.assert_allclose(result.outputs[name], want[result.positions], rtol=1e-5, atol=1e-5)


def test_measuring_tells_ways_apart_by_time_alone(parts: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_choice, "WORTH_MEASURING", 0)
    monkeypatch.setattr(engine_choice, "cache_folder", lambda: __import__("pathlib").Path("/nonexistent/folder"))
    found = tune(*parts, EngineOptions(seconds=0.1, candidates=20))
    assert found.cpu == describe_cpu()
    assert EngineChoice().label in found.us


def test_a_processor_without_the_instructions_serves_the_exact_network_with_one_warning(
    parts: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("recserve.staging.tuning.describe_cpu", lambda: "Old Xeon avx2")
    for choice in (
        EngineChoice("openvino", "bf16", 8, (8,)),
        EngineChoice("onnxruntime", "int8", ranges=(("x", 0.0, 1.0),)),
    ):
        caplog.clear()
        assert adopt(*parts, Measured(choice, "New Xeon avx512_bf16 avx512_vnni")) == EngineChoice()
        assert [record.message for record in caplog.records] == [
            f"the candidate network runs in fp32, not in {choice.precision}: "
            "the processor has no instructions for it: Old Xeon avx2"
        ]


def test_an_inexact_choice_is_a_gain_only_where_it_was_measured_to_be_faster() -> None:
    exact = Measured(EngineChoice(), "cpu", {"a": 100.0, "b": 80.0})
    assert is_gain(Measured(EngineChoice(), "cpu", {"c": 70.0}), exact)
    assert not is_gain(Measured(EngineChoice(), "cpu", {"c": 79.0}), exact)
    assert not is_gain(Measured(EngineChoice()), exact)
    assert not is_gain(Measured(EngineChoice(), "cpu", {"c": 1.0}), Measured(EngineChoice()))
