"""One table of dtypes: config name ↔ NumPy ↔ ONNX.

Names are those of NumPy; `string` is UTF-8 bytes. ONNX codes are `onnx.TensorProto.DataType`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class DType:
    """One dtype under its names in each place."""

    name: str
    numpy: np.dtype[np.generic] | None
    """None for `string`, which NumPy has no flat layout for."""
    onnx: int
    size_bytes: int
    """Bytes of one element; 0 where it varies."""


def _fixed(name: str, onnx: int) -> DType:
    dtype: np.dtype[np.generic] = np.dtype(name)
    return DType(name, dtype, onnx, dtype.itemsize)


DTYPES: Final[dict[str, DType]] = {
    d.name: d
    for d in (
        _fixed("float32", 1),
        _fixed("uint8", 2),
        _fixed("int8", 3),
        _fixed("int32", 6),
        _fixed("int64", 7),
        DType("string", None, 8, 0),
        _fixed("bool", 9),
        _fixed("float16", 10),
        _fixed("float64", 11),
    )
}
BY_ONNX: Final[dict[int, DType]] = {d.onnx: d for d in DTYPES.values()}
