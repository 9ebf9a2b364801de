"""TensorFlow SavedModels: to ONNX where every op converts and gives the same answers, else kept for TensorFlow.

What is here:
    convert        reads a SavedModel into the files of a plain model
    conversion.py  what a process of its own does for that: TensorFlow and tf2onnx load there, and may fail there
    runtime.py     runs a kept SavedModel
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from recserve.errors import ConfigError
from recserve.importers.model import Report

TIMEOUT_S = 1800


def convert(path: Path, folder: Path) -> Report:
    """Make a plain model of a SavedModel, with all its signatures.

    Args:
        path: the directory with `saved_model.pb`.
        folder: empty; gets ONNX graphs or a copy of the SavedModel, and `model.json`.

    Raises:
        ConfigError: TensorFlow is not installed ("missing_library") or cannot load the model ("damaged_model").
    """
    return convert_apart("savedmodel", path, folder)


def convert_apart(format: str, path: Path, folder: Path) -> Report:  # noqa: A002 - the report's own word
    """Run `conversion.py` in a process of its own: a crash of TensorFlow stays there, and so does its memory.

    Args:
        format: "savedmodel" or "keras".
        path: of the source.
        folder: empty; gets the version's files.

    Raises:
        ConfigError: as `convert`.
    """
    if find_spec("tensorflow") is None:
        raise ConfigError(
            "reading it needs TensorFlow, which is not installed",
            code="missing_library",
            where=str(path),
            hint="Install it where you import: pip install tensorflow-cpu tf2onnx",
        )
    with tempfile.TemporaryDirectory(prefix="recserve-import-") as scratch:
        result = Path(scratch) / "result.json"
        command = [sys.executable, "-m", "recserve.importers.savedmodel.conversion"]
        command += [format, str(path.absolute()), str(folder.absolute()), str(result)]
        # TensorFlow looks for no GPU, and Keras for no other framework.
        quiet = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
        try:
            done = subprocess.run(  # noqa: S603 - our own interpreter and module
                command, env=os.environ | quiet, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
            )
        except subprocess.TimeoutExpired as error:
            raise ConfigError(f"TensorFlow took more than {TIMEOUT_S} s", code="timed_out", where=str(path)) from error
        if not result.exists():
            last = next(iter(done.stderr.strip().splitlines()[::-1]), "no message")
            raise ConfigError(
                f"TensorFlow's process ended with status {done.returncode}: {last}",
                code="damaged_model",
                where=str(path),
            )
        answer: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    if "error" in answer:
        raise ConfigError(answer["error"], code=answer["code"], where=str(path), hint=answer["hint"])
    return Report(format, **answer["report"])
