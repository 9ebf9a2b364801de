"""Which reader takes a file: by the format that the caller names, or by what the file begins with."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from recserve.errors import ConfigError, suggest
from recserve.importers.model import ImportedModel

_HEAD = 4096  # bytes of a file that a guess may look at


@dataclass(frozen=True)
class Source:
    """What a guess may look at.

    Attributes:
        path: of the file or directory.
        head: the first 4,096 bytes; empty for a directory.
        names: of the members of a zip file, or of the files of a directory (not deeper); empty for other files.
    """

    path: Path
    head: bytes
    names: frozenset[str]


@dataclass(frozen=True)
class Reader:
    """How a format is known and read.

    Attributes:
        module: that has `read(path: Path) -> ImportedModel`; imported when it is needed.
        guess: whether a source looks like this format.
    """

    module: str
    guess: Callable[[Source], bool]


def _is_pmml(source: Source) -> bool:
    text = source.head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if source.head.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = source.head.decode("utf-16", errors="ignore").lstrip().encode()
    return text.startswith(b"<") and (b"PMML" in text or text.startswith(b"<?xml"))


def _is_mojo(source: Source) -> bool:
    return "model.ini" in source.names


def _is_mleap(source: Source) -> bool:
    return "bundle.json" in source.names


def _is_spark(source: Source) -> bool:
    return not source.head and "metadata" in source.names


def _is_pickle(source: Source) -> bool:
    return source.path.suffix in {".pkl", ".pickle", ".joblib"} or source.head[:2] in {
        b"\x80\x03",
        b"\x80\x04",
        b"\x80\x05",
    }


def _is_xgboost(source: Source) -> bool:
    return source.head[:4] == b"binf" or (source.head.lstrip()[:1] == b"{" and b"learner" in source.head[:256])


def _is_lightgbm(source: Source) -> bool:
    return source.head.startswith((b"tree\n", b"tree\r\n"))


def _is_catboost(source: Source) -> bool:
    names = (b'"features_info"', b'"oblivious_trees"', b'"model_info"', b'"ctr_data"', b'"trees"')
    return source.head.lstrip()[:1] == b"{" and any(name in source.head[:256] for name in names)


# Each format is asked in this order; the first that knows the source reads it.
READERS: dict[str, Reader] = {
    "pmml": Reader("recserve.importers.pmml", _is_pmml),
    "mojo": Reader("recserve.importers.mojo", _is_mojo),
    "mleap": Reader("recserve.importers.mleap", _is_mleap),
    "xgboost": Reader("recserve.importers.trees.xgboost", _is_xgboost),
    "lightgbm": Reader("recserve.importers.trees.lightgbm", _is_lightgbm),
    "catboost": Reader("recserve.importers.trees.catboost", _is_catboost),
    "spark": Reader("recserve.importers.spark", _is_spark),
    "sklearn": Reader("recserve.importers.sklearn", _is_pickle),
}


def _is_onnx(source: Source) -> bool:
    if source.path.suffix == ".onnx" or any(name.endswith(".onnx") for name in source.names if "/" not in name):
        return True
    # The version of the format comes first, then the producer, the graph or the opset.
    return source.head[:1] == b"\x08" and 0 < source.head[1] < 32 and source.head[2:3] in {b"\x12", b"\x3a", b"\x42"}


def _is_savedmodel(source: Source) -> bool:
    return not source.head and not source.names.isdisjoint({"saved_model.pb", "saved_model.pbtxt"})


def _is_keras(source: Source) -> bool:
    return source.head.startswith(b"\x89HDF\r\n") or {"config.json", "model.weights.h5"} <= source.names


def _is_torch(source: Source) -> bool:
    inner = {name.partition("/")[2] for name in source.names}
    return source.head.startswith(b"PK") and not inner.isdisjoint({"data.pkl", "archive_format"})


# Formats that become plain models: their modules have `convert(path: Path, folder: Path) -> Report`, which writes the
# files of a version's directory (`recserve.plain_model`) into an empty folder.
CONVERTERS: dict[str, Reader] = {
    "savedmodel": Reader("recserve.importers.savedmodel", _is_savedmodel),
    "keras": Reader("recserve.importers.keras_file", _is_keras),
    "torch": Reader("recserve.importers.torch_program", _is_torch),
    "onnx": Reader("recserve.importers.onnx_graph", _is_onnx),
}


def _look(path: Path) -> Source:
    """What a guess may see of `path`."""
    if path.is_dir():
        return Source(path, b"", frozenset(child.name for child in path.iterdir()))
    with path.open("rb") as file:
        head = file.read(_HEAD)
    names: frozenset[str] = frozenset()
    if head.startswith(b"PK"):
        try:
            with zipfile.ZipFile(path) as archive:
                names = frozenset(archive.namelist())
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise ConfigError(f"the zip file is damaged: {error}", code="damaged_model", where=str(path)) from error
    return Source(path, head, names)


def guess(path: Path) -> str:
    """The format of the model at `path`, a key of `READERS` or `CONVERTERS`.

    Raises:
        ConfigError: "not_found" where nothing is there, "damaged_model" for a broken zip file, "unknown_format" where
            no reader knows the content.
    """
    if not path.exists():
        raise ConfigError("no such file or directory", code="not_found", where=str(path))
    source = _look(path)
    for name, reader in (READERS | CONVERTERS).items():
        if reader.guess(source):
            return name
    raise ConfigError(
        f"no importer knows this content; it begins with {source.head[:16]!r}",
        code="unknown_format",
        where=str(path),
        hint=f"Name the format: {', '.join(READERS | CONVERTERS)}",
    )


def read(path: str | Path, format: str | None = None) -> ImportedModel:  # noqa: A002 - the public name of the option
    """Read another platform's model.

    Args:
        path: the file, or the directory of an unpacked bundle.
        format: a key of `READERS`; None guesses from the content.

    Raises:
        ConfigError: the file is absent, damaged, of an unknown format, or asks for what recserve lacks
            ("unsupported_element"). The message names the file and the line or element.
    """
    path = Path(path)
    if format is None:
        format = guess(path)  # noqa: A001
    elif not path.exists():
        raise ConfigError("no such file or directory", code="not_found", where=str(path))
    if format in CONVERTERS:
        raise ConfigError(
            f"a model in the format {format!r} is no scoring program",
            code="needs_conversion",
            where=str(path),
            hint="Make a plain model of it with `recserve import`",
        )
    if format not in READERS:
        raise ConfigError(
            f"unknown format {format!r}",
            code="unknown_format",
            where=str(path),
            hint=suggest(format, READERS) or f"Known: {', '.join(READERS)}",
        )
    model = import_module(READERS[format].module).read(path)
    assert isinstance(model, ImportedModel)
    return model
