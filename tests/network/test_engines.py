"""A choice of an engine is plain data, checked; engines that are absent say so."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import orjson
import pytest

from recserve.errors import ConfigError
from recserve.network.engines import EngineChoice, is_warmable, open_engine, rising_buckets, rising_steps
from recserve.rates import Rate


def graph(sketch: Any) -> bytes:
    g = sketch()
    g.output(g.op("Neg", g.input("item", Rate.ITEM, 3)), dims=(3,))
    return bytes(g.network().to_bytes())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"engine": "openvin"}, "unknown engine 'openvin'.*openvino"),
        ({"precision": "fp8"}, "unknown precision 'fp8'"),
        ({"block": -1}, "block -1 is not in"),
        ({"buckets": (4, 2), "block": 2}, r"buckets \[4, 2\] are not rising"),
        ({"step_buckets": (-1,)}, r"step_buckets \[-1\] are not rising"),
        ({"buckets": (4, 8)}, "block 0 is not the last of the buckets"),
    ],
)
def test_a_wrong_choice_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EngineChoice(**fields)


def test_a_choice_survives_being_written_down() -> None:
    choice = EngineChoice("openvino", "bf16", 8, (1, 4, 8), (0, 5))
    assert EngineChoice.from_dict(choice.as_dict()) == choice
    assert choice.label == "openvino bf16 block 8"
    for document in ({"engin": "x"}, {"buckets": 3}, {"block": "many"}):
        with pytest.raises(ConfigError, match="is no choice of an engine"):
            EngineChoice.from_dict(document)


@pytest.mark.parametrize("block", [1, 7, 8, 32, 100, 512])
def test_buckets_rise_to_the_block_and_waste_little(block: int) -> None:
    buckets = rising_buckets(block)
    assert list(buckets) == sorted(set(buckets))
    assert (buckets[0], buckets[-1]) == (1, block)
    for rows in range(8, block + 1):
        assert min(b for b in buckets if b >= rows) <= 2 * rows


def test_steps_rise_from_none_to_the_longest() -> None:
    assert rising_steps(50) == (0, 13, 25, 38, 50)
    assert rising_steps(1) == (0, 1)


def test_too_many_shapes_are_not_warmed() -> None:
    choice = EngineChoice("openvino", block=8, buckets=(1, 8), step_buckets=(0, 1, 2, 3))
    assert is_warmable(choice, 2)
    assert not is_warmable(choice, 4)


def test_a_provider_that_is_absent_says_so(sketch: Any) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    for engine in ("cuda", "tensorrt"):
        with pytest.raises(ConfigError, match=r"as installed has no .*ExecutionProvider") as caught:
            open_engine(graph(sketch), EngineChoice(engine))
        assert caught.value.code == "engine_absent"


def test_onnx_runtime_does_not_compute_in_bf16(sketch: Any) -> None:
    with pytest.raises(ConfigError, match="'onnxruntime' does not compute in bf16"):
        open_engine(graph(sketch), EngineChoice(precision="bf16"))


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_engines_answer_by_output_name(engine: str, sketch: Any) -> None:
    if engine == "openvino":
        pytest.importorskip("openvino")
    loaded = open_engine(graph(sketch), EngineChoice(engine))
    item = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert (loaded.inputs, loaded.outputs) == (("item",), ("ctr",))
    np.testing.assert_array_equal(loaded.run({"item": item})["ctr"], -item)


def test_int8_needs_the_ranges_it_was_calibrated_to_and_nothing_else_has_any(sketch: Any) -> None:
    for fields, message in (
        ({"precision": "int8"}, "precision int8 with 0 calibrated tensors"),
        ({"ranges": (("x", 0.0, 1.0),)}, "precision fp32 with 1 calibrated tensors"),
        ({"precision": "int8", "ranges": (("x", 2.0, 1.0),)}, "2.0 .. 1.0 is no range of the tensor 'x'"),
        ({"precision": "int8", "ranges": (("x", float("nan"), 1.0),)}, "nan .. 1.0 is no range of the tensor 'x'"),
    ):
        with pytest.raises(ConfigError, match=re.escape(message)):
            EngineChoice(**fields)
    choice = EngineChoice("openvino", "int8", 8, (1, 8), (), (("x", -1.0, 2.5),))
    assert EngineChoice.from_dict(orjson.loads(orjson.dumps(choice.as_dict()))) == choice


@pytest.mark.parametrize("engine", ["cuda", "tensorrt"])
def test_an_absent_provider_is_told_for_every_precision(engine: str, sketch: Any) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    g = sketch()
    g.output(g.linear(g.input("x", Rate.ITEM, 32), 32, 32), dims=(32,))
    for choice in (EngineChoice(engine), EngineChoice(engine, "int8", ranges=(("x", 0.0, 1.0),))):
        with pytest.raises(ConfigError, match=r"ONNX Runtime .* as installed has no .*ExecutionProvider") as caught:
            open_engine(g.network().to_bytes(), choice)
        assert caught.value.code == "engine_absent"
        assert "onnxruntime-gpu" in str(caught.value.hint)
