"""TorchServe with one worker a model. Usage: serve_torchserve.py MODELS PORT MANAGEMENT_PORT METRICS_PORT."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

MODELS = ("a", "b", "c")

_CONFIG = """\
inference_address=http://127.0.0.1:{}
management_address=http://127.0.0.1:{}
metrics_address=http://127.0.0.1:{}
default_workers_per_model=1
max_request_size=200000000
max_response_size=200000000
disable_token_authorization=true
enable_envvars_config=false
install_py_dep_per_model=false
vmargs=-Xmx2g
"""


def build(folder: Path, models: str, ports: list[str]) -> list[str]:
    """Archive the models; returns the command of the server."""
    scripts = Path(sys.executable).parent
    handler = Path(__file__).with_name("torchserve_handler.py")
    store = folder / "store"
    store.mkdir()
    for name in MODELS:
        named = ["--model-name", name, "--version", "1.0", "--handler", str(handler), "--export-path", str(store)]
        archive = [str(scripts / "torch-model-archiver"), *named, "--extra-files", f"{models}/{name}/1/model.onnx"]
        subprocess.run(archive, check=True)  # noqa: S603 - ours
    config = folder / "config.properties"
    config.write_text(_CONFIG.format(*ports))
    listed = [f"{name}={name}.mar" for name in MODELS]
    options = ["--foreground", "--ncs", "--disable-token-auth", "--model-store", str(store), "--models", *listed]
    return [str(scripts / "torchserve"), "--start", *options, "--ts-config", str(config)]


if __name__ == "__main__":
    place = Path(tempfile.mkdtemp(dir=Path.cwd()))
    command = build(place, sys.argv[1], sys.argv[2:5])
    os.environ["LOG_LOCATION"] = os.environ["METRICS_LOCATION"] = str(place)
    os.execv(command[0], command)  # noqa: S606 - nothing but a program
