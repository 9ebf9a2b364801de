from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from recserve.errors import ConfigError, NotFoundError
from recserve.serving.inference import infer
from recserve.serving.lifecycle.base import Arrival
from recserve.serving.lifecycle.model_config import ModelConfig
from recserve.serving.lifecycle.options import Retries
from recserve.serving.lifecycle.policy import VersionPolicy


def config(shelf: Any, name: str = "m", **kwargs: Any) -> ModelConfig:
    return ModelConfig(name, str(shelf.folder / name), **kwargs)


def test_the_highest_version_is_served_and_followed(shelf: Any) -> None:
    shelf.put(1)
    shelf.put("0002")
    lifecycle = shelf.start()
    assert lifecycle.wait_until_ready(60)
    assert shelf.served() == [2]
    shelf.put(3)
    shelf.wait(lambda: shelf.served() == [3])
    ended = [(2, "END"), (3, "AVAILABLE")]
    shelf.wait(lambda: [(s.version, s.state) for s in shelf.registry.states("m")] == ended)


def test_a_process_may_start_before_its_models_are_there(shelf: Any) -> None:
    shutil.rmtree(shelf.folder / "m")
    lifecycle = shelf.start()
    assert not lifecycle.wait_until_ready(0.1)
    shelf.put(1)
    assert lifecycle.wait_until_ready(60)


def test_a_half_copied_version_is_never_opened(shelf: Any) -> None:
    shelf.put(1)
    lifecycle = shelf.start(arrival=Arrival(settle_s=0.4))
    assert lifecycle.wait_until_ready(60)
    folder = shelf.put(2, "half")
    for _ in range(10):  # a copy that goes on: something changes all the time
        time.sleep(0.08)
        with (folder / "more").open("a") as file:
            file.write("x")
    assert [s.version for s in shelf.registry.states("m")] == [1]
    (folder / "model").write_text("good")
    shelf.wait(lambda: shelf.served() == [2])
    assert [model.version for model in shelf.opened] == [1, 2]


def test_a_version_waits_for_its_done_marker(shelf: Any) -> None:
    (shelf.put(1) / "_SUCCESS").touch()
    assert shelf.start(arrival=Arrival(settle_s=0, done_marker="_SUCCESS")).wait_until_ready(60)
    folder = shelf.put(2, "half")
    time.sleep(0.2)
    assert [s.version for s in shelf.registry.states("m")] == [1]
    shelf.put(2)
    (folder / "_SUCCESS").touch()
    shelf.wait(lambda: shelf.served() == [2])


def test_a_bad_version_is_retried_for_ever_and_never_takes_the_good_one_down(
    shelf: Any, caplog: pytest.LogCaptureFixture
) -> None:
    shelf.put(1)
    assert shelf.start().wait_until_ready(60)
    shelf.put(2, "bad")
    shelf.wait(lambda: "try 3;" in caplog.text)
    assert shelf.served() == [1]
    assert "Model 'm' version 2 cannot be loaded (try 1; again in 0 s; served: 1):" in caplog.text
    assert str(shelf.registry.states("m")[1].error).endswith("is bad")
    shelf.put(2)
    shelf.wait(lambda: shelf.served() == [2])


def test_retries_end_where_that_is_wanted_and_begin_again_when_the_files_change(
    shelf: Any, caplog: pytest.LogCaptureFixture
) -> None:
    shelf.put(1, "bad")
    shelf.start(retries=Retries(0.0, 1.0, 0.0, most=1))
    shelf.wait(lambda: "try 2; again when its files change" in caplog.text)
    time.sleep(0.3)
    assert "try 3" not in caplog.text
    shelf.put(1)
    shelf.wait(lambda: shelf.served() == [1])


def test_at_a_restart_the_last_good_version_stands_in(shelf: Any) -> None:
    shelf.put(1)
    shelf.put(2, "bad")
    lifecycle = shelf.start()
    assert lifecycle.wait_until_ready(60)
    assert shelf.served() == [1]
    shelf.put(2)
    shelf.wait(lambda: shelf.served() == [2])


def test_resources_are_freed_first_where_that_is_wanted(shelf: Any) -> None:
    shelf.put(1)
    assert shelf.start(swap="resource").wait_until_ready(60)
    shelf.put(2, "bad")
    shelf.wait(lambda: any(s.version == 2 and s.error for s in shelf.registry.states("m")) and shelf.served() == [1])
    assert [model.version for model in shelf.opened] == [1, 1]  # it came back, since the new one is bad
    shelf.put(2)
    shelf.wait(lambda: shelf.served() == [2])


@pytest.mark.parametrize("swap", ["availability", "resource"])
def test_swaps_under_traffic_lose_and_mix_nothing(shelf: Any, swap: Any) -> None:
    import numpy as np

    shelf.put(1)
    assert shelf.start(swap=swap, poll_s=0.01).wait_until_ready(60)
    failures: list[Exception] = []
    answers: list[int] = []
    stopping = threading.Event()

    def ask() -> None:
        while not stopping.is_set():
            try:
                got = infer(shelf.registry, "m", {"x": np.zeros(4, np.float32)})
            except NotFoundError as error:
                failures.append(error)
                continue
            versions = set(got.outputs["y"].tolist())
            assert versions == {got.version}
            answers.append(got.version)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    shelf.wait(lambda: 1 in answers)
    for version in range(2, 6):
        shelf.put(version)
        shelf.wait(lambda wanted=version: shelf.served() == [wanted])
    shelf.wait(lambda: 5 in answers)
    stopping.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert not failures or swap == "resource"


def test_a_model_that_is_unloaded_by_a_caller_stays_so_until_it_is_loaded(shelf: Any) -> None:
    shelf.put(1)
    assert shelf.start().wait_until_ready(60)
    shelf.repository.unload("m")
    time.sleep(0.3)
    assert shelf.served() == []
    shelf.repository.load_version(shelf.folder / "m" / "1")
    shelf.put(2)
    shelf.wait(lambda: shelf.served() == [2])


def test_an_empty_base_ends_a_model_and_a_missing_one_does_not(shelf: Any) -> None:
    shelf.put(1)
    assert shelf.start().wait_until_ready(60)
    (shelf.folder / "m").rename(shelf.folder / "away")
    time.sleep(0.2)
    assert shelf.served() == [1]
    (shelf.folder / "m").mkdir()
    shelf.wait(lambda: shelf.served() == [])


def test_polling_ends_after_one_look_where_that_is_wanted(shelf: Any) -> None:
    shelf.put(1)
    assert shelf.start(poll_s=0).wait_until_ready(60)
    shelf.put(2)
    time.sleep(0.3)
    assert shelf.served() == [1]


def test_labels_follow_the_configuration(shelf: Any) -> None:
    shelf.put(1)
    shelf.put(2)
    both = VersionPolicy("all")
    lifecycle = shelf.start(models=[config(shelf, policy=both, labels={"stable": 1, "canary": 2})])
    shelf.wait(lambda: shelf.registry.labels("m") == {"stable": 1, "canary": 2})
    lifecycle.apply([config(shelf, policy=both, labels={"stable": 2})])
    assert shelf.registry.labels("m") == {"stable": 2}
    with pytest.raises(ConfigError) as caught:
        lifecycle.apply([config(shelf, policy=both, labels={"stable": 9})])
    assert str(caught.value) == (
        "label 'stable': Request to assign label to version 9 of model m, which is not currently available for "
        "inference"
    )
    assert shelf.registry.labels("m") == {"stable": 2}
    assert lifecycle.models()[0].labels == {"stable": 2}


def test_a_label_may_wait_for_its_version_where_that_is_allowed(shelf: Any) -> None:
    shelf.put(1)
    models = [config(shelf, labels={"next": 2})]
    assert shelf.start(models=models, allows_unavailable_labels=True).wait_until_ready(60)
    shelf.wait(lambda: shelf.registry.labels("m") == {"next": 2})
    shelf.put(2)
    shelf.wait(lambda: shelf.served() == [2])
    with shelf.registry.lease("m", label="next") as model:
        assert model.version == 2


def test_a_configuration_is_replaced_as_a_whole(shelf: Any) -> None:
    for name in ("m", "n"):
        shelf.put(1, model=name)
    lifecycle = shelf.start()
    assert lifecycle.wait_until_ready(60)
    lifecycle.apply([config(shelf, "n")])
    assert shelf.registry.names() == ["n"]
    assert [model.name for model in lifecycle.models()] == ["n"]


def test_a_configuration_that_cannot_be_served_changes_nothing(shelf: Any) -> None:
    shelf.put(1)
    shelf.put(1, model="n")
    shelf.put(1, "bad", model="bad")
    lifecycle = shelf.start()
    assert lifecycle.wait_until_ready(60)
    for refused, message in (
        ([config(shelf, "n"), config(shelf, "bad")], "no version can be served: .*is bad"),
        ([config(shelf, "n"), config(shelf, "none")], "no version can be served: there is none"),
        ([config(shelf, "n"), config(shelf, "n")], "Illegal to list model n multiple times in config list"),
    ):
        with pytest.raises(ConfigError, match=message):
            lifecycle.apply(refused)
        shelf.wait(lambda: shelf.registry.names() == ["m"])
        assert [model.name for model in lifecycle.models()] == ["m"]


def test_a_new_configuration_that_takes_too_long_is_taken_back(shelf: Any) -> None:
    shelf.put(1)
    lifecycle = shelf.start(config_wait_s=0.1)
    assert lifecycle.wait_until_ready(60)
    shelf.put(1, model="slow")
    gate, open_model = threading.Event(), shelf.repository.open_model

    def slow(directory: str, name: str | None = None) -> Any:
        assert gate.wait(10)
        return open_model(directory, name)

    shelf.repository.open_model = slow
    with pytest.raises(ConfigError, match=r"nothing was loaded within 0.1 s"):
        lifecycle.apply([config(shelf, "slow")])
    gate.set()
    shelf.wait(lambda: len(shelf.opened) == 2 and shelf.opened[1].is_closed)
    assert shelf.registry.names() == ["m"]


def test_a_policy_moves_by_configuration(shelf: Any) -> None:
    for version in (1, 2, 3):
        shelf.put(version)
    lifecycle = shelf.start(models=[config(shelf, policy=VersionPolicy("latest", 2))])
    shelf.wait(lambda: shelf.served() == [2, 3])
    lifecycle.apply([config(shelf, policy=VersionPolicy("specific", versions=frozenset({1})))])
    shelf.wait(lambda: shelf.served() == [1])


def test_a_base_moves_by_configuration(shelf: Any) -> None:
    shelf.put(1)
    shelf.put(7, model="other")
    lifecycle = shelf.start()
    assert lifecycle.wait_until_ready(60)
    lifecycle.apply([ModelConfig("m", str(shelf.folder / "other"))])
    shelf.wait(lambda: shelf.served() == [7])


CONFIG = 'model_config_list {{ config {{ name: "{0}" base_path: "{1}/{0}" model_platform: "tensorflow" }} }}'


def test_a_config_file_is_followed_and_a_bad_one_is_not(
    shelf: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("m", "n"):
        shelf.put(1, model=name)
    file = tmp_path / "models.config"
    file.write_text(CONFIG.format("m", tmp_path))
    assert shelf.start(models=[], config_file=file, config_poll_s=0.02).wait_until_ready(60)
    file.write_text("nonsense {")
    shelf.wait(lambda: "The new configuration is not served, the old one is:" in caplog.text)
    assert shelf.registry.names() == ["m"]
    file.write_text(CONFIG.format("n", tmp_path))
    shelf.wait(lambda: shelf.registry.names() == ["n"])


def test_a_reloaded_configuration_survives_a_restart_and_reaches_other_workers(shelf: Any, tmp_path: Path) -> None:
    from google.protobuf import text_format

    from recserve.serving.registry import Registry
    from recserve.serving.repository import Repository
    from recserve.wire.tensorflow_serving import ModelServerConfig

    for name in ("m", "n"):
        shelf.put(1, model=name)
    state = tmp_path / "state"
    lifecycle = shelf.start(state_dir=state)
    assert lifecycle.wait_until_ready(60)
    other = Repository(Registry(), shelf.repository.open_model)
    worker = type(lifecycle)(other, shelf.options(state_dir=state))
    worker.start()
    message = text_format.Parse(CONFIG.format("n", tmp_path), ModelServerConfig())
    lifecycle.reload_config(message.model_config_list)
    shelf.wait(lambda: other.registry.names() == ["n"])
    worker.stop(10)
    again = type(lifecycle)(other, shelf.options(state_dir=state))
    assert [model.name for model in again.models()] == ["n"]
    assert other.registry.close(60)


def test_a_configuration_that_another_worker_cannot_serve_is_nobodys(shelf: Any, make_crews: Any) -> None:
    from google.protobuf import text_format

    from recserve.serving.registry import Registry
    from recserve.serving.repository import Repository
    from recserve.wire.tensorflow_serving import ModelServerConfig

    def open_model(directory: str, name: str | None = None) -> Any:
        if name == "n":
            raise ConfigError("no memory", where="here")
        return shelf.repository.open_model(directory, name)

    for name in ("m", "n"):
        shelf.put(1, model=name)
    crews = make_crews(2)
    lifecycle = shelf.start(crew=crews[0])
    other = Repository(Registry(), open_model)
    worker = type(lifecycle)(other, shelf.options(), crew=crews[1])
    worker.start()
    assert lifecycle.wait_until_ready(60)
    assert worker.wait_until_ready(60)
    message = text_format.Parse(CONFIG.format("n", shelf.folder), ModelServerConfig())
    with pytest.raises(ConfigError, match=r"worker 1: .*no memory.* The old configuration stays"):
        lifecycle.reload_config(message.model_config_list)
    assert [model.name for each in (lifecycle, worker) for model in each.models()] == ["m", "m"]
    shelf.wait(lambda: shelf.served("m") == [1])
    worker.stop(10)
    assert other.registry.close(60)


def test_the_log_tells_once_what_a_model_waits_for(shelf: Any, caplog: pytest.LogCaptureFixture) -> None:
    def told() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]

    place = shelf.folder / "n"
    lifecycle = shelf.start(models=[ModelConfig("n", str(place))], arrival=Arrival(done_marker="DONE"))
    shelf.wait(lambda: len(told()) == 1)
    place.mkdir()
    shelf.wait(lambda: len(told()) == 2)
    folder = shelf.put(3, model="n")
    shelf.wait(lambda: len(told()) == 3)
    (folder / "DONE").touch()
    assert lifecycle.wait_until_ready(60)
    assert told() == [
        f"Model 'n': the base directory {place} is not there or cannot be read; waiting for it",
        f"Model 'n': the base directory {place} holds no version; a version's directory has a number for a name",
        f"Model 'n': {place}: waiting until version 3 has arrived whole",
    ]


def test_a_version_may_come_while_it_is_there_or_not_looked_for_and_has_not_failed(shelf: Any) -> None:
    shelf.put(1)
    shelf.put(2, "bad")
    lifecycle = shelf.start(retries=Retries(60.0, 1.0, 60.0), models=[config(shelf, policy=VersionPolicy("all"))])
    shelf.wait(lambda: any(state.error for state in shelf.registry.states("m")))
    looked_s = time.monotonic() - 10
    assert lifecycle.may_come("m", 1, looked_s)
    shelf.wait(lambda: not lifecycle.may_come("m", 2, looked_s))
    assert not lifecycle.may_come("m", 3, looked_s)
    assert lifecycle.may_come("m", 3, time.monotonic() + 10)
    assert not lifecycle.may_come("other", 1, looked_s)
