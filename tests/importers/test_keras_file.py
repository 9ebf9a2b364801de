from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from recserve.errors import ConfigError
from recserve.importers import formats, savedmodel
from recserve.importers.keras_file import convert


def test_both_kinds_of_file_are_known(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        for name in ("metadata.json", "config.json", "model.weights.h5"):
            archive.writestr(name, "{}")
    (tmp_path / "model.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    assert formats.guess(tmp_path / "model.keras") == "keras"
    assert formats.guess(tmp_path / "model.h5") == "keras"


def test_without_tensorflow_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(savedmodel, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="needs TensorFlow, which is not installed") as caught:
        convert(tmp_path / "model.h5", tmp_path)
    assert caught.value.code == "missing_library"
