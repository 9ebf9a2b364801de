from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recserve.bundle import Bundle
from recserve.errors import ConfigError
from recserve.network.model import Network
from recserve.staging import proof
from recserve.staging.flat import FlatPipeline
from recserve.staging.pipeline import CandidateStage, ItemStage, RequestStage

MODEL = "lr"


def drift(result: Any, by: float = 0.01) -> Any:
    """`result` with its first floats off by `by`."""
    return {name: value + np.float32(by) if value.dtype == np.float32 else value for name, value in result.items()}


def build(market: Any, out: Path, samples: dict[str, Any] | None = None) -> Bundle:
    """Build as a user does; the export has been made before the test changes anything."""
    return Bundle.build(
        features=market.features, tables=market.tables, network=market.network(MODEL), out=out, samples=samples
    )


@pytest.fixture(autouse=True)
def exported(market: Any) -> Path:
    path: Path = market.network(MODEL)
    return path


@pytest.mark.parametrize("stage", [ItemStage, RequestStage])
def test_a_stage_that_drifts_publishes_nothing(
    market: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: type[Any]
) -> None:
    run = stage.run
    monkeypatch.setattr(stage, "run", lambda *arguments: drift(run(*arguments)))
    with pytest.raises(ConfigError, match=r"^proof: output 'ctr' of candidate \d+ is .* staged, but .* flat\. This"):
        build(market, tmp_path / "rank" / "1")
    assert not list(tmp_path.rglob("*"))


def test_wrong_answers_publish_nothing(market: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    score = CandidateStage.score
    monkeypatch.setattr(CandidateStage, "score", lambda *arguments: drift(score(*arguments), 1e-4))
    with pytest.raises(ConfigError) as caught:
        build(market, tmp_path / "rank" / "1")
    assert caught.value.code == "proof_failed"
    assert not list(tmp_path.rglob("*"))


def test_candidates_in_another_order_publish_nothing(
    market: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split_fixed = ItemStage.split_fixed
    monkeypatch.setattr(
        ItemStage, "split_fixed", lambda *arguments: {k: v[::-1].copy() for k, v in split_fixed(*arguments).items()}
    )
    with pytest.raises(ConfigError, match="staged, but"):
        build(market, tmp_path / "rank" / "1")
    assert not list(tmp_path.rglob("*"))


def test_a_wrong_rewrite_of_the_network_publishes_nothing(
    market: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pass that scales the network's last products stands for any wrong pass."""
    import onnx
    from onnx import numpy_helper

    from recserve import bundle

    split_network = bundle.split_network

    def spoil(flat: Network, rates: Any, **options: Any) -> Any:
        model = onnx.load_model_from_string(flat.to_bytes())
        for tensor in model.graph.initializer:
            values = numpy_helper.to_array(tensor)
            if values.dtype == np.float32 and values.ndim == 2:
                tensor.CopyFrom(numpy_helper.from_array(values * np.float32(1.05), tensor.name))
        return split_network(Network(model, "spoiled"), rates, **options)

    monkeypatch.setattr(bundle, "split_network", spoil)
    with pytest.raises(ConfigError) as caught:
        build(market, tmp_path / "rank" / "1")
    assert caught.value.code == "proof_failed"
    assert not list(tmp_path.rglob("*"))


def test_samples_are_part_of_the_proof(market: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    make_tensors = FlatPipeline.make_tensors

    def listen(self: FlatPipeline, columns: Any) -> Any:
        seen.append(columns)
        return make_tensors(self, columns)

    monkeypatch.setattr(FlatPipeline, "make_tensors", listen)
    samples = {"category": ["green"] * 3, "gender": ["sampled"] * 3}
    bundle = build(market, tmp_path / "rank" / "1", samples)
    assert [columns["gender"] == ["sampled"] for columns in seen] == [False, True] * 3
    assert seen[1]["category"] == ["green"] * proof.CANDIDATES
    found = bundle.manifest.proof
    assert found["requests"] == proof.REQUESTS
    assert found["candidates"] == proof.CANDIDATES
    assert 0 <= found["max_difference"] < 1e-5


def compare(found: list[float], expected: list[float], noise: float = 0) -> float:
    size = len(found)
    arrays = (np.array(found, np.float32), np.array(expected, np.float32))
    return proof._compare("ctr", *arrays, np.full(size, noise, np.float32))


def test_differences_are_relative_to_the_value_and_to_one() -> None:
    assert compare([1000.001], [1000]) == pytest.approx(9.765e-7, rel=1e-2)
    assert compare([0.000001], [0]) == pytest.approx(1e-6)
    with pytest.raises(ConfigError, match=r"output 'ctr' of candidate 1 is np.float32\(0.5001\) staged"):
        compare([0.5, 0.5001], [0.5, 0.5])


def test_not_a_number_equals_itself_only() -> None:
    assert compare([float("nan"), float("inf")], [float("nan"), float("inf")]) == 0
    for found, expected in ((float("nan"), 1.0), (1.0, float("nan")), (float("inf"), 1.0)):
        with pytest.raises(ConfigError, match="staged, but"):
            compare([found], [expected])


def test_noise_of_the_flat_network_is_allowed_for() -> None:
    assert compare([0.5001], [0.5], noise=1e-5) == pytest.approx(1e-4, rel=1e-2)
    with pytest.raises(ConfigError, match="staged, but"):
        compare([0.51], [0.5], noise=1e-5)
