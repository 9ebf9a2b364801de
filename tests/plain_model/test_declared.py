from __future__ import annotations

from pathlib import Path

import pytest

from recserve.errors import ConfigError
from recserve.plain_model.declared import DECLARATION_FILE, MAX_BYTES, load_declaration


def test_without_a_file_there_is_one_signature(tmp_path: Path) -> None:
    declaration = load_declaration(tmp_path)
    assert list(declaration.entries()) == ["serving_default"]
    assert (declaration.any_signature, declaration.version_labels) == (None, [])


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / DECLARATION_FILE).open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(ConfigError, match=f"the file has {MAX_BYTES + 1} bytes, more than {MAX_BYTES}"):
        load_declaration(tmp_path)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / DECLARATION_FILE).mkdir()
    with pytest.raises(ConfigError, match=r"model\.json: the file cannot be read: Is a directory"):
        load_declaration(tmp_path)
