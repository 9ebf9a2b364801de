"""What the shapes of a signature say of batches and of requests without JSON.

A model batches when every input and output begins with a size that varies: that axis is the batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recserve.errors import RequestError
from recserve.serving.body import Body
from recserve.serving.oip.datatypes import datatype_of
from recserve.serving.oip.tensors import parse_binary
from recserve.signatures import Signature, TensorSpec, numpy_dtype


def is_batching(signature: Signature) -> bool:
    """Whether the first axis of every tensor is the batch."""
    specs = [*signature.inputs.values(), *signature.outputs.values()]
    return bool(signature.inputs) and all(spec.shape and spec.shape[0] is None for spec in specs)


def count_rows(signature: Signature, inputs: Mapping[str, NDArray[Any]]) -> int:
    """Rows of a request's batch, for the statistics: the most that an input has; 1 where the model does not batch."""
    if not is_batching(signature):
        return 1
    return max((tensor.shape[0] for tensor in inputs.values() if tensor.ndim), default=1)


def check_shape(spec: TensorSpec, shape: tuple[int, ...], model: str) -> None:
    """Hold the shape of an input to its specification.

    Raises:
        RequestError: another rank, or another size where the specification fixes it.
    """
    if spec.shape is None:
        return
    fits = len(shape) == len(spec.shape) and all(
        want is None or want == got for want, got in zip(spec.shape, shape, strict=True)
    )
    if not fits:
        raise RequestError(
            f"unexpected shape for input '{spec.name}' for model '{model}'. Expected {shape_text(spec.shape)}, "
            f"got {shape_text(shape)}"
        )


def shape_text(shape: tuple[int | None, ...]) -> str:
    """`[-1,16]`: sizes, −1 where one varies."""
    return f"[{','.join(str(-1 if size is None else size) for size in shape)}]"


def shape_list(spec: TensorSpec) -> list[int]:
    """The shape as the protocol lists it; [−1] where even the rank varies."""
    return [-1] if spec.shape is None else [-1 if size is None else size for size in spec.shape]


def parse_raw_input(signature: Signature, body: Body, model: str) -> dict[str, NDArray[Any]]:
    """The only input of a model, from a body that is nothing but its bytes.

    The batch is one row; at most one more size may vary, which the number of bytes then gives.

    Raises:
        RequestError: the model has several inputs, the shape cannot be told, or the bytes do not fill it.
    """
    if len(signature.inputs) != 1:
        raise RequestError(
            f"Raw request must only have 1 input (found 1) to be deduced but got {len(signature.inputs)} inputs in "
            f"'{model}' model configuration"
        )
    (spec,) = signature.inputs.values()
    sizes: list[int | None] = [None] if spec.shape is None else list(spec.shape)
    batch = [1] if len(sizes) > 1 and sizes[0] is None else []
    sizes = sizes[len(batch) :]
    varying = [axis for axis, size in enumerate(sizes) if size is None]
    if len(varying) > 1:
        raise RequestError(
            f"The shape of the raw input '{spec.name}' can not be deduced because there are more than one "
            "variable-sized dimension"
        )
    elements = math.prod(size for size in sizes if size is not None)
    if spec.dtype == "string":
        if varying or elements != 1:
            raise RequestError(f"For BYTE datatype raw input '{spec.name}', the model must have input shape [1]")
        text = np.empty((), object)
        text[()] = bytes(body)
        return {spec.name: text.reshape([*batch, *(1 for _ in sizes)])}
    if varying:
        row_bytes = elements * numpy_dtype(spec.dtype).itemsize
        sizes[varying[0]] = len(body) // row_bytes if row_bytes else 0
    shape = [*batch, *(size or 0 for size in sizes)]
    return {spec.name: parse_binary(spec.name, datatype_of(spec.dtype), shape, memoryview(body), model)}
