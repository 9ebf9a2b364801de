"""What a plain model takes and gives: named tensors, grouped into signatures.

Every protocol (TensorFlow Serving, Open Inference, SageMaker, MLflow, H2O) describes and calls a model by these.
A string tensor is a NumPy object array of `bytes`; the other dtypes are NumPy's own, with `ml_dtypes.bfloat16` for
`bfloat16`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Tensor = NDArray[Any]
Method = Literal["predict", "classify", "regress"]

DEFAULT_SIGNATURE = "serving_default"
DTYPES = (
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "bfloat16",
    "float32",
    "float64",
    "complex64",
    "complex128",
    "string",
)
"""Names of tensor dtypes."""


@dataclass(frozen=True)
class TensorSpec:
    """One input or output.

    Attributes:
        name: the name that callers use.
        dtype: one of `DTYPES`.
        shape: a size an axis, None where it varies; None as a whole where even the rank varies.
        tensor_name: what the graph calls it; the name where that does not differ.
        is_optional: whether a call may leave it out; what is missing then counts as missing values.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None = None
    tensor_name: str = ""
    is_optional: bool = False


@dataclass(frozen=True)
class Signature:
    """One way to call a model.

    Attributes:
        name: `serving_default` unless the model says otherwise.
        inputs, outputs: by name, in the order of the model.
        method: `predict` takes tensors; `classify` and `regress` take examples (feature → values). A `classify`
            signature puts out `scores` (float[rows, classes]) and, where it has labels, `classes` (string, same shape);
            a `regress` signature puts out `outputs` (float[rows] or float[rows, 1]).
    """

    name: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    method: Method = "predict"


class TensorModel(Protocol):
    """A loaded version of a model that takes and gives named tensors. Threads may call `run` at once."""

    @property
    def name(self) -> str:
        """Name of the model, as the URL has it."""

    @property
    def version(self) -> int:
        """Version of the model."""

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Signature by name; never empty."""

    def run(
        self, signature: str, inputs: Mapping[str, Tensor], outputs: Sequence[str] | None = None
    ) -> dict[str, Tensor]:
        """Compute outputs of a signature.

        Args:
            signature: a name of `signatures`.
            inputs: tensor by input name, already of the declared dtype. Their shapes are not checked before.
            outputs: the names to compute; None for all of the signature, in its order.

        Raises:
            RequestError: names, dtypes or shapes are not what the model takes.
        """

    def close(self) -> None:
        """Give back memory; `run` must not be called again."""


def numpy_dtype(dtype: str) -> np.dtype[Any]:
    """NumPy dtype of a tensor dtype's name; object for `string`."""
    if dtype == "string":
        return np.dtype(object)
    if dtype == "bfloat16":
        import ml_dtypes

        bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return bfloat16
    return np.dtype(dtype)
