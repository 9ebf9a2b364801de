"""Outputs of a model → the answer of a scoring request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from recserve.serving.tensor_text import encode_tensor


def encode_predictions(outputs: Mapping[str, NDArray[Any]], *, is_table: bool) -> bytes:
    """`{"predictions": ...}`.

    One output is its values. Several are an object of them; where a table was sent and each output has one value a row,
    they are a table too: one object a row.

    Raises:
        RequestError: an output has no form in JSON.
    """
    if len(outputs) == 1:
        ((name, tensor),) = outputs.items()
        return _wrap(encode_tensor(tensor, name))
    columns = {name: encode_tensor(_flat(tensor), name) for name, tensor in outputs.items()}
    if is_table and all(_is_column(tensor) for tensor in outputs.values()):
        lengths = {tensor.shape[0] for tensor in outputs.values()}
        if len(lengths) == 1:
            return _wrap(_records(columns, lengths.pop()))
    return _wrap(orjson.dumps({name: orjson.Fragment(encode_tensor(t, name)) for name, t in outputs.items()}))


def _wrap(predictions: bytes) -> bytes:
    return b'{"predictions":' + predictions + b"}"


def _is_column(tensor: NDArray[Any]) -> bool:
    return tensor.ndim == 1 or (tensor.ndim == 2 and tensor.shape[1] == 1)


def _flat(tensor: NDArray[Any]) -> NDArray[Any]:
    return tensor.reshape(-1) if _is_column(tensor) else tensor


def _records(columns: Mapping[str, bytes], rows: int) -> bytes:
    """One object a row, from the JSON lists of the columns."""
    names = list(columns)
    values = [_items(text) for text in columns.values()]
    cells = np.empty((rows, len(names)), object)
    for column, items in enumerate(values):
        cells[:, column] = items
    return orjson.dumps(list(map(dict, map(zip, [names] * rows, cells.tolist()))))


def _items(text: bytes) -> list[Any]:
    """The items of a JSON list, each as the text that it has, so that numbers and odd tokens stay as they are."""
    try:
        plain = orjson.loads(text)
    except orjson.JSONDecodeError:  # NaN or infinities; a list of numbers, so commas part them
        return list(map(orjson.Fragment, text[1:-1].split(b",")))
    return list(plain)
