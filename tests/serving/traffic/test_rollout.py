from __future__ import annotations

from typing import Any

import pytest

from recserve.errors import ConfigError
from recserve.serving.traffic.rollout import Rollout, read_rollout


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "here: stable: Field required"),
        ([], "here: the body: Input should be a valid dictionary or instance of Rollout"),
        ({"stable": 1, "canry": 2}, "here: canry: Extra inputs are not permitted"),
        ({"stable": 1, "canary_bp": 10_001}, "here: canary_bp: Input should be less than or equal to 10000"),
        ({"stable": 1, "canary": 1}, "here: version 1 is the canary and something else"),
        ({"stable": 1, "arms": {"1": 5}}, "here: version 1 is stable and an arm"),
        ({"stable": 1, "shadows": [1]}, "here: version 1 is stable and its own shadow"),
        (
            {"stable": 1, "arms": {"2": 9000}, "canary": 3, "canary_bp": 2000},
            "the shares are 11000 basis points together. They are at most 10000.",
        ),
    ],
)
def test_a_wrong_rollout_is_told(document: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_rollout(document, "here")
    assert str(caught.value) == message


def test_a_rollout_knows_its_versions_and_what_follows() -> None:
    rollout = read_rollout(
        {"stable": 1, "canary": 2, "canary_bp": 50, "arms": {"3": 10}, "shadows": [4], "rule": {"promotes": True}}, ""
    )
    assert rollout.versions() == {1, 2, 3, 4}
    assert list(rollout.split().shares.items()) == [(3, 10), (2, 50)]
    assert rollout.promoted() == Rollout(stable=2)
    assert rollout.rolled_back() == Rollout(stable=1)
    with pytest.raises(ConfigError, match=r"there is no canary to promote\. Give a version a share first\."):
        Rollout(stable=1).promoted()
