"""A bundle keeps what an item stores within the budget, remembers why, and answers the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recserve.bundle import Bundle
from recserve.errors import ConfigError
from recserve.network.storing import StoreOptions
from recserve.ranker import Ranker
from recserve.staging.precision import Precision

Build = Callable[..., Path]
FEATURES = [
    {"feature_name": name, "feature_type": "raw_feature", "expression": source}
    for name, source in (("bias", "user:bias"), ("value", "item:value"), ("boost", "item:boost"))
]
OUTPUTS = {"ctr": ["bias", "value", "boost"], "cvr": ["bias", "value"]}


@pytest.fixture
def build(sum_model: Build) -> Build:
    return lambda **options: sum_model(FEATURES, OUTPUTS, score="ctr", **options)


def ranked(path: Path) -> Any:
    items = [{"item_id": "a", "value": 1.0, "boost": 5.0}, {"item_id": "b", "value": 2.0, "boost": 3.0}]
    result = Ranker.open(path, items=items).rank({"bias": 10.0}, {}, ["a", "b"])
    return result.item_ids, {name: output.tolist() for name, output in result.outputs.items()}


def test_a_budget_is_kept_recorded_and_changes_no_answer(build: Build) -> None:
    free, tight = build(), build(out="tight/1", storing=StoreOptions(max_payload_bytes_per_item=8, item_count=7))
    assert ranked(free) == ranked(tight) == (["a", "b"], {"ctr": [16.0, 15.0], "cvr": [11.0, 12.0]})
    bundle = Bundle.open(tight)
    plan = bundle.split.report.storing
    assert plan is not None
    assert (plan.options.max_payload_bytes_per_item, plan.options.item_count) == (8, 7)
    assert bundle.split.report.item_bytes <= 8
    assert {d.value for d in plan.decisions if d.action == "store"} == {
        name for name, rate in bundle.split.crossings.items() if rate.value == "item"
    }


def test_a_budget_that_nothing_fits_into_publishes_nothing(build: Build, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"needs at least 8 bytes stored for each item") as caught:
        build(out="none/1", storing=StoreOptions(max_payload_bytes_per_item=7))
    assert caught.value.code == "payload_budget"
    assert not (tmp_path / "none" / "1").exists()


def test_stored_bytes_are_those_of_the_payloads_precision(build: Build) -> None:
    path = build(out="half/1", precision=Precision(payload="bf16"), storing=StoreOptions())
    plan = Bundle.open(path).split.report.storing
    assert plan is not None
    assert plan.options.payload_precision == "bf16"
