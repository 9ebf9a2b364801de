"""Spark ML models as Spark saves them (2.x to 4.x), read without a JVM: the directory of a stage or of a pipeline."""

from __future__ import annotations

from pathlib import Path

from recserve.errors import ConfigError, suggest
from recserve.importers.model import ImportedModel
from recserve.importers.pipelines.frame import Frame
from recserve.importers.spark import models, sql  # noqa: F401  (they fill the registry)
from recserve.importers.spark.features import STAGES, Pipeline
from recserve.importers.spark.saved import SavedStage, inner_stages, open_stage

__all__ = ["read"]

_DEPTH_LIMIT = 32


def read(path: Path) -> ImportedModel:
    """The model in a directory that Spark saved.

    Its inputs are the columns that no stage makes; a vector that comes from the caller is one column per element,
    `name[0]`, `name[1]` …. Its outputs are the columns that stages make, but for lists of words, and for vectors that
    only later stages need.

    Raises:
        ConfigError: "damaged_model" for absent or broken files, "invalid_model" for contradictions,
            "unsupported_element" for a stage that recserve lacks; the message names the directory and the stage.
    """
    pipeline = Pipeline(Frame("spark"))
    _apply(pipeline, path, 0)
    return pipeline.frame.finish(pipeline.frame.visible())


def _apply(pipeline: Pipeline, path: Path, depth: int) -> None:
    """Run the stage in a directory, or those inside it, on the columns."""
    saved = open_stage(path)
    if depth > _DEPTH_LIMIT:
        raise saved.wrong(f"stages lie within each other more than {_DEPTH_LIMIT} deep")
    pipeline.frame.report.count(saved.kind)
    inner = _inner(saved)
    if inner is not None:
        for child in inner:
            _apply(pipeline, child, depth + 1)
        return
    if saved.kind not in STAGES:
        raise ConfigError(
            f"class {saved.kind!r} is not supported",
            code="unsupported_element",
            where=saved.where,
            hint=suggest(saved.kind, STAGES),
        )
    pipeline.frame.report.transformations.append(saved.uid)
    try:
        STAGES[saved.kind](pipeline, saved)
    except ConfigError as error:
        if error.where is None:
            raise ConfigError(error.problem, code=error.code, where=saved.where) from error
        raise
    except (ValueError, KeyError, TypeError, IndexError) as error:  # tables and parameters of other shapes
        raise saved.wrong(f"its parts do not fit together: {error!r}") from error


def _inner(saved: SavedStage) -> list[Path] | None:
    """The directories of what a stage consists of, where it is made of others."""
    if saved.kind == "PipelineModel":
        return inner_stages(saved)
    if saved.kind in {"CrossValidatorModel", "TrainValidationSplitModel"}:
        return [saved.path / "bestModel"]
    return [saved.path / "pipelineModel"] if saved.kind == "RFormulaModel" else None
