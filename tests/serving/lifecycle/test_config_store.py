from __future__ import annotations

import os
from pathlib import Path

import pytest
from google.protobuf import text_format

from recserve.serving.lifecycle.config_store import STORED_FILE, ConfigStore, write_whole
from recserve.serving.lifecycle.model_config import ModelConfig
from recserve.serving.lifecycle.options import LifecycleOptions
from recserve.wire.tensorflow_serving import ModelServerConfig

TEXT = 'model_config_list {{ config {{ name: "{}" base_path: "/m" model_platform: "tensorflow" }} }}'


def names(configs: object) -> list[str] | None:
    return None if configs is None else [config.name for config in configs]  # type: ignore[attr-defined]


def test_without_files_nothing_changes() -> None:
    store = ConfigStore(LifecycleOptions(models=[ModelConfig("m", "/m")]))
    assert not store.is_polled
    assert names(store.initial()) == ["m"]
    assert store.changed() is None


def test_a_changed_file_is_read_once(tmp_path: Path) -> None:
    file = tmp_path / "c"
    file.write_text(TEXT.format("a"))
    store = ConfigStore(LifecycleOptions(config_file=file, config_poll_s=3.0))
    assert (store.is_polled, store.poll_s) == (True, 3.0)
    assert names(store.initial()) == ["a"]
    file.write_text(TEXT.format("bb"))
    assert names(store.changed()) == ["bb"]
    assert store.changed() is None


def test_what_came_by_request_stands_until_the_file_is_newer(tmp_path: Path) -> None:
    file = tmp_path / "c"
    file.write_text(TEXT.format("a"))
    os.utime(file, (1, 1))
    options = LifecycleOptions(config_file=file, state_dir=tmp_path / "state")
    first, other = ConfigStore(options), ConfigStore(options)
    first.save(text_format.Parse(TEXT.format("sent"), ModelServerConfig()).model_config_list)
    assert first.changed() is None
    assert names(other.changed()) == ["sent"]
    assert names(ConfigStore(options).initial()) == ["sent"]
    os.utime(file, (1e10, 1e10))
    assert names(ConfigStore(options).initial()) == ["a"]


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "deep" / STORED_FILE
    write_whole(path, b"one")
    with pytest.raises(TypeError):
        write_whole(path, "no bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"one"
    assert os.listdir(path.parent) == [STORED_FILE]
