"""Payloads of candidates as columns."""

from __future__ import annotations

from numba import njit

from recserve.dtypes import F64, I64
from recserve.memory import view_f64


@njit("void(int64, int64[::1], int64[::1], float64[:, ::1])", cache=True, nogil=True)
def copy_cells(values: int, starts: I64, places: I64, cells: F64) -> None:
    """Spread payloads over columns.

    Args:
        values: address of the float64 elements of all payloads.
        starts: int64[n], first element of each payload; it has as many as there are columns.
        places: int64[n], the row of each.
        cells: float64[columns, rows], written.
    """
    for n in range(len(starts)):
        payload = view_f64(values + 8 * starts[n], cells.shape[0])
        for column in range(cells.shape[0]):
            cells[column, places[n]] = payload[column]
