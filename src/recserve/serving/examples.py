"""Examples of classify and regress calls → the inputs of a signature, and its outputs → results.

A signature takes examples in one of two ways: one string input of rank 1 named `inputs` or `examples` gets each example
serialised as a `tf.train.Example`, as exported TensorFlow models want them; any other input is a feature, of which each
example has as many values as the input has places.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from recserve.errors import RequestError
from recserve.signatures import Signature, Tensor, TensorSpec, numpy_dtype

Example = dict[str, Any]
"""Feature → list of `int` (int64), of `float` (float32) or of `bytes`; of one kind, perhaps empty."""

SERIALISED_NAMES: Final = ("inputs", "examples")
_KINDS: Final[dict[str, tuple[type, str]]] = {
    **dict.fromkeys(("float16", "bfloat16", "float32", "float64"), (float, "float")),
    **dict.fromkeys(("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"), (int, "int64")),
    "string": (bytes, "string"),
}
_NAMES: Final = {float: "float", int: "int64", bytes: "string"}


def examples_to_inputs(signature: Signature, examples: Sequence[Example]) -> dict[str, Tensor]:
    """The inputs of a classify or regress signature.

    Args:
        signature: of method `classify` or `regress`.
        examples: at least one.

    Returns:
        Tensor by input name, with the examples as first axis.

    Raises:
        RequestError: an example lacks a feature, or has it of another kind or length.
    """
    if is_serialised(signature):
        (name,) = signature.inputs
        column = np.empty(len(examples), object)
        column[:] = [serialise(example) for example in examples]
        return {name: column}
    return {
        name: _column(spec, examples)
        for name, spec in signature.inputs.items()
        if not (spec.is_optional and all(name not in example for example in examples))
    }


def is_serialised(signature: Signature) -> bool:
    """Whether the signature takes each example whole, as a serialised `tf.train.Example`."""
    specs = list(signature.inputs.values())
    return (
        len(specs) == 1
        and specs[0].name in SERIALISED_NAMES
        and specs[0].dtype == "string"
        and (specs[0].shape is None or len(specs[0].shape) == 1)
    )


def _column(spec: TensorSpec, examples: Sequence[Example]) -> Tensor:
    """One feature of all examples as a tensor."""
    sizes = (None,) if spec.shape is None else spec.shape[1:]
    kind, wanted = _KINDS.get(spec.dtype, (None, spec.dtype))
    values: list[Any] = []
    length = None if None in sizes else math.prod(size for size in sizes if size is not None)
    for index, example in enumerate(examples):
        if spec.name not in example:
            raise RequestError(
                f"Feature: {spec.name} (data type: {wanted}) is required but could not be found.",
                code="missing_feature",
            )
        feature = example[spec.name]
        if feature and type(feature[0]) is not kind:
            raise RequestError(
                f"Feature: {spec.name}.  Data types don't match. Expected type: {wanted}, "
                f"but got type: {_NAMES[type(feature[0])]}",
                code="wrong_kind_of_feature",
            )
        length = len(feature) if length is None else length
        if len(feature) != length:
            raise RequestError(
                f"Key: {spec.name}, Index: {index}.  Number of {wanted} values != expected.  "
                f"Values size: {len(feature)} but output shape: {list(sizes)}",
                code="wrong_length_of_feature",
            )
        values.extend(feature)
    array = np.empty(len(values), object)
    array[:] = values
    with np.errstate(over="ignore", under="ignore"):
        flat = array.astype(numpy_dtype(spec.dtype))
    if sizes.count(None) > 1 or not flat.size:
        return flat.reshape(len(examples), length or 0)
    try:
        return flat.reshape([len(examples), *(-1 if size is None else size for size in sizes)])
    except ValueError:
        raise RequestError(
            f"Key: {spec.name}.  {length} values fit no shape {list(sizes)}", code="wrong_length_of_feature"
        ) from None


# --- tf.train.Example ---------------------------------------------------------------------------------------------


def serialise(example: Example) -> bytes:
    """An example as the bytes of a `tf.train.Example`: features by name, each a list of one kind."""
    features = b"".join(
        _field(1, _field(1, name.encode("utf-8", "surrogateescape")) + _field(2, _feature(values)))
        for name, values in sorted(example.items())
    )
    return _field(1, features)


def _feature(values: Sequence[Any]) -> bytes:
    if not values:
        return b""
    if isinstance(values[0], bytes):
        return _field(1, b"".join(_field(1, value) for value in values))
    if isinstance(values[0], float):
        with np.errstate(over="ignore", under="ignore"):
            packed = np.array(values, np.float64).astype("<f4").tobytes()
        return _field(2, _field(1, packed))
    return _field(3, _field(1, b"".join(_varint(value & 0xFFFF_FFFF_FFFF_FFFF) for value in values)))


def _field(number: int, content: bytes) -> bytes:
    return struct.pack("B", number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


# --- Results ------------------------------------------------------------------------------------------------------


def regressions(signature: Signature, outputs: Mapping[str, Tensor], rows: int) -> Tensor:
    """The results of a regress call: float32[rows].

    Raises:
        RequestError: `outputs` is no float[rows] or float[rows, 1]. A signature that declares its number of rows gives
            that many, whatever the number of examples.
    """
    values = outputs["outputs"]
    if values.ndim not in (1, 2) or (values.ndim == 2 and values.shape[1] != 1):
        raise RequestError(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {list(values.shape)}",
            code="model_refuses",
        )
    _check_rows(signature.outputs["outputs"], values, rows)
    return values.reshape(-1).astype(np.float32)


def classifications(signature: Signature, outputs: Mapping[str, Tensor], rows: int) -> tuple[Tensor, Tensor | None]:
    """The results of a classify call: scores, float32[rows, classes], and labels of the same shape, or None.

    Raises:
        RequestError: `scores` is no float[rows, classes], or `classes` has another shape.
    """
    scores = outputs["scores"]
    labels = outputs.get("classes")
    if scores.ndim != 2:
        raise RequestError(
            f"Expected Tensor shape: [batch_size num_classes] but got {list(scores.shape)}", code="model_refuses"
        )
    if labels is not None and labels.shape != scores.shape:
        raise RequestError(
            f"Scores have shape {list(scores.shape)}, classes have {list(labels.shape)}", code="model_refuses"
        )
    _check_rows(signature.outputs["scores"], scores, rows)
    return scores.astype(np.float32), labels


def _check_rows(spec: TensorSpec, values: Tensor, rows: int) -> None:
    is_declared = bool(spec.shape) and spec.shape is not None and spec.shape[0] is not None
    if not is_declared and values.shape[0] != rows:
        raise RequestError(
            f"Input batch size did not match output batch size. Expected {rows} but got {values.shape[0]}",
            code="model_refuses",
        )
