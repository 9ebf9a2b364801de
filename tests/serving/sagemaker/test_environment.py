from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from recserve.errors import ConfigError
from recserve.serving.sagemaker.environment import ContainerStart, Platform, container_start, find_models


def put_model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"")
    return folder


def test_the_platform_is_known_by_its_variables() -> None:
    assert not Platform({"PATH": "/"}).is_sagemaker
    platform = Platform({"SAGEMAKER_MULTI_MODEL": "True", "SAGEMAKER_BIND_TO_PORT": "9000"})
    assert (platform.is_sagemaker, platform.is_multi_model, platform.port()) == (True, True, 9000)
    assert Platform({}).port() == 8080
    with pytest.raises(ConfigError, match="SAGEMAKER_BIND_TO_PORT: port 'x' is no number"):
        Platform({"SAGEMAKER_BIND_TO_PORT": "x"}).port()


@pytest.mark.parametrize(
    ("variables", "dialect"),
    [
        ({}, "invocations"),
        ({"SAGEMAKER_MULTI_MODEL": "true"}, "sagemaker-mme"),
        ({"SAGEMAKER_TRITON_DEFAULT_MODEL_NAME": "m"}, "sagemaker-triton"),
        ({"RECSERVE_INVOCATIONS_DIALECT": "sagemaker"}, "sagemaker-tfs"),
        ({"RECSERVE_INVOCATIONS_DIALECT": "mlflow", "SAGEMAKER_X": "1"}, "mlflow"),
        ({"RECSERVE_INVOCATIONS_DIALECT": "sagemaker-triton"}, "sagemaker-triton"),
    ],
)
def test_variables_choose_the_dialect(variables: dict[str, str], dialect: str) -> None:
    assert Platform(variables).dialect() == dialect


def test_an_unknown_dialect_is_refused() -> None:
    with pytest.raises(ConfigError, match="RECSERVE_INVOCATIONS_DIALECT: there is no dialect 'x'"):
        Platform({"RECSERVE_INVOCATIONS_DIALECT": "x"}).dialect()


def test_batch_transform_is_told_its_parameters() -> None:
    assert Platform({}).execution_parameters(4, 32 << 20) == {
        "MaxConcurrentTransforms": 4,
        "BatchStrategy": "MULTI_RECORD",
        "MaxPayloadInMB": 6,
    }
    variables = {
        "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": "9",
        "SAGEMAKER_BATCH_STRATEGY": "single_record",
        "SAGEMAKER_MAX_PAYLOAD_IN_MB": "100",
    }
    assert Platform(variables).execution_parameters(4, 32 << 20) == {
        "MaxConcurrentTransforms": 9,
        "BatchStrategy": "SINGLE_RECORD",
        "MaxPayloadInMB": 32,
    }
    odd = dict.fromkeys(variables, "many")
    assert Platform(odd).execution_parameters(0, 1)["MaxConcurrentTransforms"] == 1


def test_paths_of_the_platform_are_mapped(tmp_path: Path) -> None:
    platform = Platform({"RECSERVE_OPT_ML": str(tmp_path)})
    assert platform.map_path("/opt/ml/models/a") == tmp_path / "models" / "a"
    assert platform.map_path("/opt/ml/models/../../../etc") == Path("/etc")
    assert Platform({}).map_path("/opt/ml/models/a") == Path("/opt/ml/models/a")


@pytest.mark.parametrize("layout", ["7", "m/7", "export/m/7", "export/7"])
def test_a_model_is_found_in_the_usual_layouts(tmp_path: Path, layout: str) -> None:
    put_model(tmp_path / Path(layout).parent / "6")
    folder = put_model(tmp_path / layout)
    assert find_models(tmp_path) == [folder]


def test_a_model_may_lie_in_the_folder_itself(tmp_path: Path) -> None:
    folder = put_model(tmp_path / "model")
    assert find_models(folder) == [folder]
    (folder / "model.onnx").unlink()
    for empty in (folder, tmp_path / "absent"):
        with pytest.raises(ConfigError, match="there is no model"):
            find_models(empty)


def test_a_container_starts_with_what_it_finds(tmp_path: Path) -> None:
    assert container_start({"RECSERVE_OPT_ML": str(tmp_path)}) is None
    folder = put_model(tmp_path / "model" / "m" / "7")
    variables = {"RECSERVE_OPT_ML": str(tmp_path)}
    assert container_start(variables) == ContainerStart([str(folder)], ["invocations:8080=m"])
    put_model(tmp_path / "model" / "n" / "1")
    start = container_start({**variables, "SAGEMAKER_TFS_DEFAULT_MODEL_NAME": "n"})
    assert start is not None
    assert start.dialects == ["invocations:8080=n"]
    start = container_start(variables)
    assert start is not None
    assert start.dialects == ["invocations:8080"]
    assert container_start({**variables, "SAGEMAKER_MULTI_MODEL": "true"}) == ContainerStart([], ["sagemaker-mme:8080"])


def test_the_command_without_arguments_serves_what_the_platform_brings(tmp_path: Path, dialect_models: Any) -> None:
    dialect_models.write_half_plus(tmp_path / "model" / "half" / "1", 2.0)
    program = "from recserve.cli import main; main()"
    variables = {"RECSERVE_OPT_ML": str(tmp_path), "SAGEMAKER_BIND_TO_PORT": "0"}
    with subprocess.Popen(
        [sys.executable, "-c", program, "serve"], env={**os.environ, **variables}, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().split(" on ")[1].strip().replace("0.0.0.0", "127.0.0.1")
            reply = httpx.post(f"{url}/invocations", json={"instances": [1.0]})
            assert (reply.status_code, reply.json()) == (200, {"predictions": [2.5]})
        finally:
            process.terminate()
            process.wait(30)
    assert process.returncode == 0
