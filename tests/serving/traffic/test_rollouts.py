from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recserve.errors import ConfigError, DataError, NotFoundError
from recserve.serving.metrics_text import write_text
from recserve.serving.traffic.rollout import Rollout
from recserve.serving.traffic.rule import RolloutRule
from recserve.serving.traffic.split import bucket_of
from recserve.serving.workers.crew import CrewError


def test_without_a_rollout_the_highest_version_answers_and_no_model_is_wrapped(stage: Any) -> None:
    assert stage.ask() == [3]
    with stage.registry.lease("m") as model:
        assert model is stage.models[3]


def test_users_stay_with_a_version_while_its_share_grows(stage: Any) -> None:
    users = [f"u{n}" for n in range(200)]
    before: set[str] = set()
    for share in (500, 2000, 10_000):
        stage.rollouts.set("m", Rollout(stable=1, canary=2, canary_bp=share))
        got = {user: stage.ask(user)[0] for user in users}
        on_canary = {user for user, version in got.items() if version == 2}
        assert on_canary == {user for user in users if bucket_of(user, "m") < share}
        assert before <= on_canary
        before = on_canary


def test_calls_of_nobody_are_drawn_and_named_versions_are_kept(stage: Any) -> None:
    stage.rollouts.set("m", Rollout(stable=1, canary=2, canary_bp=5000))
    assert set(stage.ask(count=100)) == {1, 2}
    with stage.registry.lease("m", 3) as model:
        assert model is stage.models[3]


def test_a_rollout_is_promoted_and_rolled_back_by_one_call(stage: Any) -> None:
    stage.rollouts.set("m", Rollout(stable=1, canary=2, canary_bp=5000))
    assert stage.rollouts.roll_back("m") == Rollout(stable=1)
    assert set(stage.ask(count=20)) == {1}
    stage.rollouts.set("m", Rollout(stable=1, canary=2, canary_bp=1))
    assert stage.rollouts.promote("m") == Rollout(stable=2)
    assert set(stage.ask(count=20)) == {2}
    stage.rollouts.clear("m")
    assert stage.ask() == [3]
    assert [event["what"] for event in stage.rollouts.events][1::2] == [
        "rolled back by request",
        "promoted by request",
    ]


def test_a_rollout_of_what_is_not_served_is_refused_and_changes_nothing(stage: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        stage.rollouts.set("m", Rollout(stable=1, canary=9))
    assert str(caught.value) == (
        "version 9 of model 'm' is not served. Load it first, or put it into the model's base directory."
    )
    assert stage.ask() == [3]
    assert stage.rollouts.held("m") == frozenset()
    with pytest.raises(NotFoundError, match="no rollout of model 'm'"):
        stage.rollouts.promote("m")


def test_shadows_are_asked_off_the_path_and_compared(stage: Any) -> None:
    stage.rollouts.set("m", Rollout(stable=1, shadows=(2, 3)))
    assert stage.ask(count=4) == [1] * 4
    stage.rollouts.stop(10)
    seen = stage.rollouts.describe("m")["seen"]
    assert [(v, row["role"], row["calls"]) for v, row in seen.items()] == [
        ("1", "stable", 4), ("2", "shadow", 4), ("3", "shadow", 4),
    ]  # fmt: skip
    assert (seen["2"]["mean_score_difference"], seen["2"]["mean_rank_correlation"]) == (2.5, pytest.approx(1.0))
    assert (seen["3"]["mean_score_difference"], seen["3"]["mean_rank_correlation"]) == (5.0, pytest.approx(-1.0))
    text = write_text(stage.rollouts.collect())
    assert 'recserve_rollout_calls_total{model_name="m",version="3",role="shadow"} 4' in text
    assert 'recserve_rollout_score_difference_count{model_name="m",version="2",role="shadow"} 4' in text


def test_a_failing_shadow_harms_nobody(stage: Any) -> None:
    stage.models[2].act = "break"
    stage.rollouts.set("m", Rollout(stable=1, shadows=(2,)))
    assert stage.ask(count=3) == [1] * 3
    stage.rollouts.stop(10)
    assert stage.rollouts.describe("m")["seen"]["2"]["errors"] == 3


def test_a_rule_rolls_a_failing_canary_back(stage: Any) -> None:
    stage.models[2].act = "break"
    rule = RolloutRule(min_calls=5, max_error_rate=0.1)
    stage.rollouts.set("m", Rollout(stable=1, canary=2, canary_bp=10_000, rule=rule))
    for _ in range(5):
        with pytest.raises(ZeroDivisionError):
            stage.ask("u")
    stage.rollouts.check()
    assert stage.ask("u") == [1]
    assert stage.rollouts.events[-1]["what"] == "rolled back by rule: error rate 1 above 0.1"


def test_the_callers_mistakes_are_not_the_canarys(stage: Any) -> None:
    stage.models[2].act = "refuse"
    stage.rollouts.set("m", Rollout(stable=1, canary=2, canary_bp=10_000))
    with pytest.raises(DataError):
        stage.ask("u")
    assert stage.rollouts.describe("m")["seen"]["2"]["errors"] == 0


def test_a_rule_promotes_a_canary_that_held_out(stage: Any) -> None:
    rule = RolloutRule(min_calls=5, window_s=0.01, promotes=True)
    stage.rollouts.set("m", Rollout(stable=1, canary=2, canary_bp=10_000, rule=rule))
    for _ in range(200):  # the window is short, and all calls must fall into it
        stage.ask("u", count=20)
        stage.rollouts.check()
        if stage.rollouts.get("m") == Rollout(stable=2):
            return
    raise AssertionError(stage.rollouts.describe("m"))


def test_workers_and_the_next_start_have_the_same_rollouts(make_stage: Any, tmp_path: Path) -> None:
    first, second = make_stage(tmp_path / "state"), make_stage(tmp_path / "state")
    first.rollouts.set("m", Rollout(stable=1))
    second.rollouts.check()
    assert second.ask() == [1]
    second.rollouts.clear("m")
    first.rollouts.check()
    assert first.ask() == [3]
    second.rollouts.set("m", Rollout(stable=2))
    assert make_stage(tmp_path / "state").ask() == [2]


def test_a_rollout_is_every_workers_or_nobodys(make_stage: Any, make_crews: Any, tmp_path: Path) -> None:
    one, two = (make_stage(tmp_path / "state", crew) for crew in make_crews(2))
    one.rollouts.set("m", Rollout(stable=1, canary=2, canary_bp=1))
    assert two.rollouts.get("m") == one.rollouts.get("m")
    two.rollouts.promote("m")
    assert (one.ask(), two.ask()) == ([2], [2])
    two.registry.withdraw("m", 3)
    with pytest.raises(CrewError, match="worker 1: version 3 of model 'm' is not served"):
        one.rollouts.set("m", Rollout(stable=3))
    assert one.rollouts.get("m") == two.rollouts.get("m") == Rollout(stable=2)
    two.rollouts.clear("m")
    assert one.rollouts.names() == two.rollouts.names() == []


def test_a_canary_is_judged_once_by_what_all_workers_saw(
    make_stage: Any, make_crews: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = []
    for pid, crew in enumerate(make_crews(2), start=1):
        with monkeypatch.context() as patched:  # a process of its own, as far as its files are concerned
            patched.setattr("recserve.serving.traffic.tally_pool.os.getpid", lambda pid=pid: pid)
            stages.append(make_stage(tmp_path / "state", crew))
    one, two = stages
    rule = RolloutRule(min_calls=20, window_s=60, max_error_rate=None, max_score_drift=0.5)
    one.rollouts.set("m", Rollout(stable=1, canary=2, canary_bp=5000, rule=rule))
    for stage in (one, two):
        users = iter(map(str, range(10_000)))
        while stage.rollouts._active["m"].tallies[2].calls < 15:
            stage.ask(next(users))
        stage.rollouts._publish()
    two.rollouts.check()  # the first who looks is the judge
    assert one.rollouts.get("m") == two.rollouts.get("m") == Rollout(stable=1)
    assert [event["what"][:19] for event in one.rollouts.events if "rule" in event["what"]][-1] == "rolled back by rule"


@pytest.mark.parametrize("content", [b"[]", b"nonsense"])
def test_a_kept_file_that_is_none_is_told(content: bytes, make_stage: Any, tmp_path: Path) -> None:
    (tmp_path / "rollouts.json").write_bytes(content)
    with pytest.raises(ConfigError, match="is no table of rollouts"):
        make_stage(tmp_path)


def test_moves_under_traffic_lose_and_mix_nothing(stage: Any) -> None:
    stopping = threading.Event()
    problems: list[object] = []

    def ask() -> None:
        while not stopping.is_set():
            with stage.registry.lease("m") as model:
                x = np.arange(1, 5, dtype=np.float32)
                wanted = x * np.float32(stage.models[model.version].slope)
                if not np.array_equal(model.run("serving_default", {"x": x}, None)["y"], wanted):
                    problems.append(model.version)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for step in range(60):
        stage.rollouts.set("m", Rollout(stable=1 + step % 2, canary=3, canary_bp=step * 100, shadows=(2 - step % 2,)))
    stopping.set()
    for thread in threads:
        thread.join(10)
    assert problems == []


def test_a_rollout_waits_for_no_version_that_cannot_come_and_tells_why(make_stage: Any) -> None:
    stage = make_stage(wait_s=600.0)
    stage.rollouts.may_come = lambda _name, version, _since_s: version != 9
    stage.registry.begin("m", 9)
    stage.registry.fail("m", 9, ConfigError("the graph is cut off", where="m/9"))
    with pytest.raises(ConfigError) as caught:
        stage.rollouts.set("m", Rollout(stable=1, canary=9))
    assert str(caught.value) == (
        "version 9 of model 'm' is not served: m/9: the graph is cut off. "
        "Load it first, or put it into the model's base directory."
    )
    stage.rollouts.stop(10)
    stage.registry.close(10)
