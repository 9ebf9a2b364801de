"""MLServer. Usage: serve_mlserver.py MODELS PORT GRPC_PORT [--parallel-workers=N]. Speaks the Open Inference Protocol.

Without workers the models are in the process of the server; MLServer's own default is one worker, to which requests are
copied.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from graphs import MODELS


def write_settings(folder: Path, models: str, ports: tuple[int, int], workers: int) -> None:
    """The files that `mlserver start` reads."""
    server = {
        "http_port": ports[0],
        "grpc_port": ports[1],
        "metrics_port": 0,
        "metrics_endpoint": None,
        "parallel_workers": workers,
        "grpc_max_message_length": 200 << 20,
        "debug": False,
        "access_log": False,
    }
    (folder / "settings.json").write_text(json.dumps(server))
    for name in MODELS:
        (folder / name).mkdir()
        settings = {"name": name, "implementation": "mlserver_runtime.OnnxRuntime", "parameters": {"uri": models}}
        (folder / name / "model-settings.json").write_text(json.dumps(settings))


if __name__ == "__main__":
    place = Path(tempfile.mkdtemp(dir=Path.cwd()))
    workers = int(sys.argv[4].partition("=")[2]) if len(sys.argv) > 4 else 0
    write_settings(place, sys.argv[1], (int(sys.argv[2]), int(sys.argv[3])), workers)
    command = Path(sys.executable).with_name("mlserver")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    os.execve(command, [str(command), "start", str(place)], environment)  # noqa: S606 - nothing but a program
