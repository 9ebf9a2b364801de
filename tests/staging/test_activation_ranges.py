"""Calibration sees what the candidate network reads, on drawn requests or on samples, and leaves nothing behind."""

from __future__ import annotations

from typing import Any

import pytest

from recserve.bundle import Bundle
from recserve.errors import ConfigError
from recserve.staging.activation_ranges import calibrate


def test_ranges_are_those_of_the_samples(market: Any) -> None:
    pipeline = Bundle.open(market.bundle("deepfm")).pipeline()
    samples = {"user_id": [1, 2, 3], "item_id": [4, 5, 6]}
    for source in (None, samples):
        try:
            ranges = calibrate(pipeline, source)
        except ConfigError as error:
            assert error.code == "nothing_to_quantise"  # noqa: PT017 - the shop's network may be small
            pytest.skip("the shop's network is too small")
        assert ranges == calibrate(pipeline, source)
        assert all(low <= 0 <= high for _, low, high in ranges)
        assert pipeline.candidate.runner.observe is None
