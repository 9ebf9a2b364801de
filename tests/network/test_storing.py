"""Options of storing say what they cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from recserve.errors import ConfigError
from recserve.network.storing import StoreOptions

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"item_count": 0}, "item_count is 0, expected a whole number from 1"),
    ({"item_count": 1.5}, "item_count is 1.5, expected a whole number from 1"),
    ({"candidates_per_request": True}, "candidates_per_request is True, expected a whole number from 1"),
    ({"requests_per_s": -1}, "requests_per_s is -1, expected a number from 0"),
    ({"item_updates_per_s": float("nan")}, "item_updates_per_s is nan, expected a number from 0"),
    ({"rebuilds_per_day": float("inf")}, "rebuilds_per_day is inf, expected a number from 0"),
    ({"max_rebuild_s": "1"}, "max_rebuild_s is '1', expected a number from 0"),
    ({"max_payload_bytes_per_item": -4}, "max_payload_bytes_per_item is -4, expected a whole number from 0"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_a_wrong_option_is_refused_by_name_and_value(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        StoreOptions(**options)
    assert message in str(caught.value)
    assert caught.value.code == "bad_storing"


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"storing\.payload_precision: unknown precision 'int9'.*int8"):
        StoreOptions(payload_precision="int9")


def test_options_come_from_texts() -> None:
    texts = ["item_count=2000000", "requests_per_s=0.5", "max_payload_bytes_per_item=2048", "max_rebuild_s=1e3"]
    assert StoreOptions.parse(texts, 500) == StoreOptions(
        2_000_000, 500, 0.5, max_payload_bytes_per_item=2048, max_rebuild_s=1000.0
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("item_cuont=1", r"'item_cuont=1' names no expectation.*item_count"),
        ("payload_precision=int8", "names no expectation"),
        ("item_count=many", r"'item_count=many' is not NAME=NUMBER.*Write item_count=1000"),
        ("item_count", r"'item_count' is not NAME=NUMBER"),
        ("item_count=-5", r"item_count is -5, expected a whole number from 1"),
        ("max_rebuild_s=nan", r"max_rebuild_s is nan, expected a number from 0"),
    ],
)
def test_a_wrong_text_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        StoreOptions.parse([text])


def test_rebuilds_are_spread_over_the_day() -> None:
    options = StoreOptions(item_count=86_400, item_updates_per_s=5, rebuilds_per_day=2)
    assert options.item_runs_per_s == 7
    assert options.candidates_per_s == 30_000


@pytest.mark.parametrize(("precision", "size"), [("fp32", 40), ("fp16", 20), ("bf16", 20), ("int8", 16)])
def test_bytes_follow_the_precision(precision: str, size: int) -> None:
    assert StoreOptions(payload_precision=precision).stored_bytes(10) == size
