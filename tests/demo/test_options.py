import sys

import pytest

from recserve.demo.options import DemoOptions
from recserve.errors import ConfigError


def test_a_negative_seed_is_an_error():
    with pytest.raises(ConfigError, match="--seed: seed -1 is below 0"):
        DemoOptions(seed=-1)


@pytest.mark.parametrize("is_terminal", [True, False])
@pytest.mark.parametrize("ci", ["", "true"])
def test_it_keeps_serving_where_there_is_a_terminal_and_no_ci(monkeypatch, is_terminal, ci):
    monkeypatch.setenv("CI", ci)
    for stream in ("stdin", "stdout"):
        monkeypatch.setattr(getattr(sys, stream), "isatty", lambda: is_terminal)
    assert DemoOptions().keeps_serving == (is_terminal and not ci)
    assert DemoOptions(serve=True).keeps_serving
    assert not DemoOptions(serve=False).keeps_serving
