from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pydantic
import pytest

from recserve import manifests
from recserve.errors import BundleError
from recserve.manifests import read_manifest


class Fields(pydantic.BaseModel, extra="forbid", strict=True, frozen=True):
    format: str
    format_version: int
    inner: dict[str, int] = {}


GOOD: dict[str, Any] = {"format": "a-form", "format_version": 3, "inner": {"a": 1}}


def read(folder: Path) -> Fields:
    return read_manifest(folder, Fields, form="a-form", form_version=3, kind="thing", remake="Make it again")


def refuse(folder: Path) -> BundleError:
    with pytest.raises(BundleError) as caught:
        read(folder)
    return caught.value


def test_a_manifest_is_read(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps(GOOD))
    assert read(tmp_path) == Fields(**GOOD)


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"format": "other"}, "bad_manifest", "is not the manifest of a thing"),
        ({"format_version": 4}, "bundle_format", "format version 4; this recserve reads 3. Make it again"),
        ({"format_version": None}, "bundle_format", "format version None; this recserve reads 3. Make it again"),
        ({"inner": {"a": "1"}}, "bad_manifest", "inner.a: Input should be a valid integer"),
        ({"more": 1}, "bad_manifest", "more: Extra inputs are not permitted"),
    ],
)
def test_another_manifest_is_refused(tmp_path: Path, change: dict[str, Any], code: str, message: str) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(GOOD | change))
    error = refuse(tmp_path)
    assert (error.code, str(error)) == (code, f"{path}: {message}")


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b'{"format": "a-form"'])
def test_what_is_no_json_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(data)
    error = refuse(tmp_path)
    assert error.code == "bad_manifest"
    assert str(error).startswith(f"{tmp_path / 'manifest.json'}: is no JSON: ")


@pytest.mark.parametrize("data", [b"[]", b"null", b"1"])
def test_json_of_another_kind_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(data)
    assert str(refuse(tmp_path)) == f"{tmp_path / 'manifest.json'}: is not the manifest of a thing"


def test_where_there_is_none_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path, tmp_path / "absent", tmp_path / "file"):
        error = refuse(folder)
        assert error.code == "not_a_bundle"
        assert str(error) == f"{folder}: there is no manifest.json. The path of a version is <base>/<name>/<version>"


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").mkdir()
    error = refuse(tmp_path)
    assert error.code == "bad_manifest"
    assert str(error) == f"{tmp_path / 'manifest.json'}: cannot be read: Is a directory"


def test_a_huge_manifest_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "manifest.json"
    path.touch()
    os.truncate(path, manifests.MAX_MANIFEST_BYTES + 1)  # sparse: it takes no room on the disk
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("it is read"))
    assert str(refuse(tmp_path)) == f"{path}: has more than 64 MiB"
