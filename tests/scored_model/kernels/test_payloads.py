"""Payloads spread over columns."""

from __future__ import annotations

import numpy as np

from recserve.scored_model.kernels.payloads import copy_cells


def test_each_payload_goes_to_its_row() -> None:
    values = np.arange(12.0)
    cells = np.zeros((3, 4))
    copy_cells(values.ctypes.data, np.array([6, 0, 3]), np.array([3, 0, 1]), cells)
    assert cells.T.tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0], [0.0, 0.0, 0.0], [6.0, 7.0, 8.0]]
