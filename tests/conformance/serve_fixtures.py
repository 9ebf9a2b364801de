"""Serve the models of the REST conformance cases with `recserve serve`, one port for each protocol.

Prints one JSON line of addresses when all are ready, and stops on SIGTERM.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import FrameType

HERE = Path(__file__).resolve().parent
PREFIX = "Serving "


def start(arguments: list[str], processes: list[subprocess.Popen[str]]) -> subprocess.Popen[str]:
    """Start a `recserve serve`."""
    program = "from recserve.cli import main; main()"
    command = [sys.executable, "-c", program, "serve", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    processes.append(process)
    return process


def addresses(process: subprocess.Popen[str], count: int) -> dict[str, str]:
    """Read `Serving NAME on URL` for each port; the rest of what it prints is let through."""
    found: dict[str, str] = {}
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(PREFIX):
            name, _, url = line.removeprefix(PREFIX).strip().partition(" on ")
            found[name] = url
        if len(found) == count:
            threading.Thread(target=process.stdout.read, daemon=True).start()
            return found
    sys.exit(f"the server ended before it was ready, with status {process.wait()}")


def plans(base: Path) -> list[tuple[list[str], int]]:
    """Arguments of each `recserve serve`, and how many ports it opens."""
    sys.path.insert(0, str(HERE))
    models = base / "models"
    dialects: list[str] = []
    commands: list[list[str]] = []
    for name in ("fixture_models", "fixture_models_oip"):
        if (HERE / f"{name}.py").exists():
            module = importlib.import_module(name)
            dialects += module.build(models)
            commands += getattr(module, "commands", lambda _: [])(base)
    one = [str(models), *(part for dialect in dialects for part in ("--dialect", dialect))]
    return [(arguments, arguments.count("--dialect")) for arguments in (one, *commands)]


def end(number: int, frame: FrameType | None) -> None:
    """Leave as on an interrupt."""
    raise KeyboardInterrupt


def serve() -> None:
    """Serve until SIGTERM."""
    signal.signal(signal.SIGTERM, end)
    processes: list[subprocess.Popen[str]] = []
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(KeyboardInterrupt):
        try:
            started = [(start(arguments, processes), count) for arguments, count in plans(Path(folder))]
            urls = {name: url for process, count in started for name, url in addresses(process, count).items()}
            sys.stdout.write(f"{json.dumps(urls)}\n")
            sys.stdout.flush()
            for process in processes:
                process.wait()
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(20)


if __name__ == "__main__":
    serve()
