from __future__ import annotations

import pytest

from recserve.cli.samples import parse_goals
from recserve.errors import ConfigError
from recserve.samples.join import Goal


def test_goals_name_an_event_and_a_window() -> None:
    assert parse_goals(["ctr=click:30m", "cvr=buy:7d", "x=y z:5ms", "s=a:2s", "h=a:1h"]) == {
        "ctr": Goal("click", 1_800_000),
        "cvr": Goal("buy", 604_800_000),
        "x": Goal("y z", 5),
        "s": Goal("a", 2_000),
        "h": Goal("a", 3_600_000),
    }


@pytest.mark.parametrize("text", ["", "ctr", "ctr=click", "ctr=click:30", "ctr=click:30w", "=click:3m", "ctr=:3m"])
def test_another_form_is_told(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_goals([text])
    assert str(caught.value) == f"--goal: cannot read {text!r}. Write NAME=EVENT:WINDOW: ctr=click:30m."


def test_a_goal_stands_once_and_has_a_window() -> None:
    with pytest.raises(ConfigError, match="--goal: goal 'a' twice"):
        parse_goals(["a=b:1m", "a=c:1m"])
    with pytest.raises(ConfigError, match="0 ms"):
        parse_goals(["a=b:0m"])
