from __future__ import annotations

import subprocess
import sys

import pytest

import recserve.training


def run_python(source: str) -> str:
    return subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True).stdout.strip()


def test_every_public_name_is_there() -> None:
    for name in recserve.training.__all__:
        assert getattr(recserve.training, name).__name__ == name


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'recserve.training' has no attribute 'trian'"):
        recserve.training.trian  # noqa: B018


def test_metrics_splits_and_popularity_do_not_load_torch() -> None:
    source = "import sys; from recserve.training import auc, split_by_time, Popularity; print('torch' in sys.modules)"
    assert run_python(source) == "False"


def test_without_torch_the_error_names_the_extra() -> None:
    source = """
import sys
sys.modules["torch"] = None
try:
    from recserve.training import train
except Exception as error:
    print(type(error).__name__, error)
"""
    expected = (
        "ConfigError training needs torch, which is not installed. Install the extra: pip install 'recserve[train]'"
    )
    assert run_python(source) == expected
