"""Kernels between features, tables and network.

Axes: N rows, G sequence groups, M members of groups.
"""

from __future__ import annotations

from numba import njit

from recserve.dtypes import I64
from recserve.memory import ENDS, STARTS, STRIDE, view_i64


@njit(cache=True, nogil=True)
def count_steps(values: I64, members: I64, lengths: I64, most: I64, rows: int) -> int:
    """Count the steps of every sequence group, and check that its members agree.

    Args:
        values: int64[values, FIELDS], the value table.
        members: int64[M, 2]: group, and row of `values` of a STEPS value; members of a group are neighbours.
        lengths: int64[G, N or more]; lengths[g, n] is written.
        most: int64[G]; the longest of each group is written.
        rows: N.

    Returns:
        -1, or m * rows + n for the first member m that has another number of steps in row n than its group.
    """
    previous = -1
    for m in range(len(members)):
        group = members[m, 0]
        value = values[members[m, 1]]
        stride = 8 * value[STRIDE]
        longest = 0
        for n in range(rows):
            at = n * stride
            count = view_i64(value[ENDS] + at, 1)[0] - view_i64(value[STARTS] + at, 1)[0]
            if group != previous:
                lengths[group, n] = count
            elif lengths[group, n] != count:
                return m * rows + n
            longest = max(longest, count)
        most[group] = longest
        previous = group
    return -1
