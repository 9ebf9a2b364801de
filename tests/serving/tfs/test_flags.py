from __future__ import annotations

from pathlib import Path

import pytest

from recserve.errors import ConfigError
from recserve.serving.tfs.flags import FLAGS, translate_flags


def said(*arguments: str, **environment: str) -> list[str]:
    return translate_flags(arguments, environment).arguments


def test_a_model_server_command_line_starts_the_same_ports_and_models() -> None:
    line = said("--port=8500", "--rest_api_port=8501", "--model_name=ctr", "--model_base_path=/models/ctr")
    assert line == ["--base", "ctr=/models/ctr", "--host", "0.0.0.0", "--dialect", "grpc:8500", "--dialect", "tfs:8501"]


def test_names_ports_and_values_have_the_model_servers_defaults() -> None:
    assert said("--model_base_path", "/m") == ["--base", "default=/m", "--host", "0.0.0.0", "--dialect", "grpc:8500"]
    assert said("--model_config_file=/m.cfg", "--rest_api_port", "9") == [
        *("--host", "0.0.0.0", "--dialect", "grpc:8500", "--dialect", "tfs:9", "--model-config-file", "/m.cfg")
    ]


def test_flags_of_the_lifecycle_reach_the_options() -> None:
    line = said(
        "--model_base_path=/m",
        "--file_system_poll_wait_seconds=-7",
        "--max_num_load_retries=3",
        "--load_retry_interval_micros=500000",
        "--num_load_threads=2",
        "--allow_version_labels_for_unavailable_models",
        "--noenable_model_warmup",
        "--enable_serialization_as_tensor_content=true",
    )
    assert line[6:] == [
        *("--poll", "-1", "--load-retries", "3", "--retry-seconds", "0.5", "--load-threads", "2"),
        *("--unavailable-labels", "--no-warm-up", "--tensor-content"),
    ]


def test_what_has_no_meaning_is_told_once_and_defaults_are_not() -> None:
    translated = translate_flags(
        ["--model_base_path=/m", "--tensorflow_intra_op_parallelism=4", "--saved_model_tags=serve"], {}
    )
    assert translated.warnings == [
        "--tensorflow_intra_op_parallelism=4 has no meaning here and is ignored; use --threads"
    ]
    translated = translate_flags(["--model_base_path=/m", "--mixed_precision=bfloat16"], {})
    assert translated.warnings == ["--mixed_precision=bfloat16 has no meaning here and is ignored"]


def test_the_containers_environment_is_the_command_line_where_there_is_none() -> None:
    assert said(MODEL_NAME="ctr") == [
        *("--base", "ctr=/models/ctr", "--host", "0.0.0.0"),
        *("--dialect", "grpc:8500", "--dialect", "tfs:8501"),
    ]
    assert said(MODEL_BASE_PATH="/srv/")[1] == "model=/srv/model"
    assert said("models", MODEL_NAME="ctr") == ["models"]


def test_own_command_lines_stay_as_they_are() -> None:
    for line in (["models/rank/7", "--port", "8501"], ["m", "--rest_api_port", "1"], [], ["m", "--dialect=tfs:1"]):
        assert said(*line) == line


def test_own_ports_stay_and_come_first() -> None:
    line = said("--model_base_path=/m", "--port=1", "--dialect", "oip:2", "--host", "::1")
    assert line == ["--dialect", "oip:2", "--host", "::1", "--base", "default=/m", "--dialect", "grpc:1"]
    assert said("--model_base_path=/m", "--dialect", "oip:1") == ["--dialect", "oip:1", "--base", "default=/m"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model_base_path=/m", "--port=x"], "--port: 'x' is no whole number"),
        (["--model_base_path=/m", "--enable_batching=maybe"], "--enable_batching: 'maybe' is neither true nor false"),
        (["--model_base_path"], "--model_base_path: has no value. Write --model_base_path=VALUE."),
        (
            ["--model_base_path=/m", "--model_config_file=/f"],
            "--model_base_path: a model and a config file are given. Leave one of them out.",
        ),
        (
            ["--model_base_path=/m", "--batching_parameters_file=/f", "--enable_batching=false"],
            "--batching_parameters_file: a batching file is given and batching is not on. "
            "Add --enable_batching, or leave the file out.",
        ),
    ],
)
def test_wrong_values_are_told(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        translate_flags(arguments, {})
    assert str(caught.value) == message


def test_every_flag_can_be_given() -> None:
    values = {bool: "true", int: "1", float: "0.5", str: "x"}
    for name, flag in FLAGS.items():
        if name != "model_config_file":
            line = ["--model_base_path=/m", "--enable_batching", f"--{name}={values[flag.kind]}"]
            translate_flags(line, {})


def test_the_page_for_those_who_move_names_every_flag_and_tells_its_warning() -> None:
    page = Path(__file__).parents[3] / "docs" / "how-to" / "move_from_tensorflow_serving.md"
    same, _, ignored = page.read_text("utf-8").partition("## Flags")[2].partition("### Accepted and ignored")
    for name, flag in FLAGS.items():
        has_meaning = flag.says is not None or name in ("port", "rest_api_port", "model_name", "model_base_path")
        assert f"`{name}`" in (same if has_meaning else ignored), name
