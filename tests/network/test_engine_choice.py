"""The fastest way is measured once and kept; without a measure it is the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from recserve.errors import ConfigError
from recserve.network import engine_choice, session_openvino
from recserve.network.engine_choice import (
    EngineOptions,
    Measured,
    can_gain,
    choose,
    describe_cpu,
    list_ways,
    measure,
)
from recserve.network.engines import EngineChoice
from recserve.network.split import Part, split_network
from recserve.rates import Rate

MANY = 1 << 30


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RECSERVE_CACHE_DIR", str(tmp_path))
    return tmp_path / "engines"


@pytest.fixture(scope="module")
def part(sketch: Any) -> Part:
    g = sketch()
    both = g.op("Mul", g.input("user", Rate.REQUEST, 4), g.input("item", Rate.ITEM, 4))
    g.output(g.op("Relu", g.linear(both, 4, 3)), dims=(3,))
    return split_network(g.network(), g.rates).candidate


@pytest.fixture(scope="module")
def mixing(sketch: Any) -> Part:
    g = sketch()
    both = g.op("Mul", g.input("user", Rate.REQUEST, 4), g.input("item", Rate.ITEM, 4))
    g.output(g.op("Sub", both, g.op("ReduceMean", both, g.ints(0), keepdims=1)), dims=(4,))
    return split_network(g.network(), g.rates).candidate


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"engine": "openvin"}, "unknown engine 'openvin'"),
        ({"block": -1}, "block -1 is not in"),
        ({"seconds": -1.0}, "seconds -1.0 is not in"),
        ({"seconds": float("nan")}, "seconds nan is not in"),
        ({"candidates": 0}, "candidates 0 is not in"),
    ],
)
def test_wrong_options_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EngineOptions(**fields)


def test_the_default_comes_first_and_every_way_can_run(part: Part) -> None:
    ways = list_ways(part, EngineOptions())
    assert ways[0] == EngineChoice()
    assert {way.engine for way in ways} <= {"onnxruntime", "openvino"}
    us = measure(part, ways, EngineOptions(seconds=0.2, candidates=10), 4)
    assert set(us) == {way.label for way in ways}


def test_a_network_that_mixes_candidates_runs_in_one_call(mixing: Part) -> None:
    assert list_ways(mixing, EngineOptions()) == [EngineChoice()]
    with pytest.raises(ConfigError, match="mixes candidates, so they cannot run in blocks"):
        list_ways(mixing, EngineOptions(engine="onnxruntime", block=8))
    pytest.importorskip("openvino")
    with pytest.raises(ConfigError, match="which computes in bf16, cannot run the candidate part: the network mixes"):
        list_ways(mixing, EngineOptions(), "bf16")


def test_the_config_may_name_engine_and_block(part: Part) -> None:
    assert list_ways(part, EngineOptions(engine="onnxruntime", block=48)) == [EngineChoice(block=48)]
    pytest.importorskip("openvino")
    (way,) = list_ways(part, EngineOptions(engine="openvino", block=8))
    assert (way.engine, way.buckets) == ("openvino", (1, 4, 8))


def test_an_engine_that_is_absent_is_an_error_only_where_it_is_named(
    part: Part, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    session_openvino._core.cache_clear()
    try:
        assert {way.engine for way in list_ways(part, EngineOptions())} == {"onnxruntime"}
        for options, precision in ((EngineOptions(engine="openvino"), "fp32"), (EngineOptions(), "bf16")):
            with pytest.raises(ConfigError, match="OpenVINO is not installed"):
                list_ways(part, options, precision)
    finally:
        session_openvino._core.cache_clear()


def test_sequences_without_a_bound_are_not_padded(sketch: Any) -> None:
    pytest.importorskip("openvino")
    g = sketch()
    steps, item = g.input("clicks", Rate.REQUEST, "L", 4), g.input("item", Rate.ITEM, 4)
    scores = g.op("MatMul", steps, g.op("Unsqueeze", item, g.ints(2)))
    g.output(g.op("ReduceSum", scores, g.ints(1, 2), keepdims=0), dims=())
    part = split_network(g.network(), g.rates, ()).candidate
    with pytest.raises(ConfigError, match="its sequences have no bounded lengths"):
        list_ways(part, EngineOptions(engine="openvino"), longest_steps=[None])
    assert list_ways(part, EngineOptions(engine="openvino"), longest_steps=[8])[0].step_buckets == (0, 2, 4, 6, 8)


def test_what_is_not_worth_measuring_takes_the_default(part: Part, cache: Path) -> None:
    ways = list_ways(part, EngineOptions())
    assert choose(part, ways, EngineOptions(), flops=10) == Measured(EngineChoice())
    assert choose(part, ways, EngineOptions(seconds=0), flops=MANY) == Measured(EngineChoice())
    assert choose(part, ways[:1], EngineOptions(), flops=MANY) == Measured(EngineChoice())
    assert not cache.exists()


def test_the_fastest_is_kept_for_this_processor(part: Part, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ways = [EngineChoice(), EngineChoice(block=32)]
    monkeypatch.setattr(engine_choice, "measure", lambda *_: {ways[0].label: 9.0, ways[1].label: 5.0})
    found = choose(part, ways, EngineOptions(), flops=MANY)
    assert (found.choice, found.cpu) == (ways[1], describe_cpu())
    monkeypatch.setattr(engine_choice, "measure", lambda *_: pytest.fail("measured twice"))
    assert choose(part, ways, EngineOptions(), flops=MANY) == found
    (file,) = cache.iterdir()
    for damaged in (b"{", b"[]", orjson.dumps({"choice": {}, "cpu": "x", "us": {}, "more": 1})):
        file.write_bytes(damaged)
        monkeypatch.setattr(engine_choice, "measure", lambda *_: {ways[0].label: 5.0, ways[1].label: 4.9})
        assert choose(part, ways, EngineOptions(), flops=MANY).choice == ways[0]  # hardly faster is not faster


def test_where_no_way_can_be_measured_the_default_stays(
    part: Part, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_choice, "measure", lambda *_: {})
    assert choose(part, list_ways(part, EngineOptions()), EngineOptions(), flops=MANY).choice == EngineChoice()
    assert not cache.exists()


def test_a_folder_that_cannot_be_written_costs_only_the_measure(
    part: Part, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RECSERVE_CACHE_DIR", str(tmp_path / "file"))
    ways = [EngineChoice(), EngineChoice(block=32)]
    monkeypatch.setattr(engine_choice, "measure", lambda *_: {ways[1].label: 5.0})
    assert choose(part, ways, EngineOptions(), flops=MANY).choice == ways[1]


def test_what_was_measured_survives_being_written_down() -> None:
    found = Measured(EngineChoice(block=32), "cpu", {"a": 1.0})
    assert Measured.from_dict(found.as_dict()) == found
    with pytest.raises(ConfigError, match="is no measured choice"):
        Measured.from_dict({"choice": {}})


@pytest.mark.parametrize(
    ("precision", "cpu", "gains"),
    [
        ("fp32", "anything", True),
        ("bf16", "Xeon avx512f avx512_vnni", False),
        ("bf16", "EPYC avx512_bf16", True),
        ("int8", "Xeon avx2 avx512f", False),
        ("int8", "Xeon avx512f avx512_vnni", True),
        ("int8", "Core avx2 avx_vnni", True),
        ("int8", "Neoverse asimddp", True),
    ],
)
def test_a_precision_gains_only_where_the_processor_has_instructions(precision: str, cpu: str, gains: bool) -> None:
    assert can_gain(precision, cpu) is gains


def test_int8_runs_in_both_engines_with_the_ranges_it_was_given(part: Part) -> None:
    ranges = (("x", 0.0, 1.0),)
    ways = list_ways(part, EngineOptions(), "int8", (), ranges)
    assert {way.precision for way in ways} == {"int8"}
    assert all(way.ranges == ranges for way in ways)
    expected = {"onnxruntime", "openvino"} if session_openvino.is_available() else {"onnxruntime"}
    assert {way.engine for way in ways} == expected


def test_onnx_runtime_has_no_way_in_bf16(part: Part) -> None:
    with pytest.raises(ConfigError, match="engine 'onnxruntime' does not compute in bf16"):
        list_ways(part, EngineOptions(engine="onnxruntime"), "bf16")
