"""BentoML with one worker. Usage: serve_bentoml.py MODELS PORT.

`/<model>_json` takes {"inputs": {name: rows}}, `/<model>_raw` bytes, which BentoML gives to the service as a file.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import bentoml
from graphs import MODELS, Graph


@bentoml.service(workers=1, traffic={"timeout": 120}, logging={"access": {"enabled": False}})
class Rank:
    """The models of the benchmark."""

    def __init__(self) -> None:
        """Load them."""
        self.graphs = {name: Graph(os.environ["MODELS"], name) for name in MODELS}

    @bentoml.api
    def a_json(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Scores of A."""
        return {"outputs": self.graphs["a"].run_lists(inputs).tolist()}

    @bentoml.api
    def b_json(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Scores of B."""
        return {"outputs": self.graphs["b"].run_lists(inputs).tolist()}

    @bentoml.api
    def c_json(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Scores of C."""
        return {"outputs": self.graphs["c"].run_lists(inputs).tolist()}

    @bentoml.api
    def a_raw(self, data: Path, /) -> list[float]:
        """Scores of A."""
        return self.graphs["a"].run_bytes(data.read_bytes()).ravel().tolist()

    @bentoml.api
    def b_raw(self, data: Path, /) -> list[float]:
        """Scores of B."""
        return self.graphs["b"].run_bytes(data.read_bytes()).ravel().tolist()

    @bentoml.api
    def c_raw(self, data: Path, /) -> list[float]:
        """Scores of C."""
        return self.graphs["c"].run_bytes(data.read_bytes()).ravel().tolist()


if __name__ == "__main__":
    folder = str(Path(__file__).parent)
    command = str(Path(sys.executable).with_name("bentoml"))
    environment = os.environ | {"MODELS": sys.argv[1], "PYTHONPATH": folder, "BENTOML_DO_NOT_TRACK": "True"}
    options = ["--port", sys.argv[2], "--working-dir", folder]
    os.execve(command, [command, "serve", "serve_bentoml:Rank", *options], environment)  # noqa: S606 - a program
