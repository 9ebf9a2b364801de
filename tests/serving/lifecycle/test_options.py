from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recserve.errors import ConfigError
from recserve.serving.lifecycle.base import Arrival
from recserve.serving.lifecycle.model_config import ModelConfig
from recserve.serving.lifecycle.options import LifecycleOptions, Retries


def test_waits_grow_to_a_limit_and_end_where_that_is_wanted() -> None:
    retries = Retries()
    assert [retries.wait_s(tries) for tries in (1, 2, 3, 7, 10_000)] == [1, 2, 4, 60, 60]
    limited = Retries(5.0, 1.0, 5.0, most=2)
    assert [limited.wait_s(tries) for tries in (1, 2, 3)] == [5.0, 5.0, None]
    assert Retries(most=0).wait_s(1) is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"swap": "resources"}, "there is no swap 'resources'. Did you mean 'resource'?"),
        ({"swap": "x"}, "there is no swap 'x'. Kinds: availability, resource."),
        ({"models": ()}, "models to watch come from base directories or from a config file. Give one."),
        ({"config_file": Path("f")}, "models to watch come from base directories or from a config file. Give one."),
        ({"arrival": Arrival(-1)}, "settle_s is -1. It is at least 0."),
        ({"load_threads": -1}, "load_threads is -1. It is at least 0; 0 means 1."),
    ],
)
def test_options_that_cannot_be_are_told(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        LifecycleOptions(**{"models": [ModelConfig("m", "/m")]} | wrong)
    assert str(caught.value) == message
