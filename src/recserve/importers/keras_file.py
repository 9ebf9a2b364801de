"""Keras models (`.keras`, `.h5`), through a SavedModel."""

from __future__ import annotations

from pathlib import Path

from recserve.importers.model import Report
from recserve.importers.savedmodel import convert_apart


def convert(path: Path, folder: Path) -> Report:
    """Make a plain model of a Keras model's file.

    Args:
        path: a `.keras` or `.h5` file with architecture and weights.
        folder: empty; gets ONNX graphs or a SavedModel, and `model.json`.

    Raises:
        ConfigError: TensorFlow is not installed ("missing_library"), or Keras cannot load the file ("damaged_model"):
            weights alone, layers of one's own, or a Lambda layer, whose code would run here.
    """
    return convert_apart("keras", path, folder)
