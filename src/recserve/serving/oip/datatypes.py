"""The protocol's names of datatypes, and the dtypes of signatures that they stand for."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

DTYPE_OF: Final = MappingProxyType(
    {
        "BOOL": "bool",
        "UINT8": "uint8",
        "UINT16": "uint16",
        "UINT32": "uint32",
        "UINT64": "uint64",
        "INT8": "int8",
        "INT16": "int16",
        "INT32": "int32",
        "INT64": "int64",
        "FP16": "float16",
        "BF16": "bfloat16",
        "FP32": "float32",
        "FP64": "float64",
        "BYTES": "string",
    }
)
"""Datatype → dtype of a signature."""

DATATYPE_OF: Final = MappingProxyType({dtype: datatype for datatype, dtype in DTYPE_OF.items()})
"""Dtype of a signature → datatype; complex dtypes have none."""

BINARY_ONLY: Final = frozenset({"FP16", "BF16"})
"""Datatypes that no JSON number stands for: they travel in binary form only."""

INVALID: Final = "INVALID"
"""What a tensor is called whose dtype the protocol has no name for."""


def datatype_of(dtype: str) -> str:
    """The datatype of a signature's dtype; `INVALID` where there is none."""
    return DATATYPE_OF.get(dtype, INVALID)


def config_type_of(dtype: str) -> str:
    """The datatype as model configurations write it: `TYPE_FP32`, `TYPE_STRING`, `TYPE_INVALID`."""
    return "TYPE_STRING" if dtype == "string" else f"TYPE_{datatype_of(dtype)}"
