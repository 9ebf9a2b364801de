"""CRC-32C (Castagnoli), the checksum of TFRecord files."""

# mypy: disallow-untyped-decorators=False

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit, types

from recserve.dtypes import U8

_POLYNOMIAL: Final = 0x82F63B78
_READ_ONLY = types.Array(types.uint8, 1, "C", readonly=True)


def _make_table() -> Any:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(_POLYNOMIAL), table >> 1)
    return table


_TABLE: Final = _make_table()


@njit([types.uint32(_READ_ONLY)], cache=True, nogil=True)
def crc32c(data: U8) -> Any:
    """The checksum of the bytes, as uint32."""
    crc = np.uint32(0xFFFFFFFF)
    for n in range(len(data)):
        crc = np.uint32(_TABLE[(crc ^ data[n]) & np.uint32(0xFF)] ^ (crc >> np.uint32(8)))
    return np.uint32(crc ^ np.uint32(0xFFFFFFFF))
