"""Writes small MOJOs for tests."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

MakeMojo = Callable[..., Path]


def write_value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ", ".join(str(item) for item in value) + "]"
    return str(value)


def mojo_files(
    info: dict[str, Any],
    columns: Sequence[str],
    domains: dict[int, Sequence[str]] | None = None,
    files: dict[str, bytes] | None = None,
    folder: str = "",
) -> dict[str, bytes]:
    """The files of a model whose last column is the response where `supervised`."""
    supervised = info.get("supervised", True)
    defaults = {
        "algorithm": info.get("algo", "gbm"),
        "mojo_version": "1.00",
        "h2o_version": "3.46.0.11",
        "category": "Regression",
        "supervised": supervised,
        "n_features": len(columns) - bool(supervised),
        "n_classes": 1,
        "n_columns": len(columns),
        "balance_classes": False,
        "default_threshold": 0.5,
        "escape_domain_values": True,
    }
    lines = ["[info]", *(f"{key} = {write_value(value)}" for key, value in {**defaults, **info}.items())]
    lines += ["", "[columns]", *columns, "", "[domains]"]
    found = dict(files or {})
    for number, (column, levels) in enumerate((domains or {}).items()):
        lines.append(f"{column}: {len(levels)} d{number:03d}.txt")
        found[f"domains/d{number:03d}.txt"] = "".join(level + "\n" for level in levels).encode()
    found["model.ini"] = ("\n".join(lines) + "\n").encode()
    return {folder + name: data for name, data in found.items()}


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


@pytest.fixture
def make_mojo(tmp_path: Path) -> MakeMojo:
    """make_mojo(info, columns, domains={column: levels}, files={name: bytes}, inner={folder: files}) → zip file."""

    def make(
        info: dict[str, Any],
        columns: Sequence[str],
        domains: dict[int, Sequence[str]] | None = None,
        files: dict[str, bytes] | None = None,
        inner: Sequence[dict[str, bytes]] = (),
    ) -> Path:
        found = mojo_files(info, columns, domains, files)
        for part in inner:
            found |= part
        return write_zip(tmp_path / "model.zip", found)

    return make


@pytest.fixture
def inner_files() -> Callable[..., dict[str, bytes]]:
    """`mojo_files` for a model inside another."""
    return mojo_files


@pytest.fixture
def pack() -> Callable[[Path, dict[str, bytes]], Path]:
    """`write_zip`."""
    return write_zip
