"""A stage as Spark saves it: a directory with one line of JSON in `metadata`, and tables in Parquet beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recserve.errors import ConfigError
from recserve.importers.pipelines.pieces import Array

_METADATA_LIMIT = 1 << 26  # bytes


@dataclass(frozen=True)
class SavedStage:
    """One stage: its class, parameters and tables.

    Attributes:
        path: of its directory.
        kind: the class without its package.
        uid: of the stage.
        version: (major, minor) of the Spark that saved it.
        params: name → value, as set or by default.
        extra: all that the metadata says.
    """

    path: Path
    kind: str
    uid: str
    version: tuple[int, int]
    params: Mapping[str, Any]
    extra: Mapping[str, Any]

    @property
    def where(self) -> str:
        """The place for errors."""
        return f"{self.path}, stage {self.uid}"

    def wrong(self, problem: str, code: str = "invalid_model") -> ConfigError:
        """The error for a stage that cannot be used."""
        return ConfigError(problem, code=code, where=self.where)

    def param(self, name: str, default: Any = None) -> Any:
        """A parameter; `default`, where given, for one that is not set.

        Raises:
            ConfigError: it is not set, and there is no default.
        """
        found = self.params.get(name, default)
        if found is None:
            raise self.wrong(f"parameter {name!r} is absent")
        return found

    def number(self, name: str, default: float | None = None) -> float:
        """A parameter that is a number; JSON has no infinities, so Spark writes them as texts."""
        found = self.param(name, default)
        try:
            return float(found)
        except (TypeError, ValueError) as error:
            raise self.wrong(f"parameter {name!r} is {found!r}, no number") from error

    def columns(self, single: str, several: str) -> list[str]:
        """Column names of a stage that has one column or several."""
        if several in self.params:
            return [str(name) for name in self.params[several]]
        return [str(self.param(single))]

    def rows(self, table: str = "data") -> list[dict[str, Any]]:
        """The rows of a table beside the metadata.

        Raises:
            ConfigError: "damaged_model" where it is absent or broken.
        """
        from pyarrow import ArrowException
        from pyarrow import parquet as pq

        folder = self.path / table
        files = sorted(file for file in folder.glob("*.parquet") if file.is_file())
        if not files:
            raise self.wrong(f"the table {table!r} has no Parquet file", "damaged_model")
        rows: list[dict[str, Any]] = []
        for file in files:
            try:
                rows += pq.read_table(file).to_pylist()
            except (ArrowException, OSError, ValueError) as error:
                raise ConfigError(
                    f"the Parquet file cannot be read: {error}", code="damaged_model", where=str(file)
                ) from error
        return rows

    def row(self, table: str = "data") -> dict[str, Any]:
        """The only row of a table."""
        rows = self.rows(table)
        if len(rows) != 1:
            raise self.wrong(f"the table {table!r} has {len(rows)} rows, not 1", "damaged_model")
        return rows[0]

    def field(self, row: Mapping[str, Any], *names: str) -> Any:
        """A field of a row, under the first of its names over time that is there."""
        for name in names:
            if name in row and row[name] is not None:
                return row[name]
        raise self.wrong(f"the table lacks the column {names[0]!r}; it has {sorted(row)}", "damaged_model")

    def vector(self, row: Mapping[str, Any], *names: str) -> Array:
        """A vector of a row, dense."""
        return dense_vector(self.field(row, *names))

    def matrix(self, row: Mapping[str, Any], *names: str) -> Array:
        """A matrix of a row [rows, columns], dense."""
        return dense_matrix(self.field(row, *names))


def dense_vector(value: Any) -> Array:
    """A vector in Spark's struct form, or a plain list, as an array."""
    if isinstance(value, Mapping):
        if value.get("type") == 0:
            dense = np.zeros(int(value["size"]))
            dense[np.array(value["indices"], dtype=np.int64)] = value["values"]
            return dense
        value = value["values"]
    return np.array(value, dtype=np.float64)


def dense_matrix(value: Mapping[str, Any]) -> Array:
    """A matrix in Spark's struct form: column by column, or row by row where it says so; dense or sparse."""
    rows, columns = int(value["numRows"]), int(value["numCols"])
    turned = bool(value.get("isTransposed"))
    if value.get("type") == 0:
        outer, inner = (rows, columns) if turned else (columns, rows)
        dense = np.zeros((outer, inner))
        starts = value["colPtrs"]
        for i in range(outer):
            own = slice(starts[i], starts[i + 1])
            dense[i, np.array(value["rowIndices"][own], dtype=np.int64)] = value["values"][own]
        return dense if turned else dense.T
    return np.array(value["values"], dtype=np.float64).reshape((rows, columns), order="C" if turned else "F")


def read_metadata(path: Path) -> dict[str, Any]:
    """The JSON line in `metadata` of a stage's directory.

    Raises:
        ConfigError: "damaged_model" where it is absent or no JSON.
    """
    folder = path / "metadata"
    files = sorted(file for file in folder.glob("part-*") if not file.name.endswith(".crc"))
    if not files and folder.is_file():
        files = [folder]
    for file in files:
        if file.stat().st_size > _METADATA_LIMIT:
            raise ConfigError("the metadata are too large", code="damaged_model", where=str(file))
        try:
            text = file.read_text(encoding="utf-8").strip()
            content = json.loads(text) if text else None
        except (ValueError, OSError, RecursionError) as error:
            raise ConfigError(f"the metadata are no JSON: {error}", code="damaged_model", where=str(file)) from error
        if isinstance(content, dict):
            return content
    raise ConfigError("the directory has no metadata of a Spark stage", code="damaged_model", where=str(folder))


def open_stage(path: Path) -> SavedStage:
    """The stage in a directory.

    Raises:
        ConfigError: "damaged_model" where there is none, or its metadata are broken.
    """
    content = read_metadata(path)
    kind, uid = content.get("class"), content.get("uid", "")
    match = re.match(r"(\d+)\.(\d+)", str(content.get("sparkVersion", "")))
    if not isinstance(kind, str) or match is None:
        raise ConfigError(
            f"the metadata name class {kind!r} and version {content.get('sparkVersion')!r}",
            code="damaged_model",
            where=str(path),
        )
    params = {**(content.get("defaultParamMap") or {}), **(content.get("paramMap") or {})}
    version = int(match.group(1)), int(match.group(2))
    return SavedStage(path, kind.rpartition(".")[2], str(uid), version, params, content)


def inner_stages(stage: SavedStage) -> list[Path]:
    """The directories of a pipeline's stages, in order."""
    folder = stage.path / "stages"
    found: dict[tuple[int, str], Path] = {}
    for child in folder.glob("*"):
        number, _, uid = child.name.partition("_")
        if child.is_dir() and number.isdecimal():
            found[int(number), uid] = child
    # Two stages of a pipeline may share one uid, never their number.
    places = list(enumerate(stage.params.get("stageUids", stage.extra.get("stageUids", []))))
    missing = [uid for i, uid in places if (i, uid) not in found]
    if missing:
        raise stage.wrong(f"the pipeline lacks the directory of stage {missing[0]!r}", "damaged_model")
    return [found[place] for place in places]
