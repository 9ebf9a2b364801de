from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from recserve.errors import ConfigError
from recserve.importers.savedmodel.runtime import SavedModel
from recserve.plain_model import has_plain_model, open_plain_model


def test_without_tensorflow_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(ConfigError, match="runs in TensorFlow, which is not installed") as caught:
        SavedModel(tmp_path)
    assert caught.value.code == "missing_library"
    assert "pip install tensorflow-cpu" in str(caught.value.hint)


def test_a_version_with_a_saved_model_is_a_plain_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    folder = tmp_path / "m" / "3"
    (folder / "saved_model").mkdir(parents=True)
    assert not has_plain_model(folder)
    (folder / "model.json").write_text(json.dumps({"engine": "tensorflow"}))
    with pytest.raises(ConfigError, match="there is no SavedModel"):
        open_plain_model(folder)
    (folder / "saved_model" / "saved_model.pb").write_bytes(b"")
    assert has_plain_model(folder)
    for declared in ('{"engine": "tensorflow"}', None):
        if declared is None:
            (folder / "model.json").unlink()
        with pytest.raises(ConfigError, match="TensorFlow, which is not installed"):
            open_plain_model(folder)
