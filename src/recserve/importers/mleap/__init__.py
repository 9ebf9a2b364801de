"""MLeap bundles: a zip file or directory with the pipeline's nodes in JSON or protobuf.

Every op of MLeap's runtime is read by its rules, except those that put out lists of labels or topics, call another
runtime (TensorFlow), or hold another library's model file.
"""

from __future__ import annotations

from pathlib import Path

from recserve.errors import ConfigError, suggest
from recserve.importers.mleap import models, stages_numbers, stages_text  # noqa: F401  (they fill the registry)
from recserve.importers.mleap.archive import Archive
from recserve.importers.mleap.nodes import Bundle, BundleNode
from recserve.importers.mleap.stages import STAGES
from recserve.importers.model import ImportedModel
from recserve.importers.pipelines.frame import Frame

__all__ = ["read"]


def read(path: Path) -> ImportedModel:
    """The model of a bundle.

    Its inputs are the columns that no node makes; a vector that comes from the caller is one column per element,
    `name[0]`, `name[1]` …. Its outputs are the columns that nodes make, but for lists of words, and for vectors that
    only other nodes need.

    Raises:
        ConfigError: "damaged_model" for broken files, "invalid_model" for contradictions, "unsupported_element" for an
            op that recserve lacks; the message names the file, the node and the op.
    """
    with Archive(path) as archive:
        bundle = Bundle(archive)
        frame = Frame("mleap")
        if bundle.is_python:
            frame.report.notes.append("Written by mleap's Python package: matrices are read row by row.")
        for node in bundle.walk():
            _apply(frame, node)
    return frame.finish(frame.visible())


def _apply(frame: Frame, node: BundleNode) -> None:
    """Run one node on the frame."""
    op, where = node.model.op, node.model.attributes.where
    if op not in STAGES:
        raise ConfigError(
            f"op {op!r} of node {node.name!r} is not supported",
            code="unsupported_element",
            where=where,
            hint=suggest(op, STAGES),
        )
    frame.report.count(op)
    frame.report.transformations.append(node.name)
    try:
        STAGES[op](frame, node)
    except ConfigError as error:
        if error.where is None:
            raise ConfigError(error.problem, code=error.code, where=f"{where}, node {node.name!r}") from error
        raise
    except ValueError as error:  # ports, labels and tables of unequal numbers
        raise ConfigError(f"its parts do not fit together: {error}", code="invalid_model", where=where) from error
