"""MLServer in one process. Usage: serve_mlserver.py MODELS PORT GRPC_PORT. Speaks the Open Inference Protocol."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from graphs import MODELS


def write_settings(folder: Path, models: str, port: int, grpc_port: int) -> None:
    """The files that `mlserver start` reads."""
    server = {
        "http_port": port,
        "grpc_port": grpc_port,
        "metrics_port": 0,
        "metrics_endpoint": None,
        "parallel_workers": 0,
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
    write_settings(place, sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    command = Path(sys.executable).with_name("mlserver")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    os.execve(command, [str(command), "start", str(place)], environment)  # noqa: S606 - nothing but a program
