"""What the peers share: the sessions of the models, and requests as the wires bring them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import onnxruntime

DTYPES: Final = {"tensor(float)": np.dtype(np.float32), "tensor(int64)": np.dtype(np.int64)}
MODELS: Final = ("a", "b", "c")


class Graph:
    """A model in ONNX Runtime, on one thread.

    Args:
        models: the base directory.
        name: of the model.
    """

    def __init__(self, models: str, name: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(f"{models}/{name}/1/model.onnx", options, ["CPUExecutionProvider"])
        slots = self._session.get_inputs()
        self.dtypes = {slot.name: DTYPES[slot.type] for slot in slots}
        self.shapes = {slot.name: tuple(slot.shape[1:]) for slot in slots}

    def run(self, inputs: Mapping[str, Any]) -> Any:
        """The scores of tensors by input name."""
        return self._session.run(None, dict(inputs))[0]

    def run_lists(self, columns: Mapping[str, Any]) -> Any:
        """The scores of nested lists by input name."""
        return self.run({name: np.asarray(columns[name], dtype) for name, dtype in self.dtypes.items()})

    def run_bytes(self, body: bytes, rows: int | None = None) -> Any:
        """The scores of tensors one after the other; after an int64 with the number of rows where that is not given."""
        at = 0
        if rows is None:
            rows, at = int(np.frombuffer(body, np.int64, 1)[0]), 8
        feeds = {}
        for name, dtype in self.dtypes.items():
            shape = (rows, *self.shapes[name])
            count = int(np.prod(shape))
            feeds[name] = np.frombuffer(body, dtype, count, at).reshape(shape)
            at += count * dtype.itemsize
        return self.run(feeds)
