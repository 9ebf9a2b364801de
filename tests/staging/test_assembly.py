"""A model is proven in the engine that will run it, and an inexact one passes a gate or is not published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from recserve.bundle import Bundle
from recserve.errors import ConfigError, InvariantError
from recserve.network.engine_choice import EngineOptions, Measured
from recserve.network.engines import EngineChoice
from recserve.ranker import Ranker
from recserve.staging import assembly
from recserve.staging.precision import Precision
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


def test_what_misses_the_gate_is_not_published(market: Any, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"^quality gate: scores differ by [\d.e-]+, allowed 0. Choose a pre"
    ) as caught:
        build(market, tmp_path / "m" / "1", precision=Precision(tables="bf16"), gate=QualityGate(0))
    assert caught.value.code == "quality_missed"
    assert not (tmp_path / "m" / "1").exists()


def test_narrow_rows_serve_once_they_passed_the_gate(market: Any, tmp_path: Path) -> None:
    exact = build(market, tmp_path / "m" / "1")
    wished = Precision(payload="int8", tables="bf16")
    bundle = build(market, tmp_path / "m" / "2", precision=wished, gate=QualityGate(0.1))
    assert bundle.manifest.precision == {"payload": "int8", "tables": "bf16"}
    assert 0 < bundle.manifest.quality["max_difference"] <= 0.1
    storage = bundle.manifest.storage
    assert storage["item_bytes"] < storage["item_fp32_bytes"] == exact.manifest.storage["item_bytes"]
    assert [trial["problem"] for trial in storage["trials"]] == [""]
    for name, table in bundle.tables.items():
        assert isinstance(table.rows, np.memmap)
        assert storage["tables"][name] == table.describe()
        assert table.describe()["bytes"] == table.rows.nbytes < exact.tables[name].rows.nbytes
        path = f"tables/{name}.direct.npy"
        assert bundle.manifest.files[path].size_bytes < exact.manifest.files[path].size_bytes
    rankers = [Ranker.open(one.path, items=market.items) for one in (exact, bundle)]
    rows = [ranker.store.bytes_per_item()["rows"] for ranker in rankers]
    assert rows[1] < rows[0]
    described = rankers[1].describe()
    assert (described["precision"], described["tables"]) == (bundle.manifest.precision, storage["tables"])
    scores = [ranker.rank({"user_id": 1}, {}, list(range(40))) for ranker in rankers]
    assert np.abs(np.sort(scores[0].scores) - np.sort(scores[1].scores)).max() < 0.1


@pytest.mark.parametrize("payload", ["fp16", "bf16", "int8"])
def test_an_item_scores_alike_stored_and_inline(market: Any, tmp_path: Path, payload: str) -> None:
    bundle = build(market, tmp_path / "m" / "1", precision=Precision(payload=payload), gate=QualityGate(0.1))
    ranker = Ranker.open(bundle.path, items=market.items)
    ids = list(range(20))
    stored = ranker.rank({"user_id": 1}, {}, ids)
    inline = ranker.rank({"user_id": 1}, {}, ids, items={n: market.items[n] for n in ids})
    assert (stored.item_ids, stored.scores.tolist()) == (inline.item_ids, inline.scores.tolist())


def test_auto_takes_the_cheapest_that_passes(market: Any, tmp_path: Path) -> None:
    lines: list[str] = []
    wished = Precision(payload="auto", tables="auto")
    bundle = build(market, tmp_path / "m" / "1", precision=wished, gate=QualityGate(0.1), progress=lines.append)
    assert bundle.manifest.precision == {"payload": "int8", "tables": "bf16"}  # int8 saves nothing on rows of 4
    trials = bundle.manifest.storage["trials"]
    assert [trial["precision"] for trial in trials] == [{"tables": "bf16"}, {"tables": "bf16", "payload": "int8"}]
    assert bundle.manifest.quality == trials[-1]["quality"]
    assert "trying payload int8, tables bf16" in lines


def test_auto_falls_back_to_what_is_exact(market: Any, tmp_path: Path) -> None:
    wished = Precision(payload="auto", tables="auto")
    bundle = build(market, tmp_path / "m" / "1", precision=wished, gate=QualityGate(1e-7))
    assert (bundle.manifest.precision, bundle.manifest.quality) == ({}, {})
    trials = bundle.manifest.storage["trials"]
    assert [list(trial["precision"].values()) for trial in trials] == [
        [w] for w in ("bf16", "fp16", "int8", "bf16", "fp16")
    ]
    assert all("scores differ by" in trial["problem"] and trial["quality"]["max_difference"] > 0 for trial in trials)


def test_a_table_that_cannot_be_stored_is_named_and_can_be_left_out(market: Any, tmp_path: Path) -> None:
    tables = {name: rows.copy() for name, rows in market.tables.items()}
    name = sorted(tables)[0]
    tables[name][1, 0] = 1e5
    bundle = Bundle.build(
        features=market.features,
        tables=tables,
        network=market.network("deepfm"),
        out=tmp_path / "m" / "1",
        precision=Precision(tables={name: "fp32", "*": "fp16"}),
        gate=QualityGate(1),
    )
    assert bundle.tables[name].precision == "fp32"
    assert {table.precision for other, table in bundle.tables.items() if other != name} == {"fp16"}
    with pytest.raises(ConfigError, match=r"row 1 holds 100000, which fp16 cannot. Keep this table in bf16 or fp32$"):
        Bundle.build(
            features=market.features,
            tables=tables,
            network=market.network("deepfm"),
            out=tmp_path / "m" / "2",
            precision=Precision(tables="fp16"),
        )


def test_a_manifest_with_an_unknown_precision_does_not_open(market: Any, tmp_path: Path) -> None:
    bundle = build(market, tmp_path / "m" / "1")
    path = bundle.path / "manifest.json"
    path.write_bytes(orjson.dumps(orjson.loads(path.read_bytes()) | {"precision": {"payload": "fp61"}}))
    with pytest.raises(ConfigError, match=r"m/1: payload: unknown precision 'fp61'. Did you mean 'fp16'\?$"):
        Bundle.open(bundle.path).pipeline()
