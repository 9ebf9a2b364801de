"""Certificates, made with the openssl command."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Certificate:
    """A certificate that signs itself, and its key."""

    cert: Path
    key: Path


@pytest.fixture
def make_certificate(tmp_path: Path) -> Callable[[str], Certificate]:
    """Makes a certificate for localhost under a name of its own."""
    if shutil.which("openssl") is None:
        pytest.skip("the openssl command is not installed")

    def make(name: str) -> Certificate:
        made = Certificate(tmp_path / f"{name}.pem", tmp_path / f"{name}.key")
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        options = ["req", "-x509", *curve, "-nodes", "-days", "2", "-addext"]
        names = ["subjectAltName=DNS:localhost,IP:127.0.0.1", "-subj", f"/CN={name}"]
        files = ["-keyout", str(made.key), "-out", str(made.cert)]
        subprocess.run(["openssl", *options, *names, *files], check=True, capture_output=True)
        return made

    return make
