from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from recserve.errors import ConfigError
from recserve.serving.batching.parameters import BatchingParameters, read_batching

FILE = """
max_batch_size { value: 32 }
batch_timeout_micros { value: 1500 }
max_enqueued_batches { value: 7 }
num_batch_threads { value: 3 }
allowed_batch_sizes: 8
allowed_batch_sizes: 32
pad_variable_length_inputs: true
thread_pool_name { value: "p" }
"""


def test_the_file_of_tensorflow_serving_is_read(tmp_path: Path) -> None:
    file = tmp_path / "batching.txt"
    file.write_text(FILE)
    parameters = read_batching(file)
    assert parameters == BatchingParameters(32, 0.0015, 7, 3, (8, 32), pad_variable_length_inputs=True)
    assert [parameters.padded(rows) for rows in (1, 8, 9, 32)] == [8, 8, 32, 32]
    file.write_text("")
    assert read_batching(file) == BatchingParameters()
    assert BatchingParameters().padded(5) == 5


def test_what_the_file_says_wrongly_is_told(tmp_path: Path) -> None:
    file = tmp_path / "batching.txt"
    file.write_text("max_batch: 3")
    with pytest.raises(ConfigError, match=r"batching.txt: cannot read batching parameters: .*max_batch"):
        read_batching(file)
    with pytest.raises(ConfigError, match="cannot read batching parameters"):
        read_batching(tmp_path / "none")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_batch_size": 0}, "batching parameters: max_batch_size is 0. It is at least 1."),
        ({"num_batch_threads": 0}, "num_batch_threads is 0"),
        ({"max_enqueued_batches": 0}, "max_enqueued_batches is 0"),
        ({"batch_timeout_s": -1.0}, "batch_timeout_micros is -1000000"),
        ({"max_batch_size": 8, "allowed_batch_sizes": (4, 6)}, "They rise, and the last one is 8."),
        ({"max_batch_size": 8, "allowed_batch_sizes": (8, 4, 8)}, "allowed_batch_sizes are 8, 4, 8"),
        (
            {"enable_large_batch_splitting": True, "max_execution_batch_size": 2000},
            "max_execution_batch_size is 2000. With",
        ),
    ],
)
def test_parameters_that_contradict_each_other_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        BatchingParameters(**options)
