"""Split rows by time, so that a model is judged on what came after the rows it learned from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recserve.dtypes import I64
from recserve.errors import ConfigError, DataError


def split_by_time(times: npt.ArrayLike, valid_share: float) -> tuple[I64, I64]:
    """Rows before a moment, and rows at or after it. No time is on both sides, so requests stay whole.

    Args:
        times: [N] integers, floats or datetime64.
        valid_share: 0 < share < 1 of the rows that should come after; ties at the cut make it a little more or less.

    Returns:
        (train, valid): int64 row numbers, each ascending in row number, both non-empty.

    Raises:
        ConfigError: a share outside 0 … 1.
        DataError: fewer than two distinct times, or a time that is missing.
    """
    if not 0 < valid_share < 1:
        raise ConfigError(f"valid_share {valid_share} is not between 0 and 1", hint="0.2 keeps the last fifth")
    moments = np.asarray(times)
    if moments.ndim != 1 or moments.dtype.kind not in "iufM":
        raise DataError(f"times are {moments.dtype}{list(moments.shape)}, not one axis of numbers or datetime64")
    missing = np.flatnonzero(np.isnat(moments) if moments.dtype.kind == "M" else ~np.isfinite(moments))
    if len(missing):
        raise DataError(f"the time of row {missing[0]} is missing")
    distinct, counts = np.unique(moments, return_counts=True)
    if len(distinct) < 2:
        raise DataError(f"{len(moments)} rows hold {len(distinct)} distinct times, but a split needs two")
    before = np.cumsum(counts)[:-1]
    nearest = int(np.argmin(np.abs(before - (1 - valid_share) * len(moments))))
    is_valid = moments >= distinct[nearest + 1]
    return np.flatnonzero(~is_valid), np.flatnonzero(is_valid)
