from __future__ import annotations

from pathlib import Path

import pytest

from recserve.errors import ConfigError
from recserve.serving.lifecycle.model_config import read_config_file
from recserve.serving.lifecycle.policy import VersionPolicy

TEXT = """
model_config_list {
  config { name: "a" base_path: "/m/a" model_platform: "tensorflow" }
  config {
    name: "b" base_path: "s3://x/b" model_platform: "tensorflow"
    model_version_policy { specific { versions: 4 versions: 7 } }
    version_labels { key: "stable" value: 4 }
  }
  config { name: "c" base_path: "/m/c" model_platform: "onnx" model_version_policy { latest { num_versions: 2 } } }
  config { name: "d" base_path: "/m/d" model_platform: "tensorflow" model_version_policy { all { } } }
}
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "models.config"
    path.write_text(text)
    return path


def test_a_file_is_read_as_the_model_server_does(tmp_path: Path) -> None:
    a, b, c, d = read_config_file(write(tmp_path, TEXT))
    assert (a.name, a.base, a.policy, dict(a.labels)) == ("a", "/m/a", VersionPolicy(), {})
    assert (b.policy, dict(b.labels)) == (VersionPolicy("specific", versions=frozenset({4, 7})), {"stable": 4})
    assert (c.policy, d.policy) == (VersionPolicy("latest", 2), VersionPolicy("all"))


ONE = 'model_config_list {{ config {{ name: "a" base_path: "{}" model_platform: "tensorflow" {} }} }}'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense {", "is no model server configuration: "),
        ("", "ServerModelConfig type not supported"),
        (ONE.format("m/a", ""), "Expected model a to have an absolute path or URI; got base_path()=m/a"),
        (
            ONE.format("/a", "model_version_policy { latest { } }"),
            "latest num_versions is 0. It is at least 1.",
        ),
        (
            ONE.format("/a", "model_version_policy { specific { } }"),
            "a specific version policy names no version.",
        ),
        (ONE.format("/a", 'version_labels { key: "" value: 1 }'), "a version label is empty. Name it, such as"),
    ],
)
def test_a_wrong_file_is_told(text: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        read_config_file(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config_file(tmp_path / "none")
