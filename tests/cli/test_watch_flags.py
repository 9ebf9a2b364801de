from __future__ import annotations

from pathlib import Path

import pytest

from recserve.cli.watch_flags import WatchFlags, lifecycle_options, parse_base, recorded_call, warm_up
from recserve.errors import ConfigError
from recserve.samples.records import ServedRecord
from recserve.samples.writer import RecordWriter
from recserve.serving.lifecycle.options import Retries


def record() -> ServedRecord:
    return ServedRecord(
        request_id="r", time=1, user_id="u", user={"age": 3}, context={}, item_ids=["a", "b"], scores=[1.0, 0.5],
        outputs={}, candidate_columns={"place": [1, 2]}, inline=[1], item_columns={"price": [9.5]},
        model_name="rank", model_version="7", table_epoch=0, item_epoch=0,
    )  # fmt: skip


def test_a_base_has_a_name() -> None:
    assert parse_base("ctr=s3://b/x") == ("ctr", "s3://b/x")
    assert parse_base("s3://b/x/") == ("x", "s3://b/x/")
    assert parse_base("/m/a=b") == ("a=b", "/m/a=b")
    assert parse_base("m=models") == ("m", str(Path("models").absolute()))
    with pytest.raises(ConfigError, match=r"--base =: names no model\. Write NAME=DIR\."):
        parse_base("=")


def test_nothing_is_watched_unless_asked() -> None:
    assert lifecycle_options(WatchFlags(), [], 1) is None


def test_options_become_a_lifecycle() -> None:
    flags = WatchFlags(base=["m=/m"], load_retries=2, retry_seconds=5.0, swap="resource")
    options = lifecycle_options(flags, [Path("/models/rank/7")], 2)
    assert options is not None
    assert [(model.name, model.base) for model in options.models] == [("m", "/m"), ("rank", "/models/rank")]
    assert options.retries == Retries(5.0, 1.0, 5.0, 2)
    assert (options.swap, options.is_nice) == ("resource", False)


def test_recorded_requests_warm_up(tmp_path: Path) -> None:
    assert warm_up(WatchFlags(warm_up=False)) is None
    with RecordWriter(tmp_path) as writer:
        writer.write(record())
    found = warm_up(WatchFlags(warm_up_records=tmp_path, warm_up_times=3))
    assert found is not None
    assert found.times == 3
    (call,) = found.recorded
    assert (call.model, call.user) == ("rank", {"age": 3})
    assert call.candidates == {"item_id": ["a", "b"], "place": [1, 2]}
    assert call.items == {"b": {"price": 9.5}}
    assert recorded_call(record()) == call
