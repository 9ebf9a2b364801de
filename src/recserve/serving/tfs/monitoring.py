"""TensorFlow Serving's `monitoring_config_file`: a text-format `MonitoringConfig`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recserve.errors import ConfigError


def read_metrics_path(file: Path) -> str:
    """The path of the metrics page that the file asks for; empty where it asks for none.

    Raises:
        ConfigError: the file cannot be read, is no such message, or its path is none.
    """
    from google.protobuf import text_format

    from recserve.wire.tensorflow_serving import MonitoringConfig

    try:
        message: Any = text_format.Parse(file.read_text(encoding="utf-8"), MonitoringConfig())
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(file)) from None
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise ConfigError(f"no MonitoringConfig: {error}", where=str(file)) from None
    prometheus = message.prometheus_config
    if not prometheus.enable:
        return ""
    path: str = prometheus.path or "/monitoring/prometheus/metrics"
    if not path.startswith("/"):
        raise ConfigError(f"the path {path!r} does not begin with '/'", where=str(file))
    return path
