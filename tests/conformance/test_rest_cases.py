"""REST cases of other servers, through the runner that comes with them and a real `recserve serve`."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def test_every_rest_case_of_a_served_protocol_passes(conformance: Path) -> None:
    command = shlex.join([sys.executable, str(HERE / "serve_fixtures.py")])
    runner = [sys.executable, str(conformance / "run_rest.py"), "--serve", command, "--allow-missing", "--json"]
    done = subprocess.run(runner, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    results = json.loads(done.stdout)
    failed = [f"{case['id']}: {case['reason']}" for case in results["cases"] if case["outcome"] == "failed"]
    assert not failed, "\n".join(failed)
    ran = {case["protocol"] for case in results["cases"] if case["outcome"] == "passed"}
    assert {"tfs-rest", "kserve-v1", "vertex-ai", "h2o-dai"} <= ran, done.stderr
