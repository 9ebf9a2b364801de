"""TensorFlow Serving's monitoring_config_file."""

from __future__ import annotations

from pathlib import Path

import pytest

from recserve.errors import ConfigError
from recserve.serving.tfs.monitoring import read_metrics_path


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('prometheus_config { enable: true path: "/m" }', "/m"),
        ("prometheus_config { enable: true }", "/monitoring/prometheus/metrics"),
        ('prometheus_config { path: "/m" }', ""),
        ("", ""),
    ],
)
def test_the_path_is_that_of_the_file(tmp_path: Path, text: str, path: str) -> None:
    file = tmp_path / "monitoring.txt"
    file.write_text(text)
    assert read_metrics_path(file) == path


def test_wrong_files_are_told(tmp_path: Path) -> None:
    file = tmp_path / "monitoring.txt"
    with pytest.raises(ConfigError, match="cannot be read"):
        read_metrics_path(file)
    file.write_text("what")
    with pytest.raises(ConfigError, match="no MonitoringConfig"):
        read_metrics_path(file)
    file.write_text('prometheus_config { enable: true path: "m" }')
    with pytest.raises(ConfigError, match="the path 'm' does not begin with '/'"):
        read_metrics_path(file)
