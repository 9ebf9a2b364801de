from __future__ import annotations

import pytest

from recserve.errors import RequestError
from recserve.serving.oip.paths import Target, parse_path


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/v2", Target("server")),
        ("/v2/", Target("server")),
        ("/v2/health/live", Target("live")),
        ("/v2/health/ready", Target("ready")),
        ("/v2/models/stats", Target("stats")),
        ("/v2/models/m", Target("model", "m")),
        ("/v2/models/m/versions/3", Target("model", "m", "3")),
        ("/v2/models/m/ready", Target("model_ready", "m")),
        ("/v2/models/m/versions/3/infer", Target("infer", "m", "3")),
        ("/v2/models/m/stats", Target("stats", "m")),
        ("/v2/models/m/config", Target("config", "m")),
        ("/v2/models/m/trace/setting", Target("trace", "m")),
        ("/v2/trace/setting", Target("trace")),
        ("/v2/logging", Target("logging")),
        ("/v2/repository/index", Target("index")),
        ("/v2/repository/models/m/load", Target("load", "m")),
        ("/v2/repository/models/m/unload", Target("unload", "m")),
        ("/v2/systemsharedmemory/status", Target("memory_status")),
        ("/v2/cudasharedmemory/region/r/register", Target("memory_change")),
        ("/v2/models/m/explain", None),
        ("/v2/repository/models/m", None),
        ("/v1/models/m", None),
        ("/", None),
    ],
)
def test_a_path_asks_for(path: str, target: Target | None) -> None:
    assert parse_path(path) == target


def test_a_version_is_a_number_above_zero() -> None:
    assert Target("model", "m").version_number() is None
    assert Target("model", "m", "0012").version_number() == 12
    for text in ("x", "1.0", "９", "9" * 30):
        with pytest.raises(RequestError, match="failed to get model version from specified version string"):
            Target("model", "m", text).version_number()
    with pytest.raises(
        RequestError, match="invalid model version specified '-1', version should be an integral value > 0"
    ):
        Target("model", "m", "-1").version_number()
