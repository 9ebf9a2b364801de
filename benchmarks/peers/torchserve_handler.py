"""The handler that TorchServe loads: the same nets in PyTorch, its native form, with the weights of the ONNX files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper

STEPS = 50


class Handler:
    """A model of the benchmark; `a`, `b` or `c` by the name that TorchServe gives it."""

    def initialize(self, context: Any) -> None:
        """Read the weights."""
        torch.set_num_threads(1)
        self.name = context.manifest["model"]["modelName"]
        folder = Path(context.system_properties["model_dir"])
        graph = onnx.load(str(folder / "model.onnx")).graph
        self.weights = {w.name: torch.from_numpy(numpy_helper.to_array(w).copy()) for w in graph.initializer}
        types = {onnx.TensorProto.FLOAT: np.dtype(np.float32), onnx.TensorProto.INT64: np.dtype(np.int64)}
        self.inputs = {}
        for slot in graph.input:
            shape = [dim.dim_value for dim in slot.type.tensor_type.shape.dim[1:]]
            self.inputs[slot.name] = types[slot.type.tensor_type.elem_type], shape

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[Any]:
        """Scores of each request of the batch."""
        answers: list[Any] = []
        for request in data:
            body = request.get("body", request.get("data"))
            is_raw = isinstance(body, bytes | bytearray) and context.get_request_header(0, "Content-Type") == (
                "application/octet-stream"
            )
            if is_raw:
                feeds = self._read(bytes(body))
            else:
                document = json.loads(body) if isinstance(body, bytes | bytearray) else body
                columns = document["inputs"]
                feeds = {name: torch.from_numpy(np.asarray(columns[name], t)) for name, (t, _) in self.inputs.items()}
            with torch.inference_mode():
                scores = self._score(feeds).numpy()
            answers.append(scores.tobytes() if is_raw else {"outputs": scores.tolist()})
        return answers

    def _read(self, body: bytes) -> dict[str, torch.Tensor]:
        rows, at, feeds = int(np.frombuffer(body, np.int64, 1)[0]), 8, {}
        for name, (dtype, shape) in self.inputs.items():
            count = rows * int(np.prod(shape))
            feeds[name] = torch.from_numpy(np.frombuffer(body, dtype, count, at).reshape(rows, *shape).copy())
            at += count * dtype.itemsize
        return feeds

    def _layers(self, prefix: str, x: torch.Tensor, count: int) -> torch.Tensor:
        for n in range(count):
            x = x @ self.weights[f"{prefix}w{n}"] + self.weights[f"{prefix}b{n}"]
            x = torch.relu(x) if n < count - 1 else x
        return x

    def _score(self, feeds: dict[str, torch.Tensor]) -> torch.Tensor:
        if self.name == "a":
            return 0.5 * feeds["x"] + 2
        if self.name == "b":
            return self._layers("l", torch.cat([feeds["user"], feeds["item"], feeds["cross"]], 1), 4)
        keys = feeds["k"]
        wide = feeds["q"][:, None].expand_as(keys)
        weights = self._layers("t", torch.cat([wide, keys, wide - keys, wide * keys], 2), 3)
        is_real = torch.arange(STEPS)[None] < feeds["lengths"][:, None]
        pooled = (weights * is_real[..., None] * keys).sum(1)
        return self._layers("l", torch.cat([feeds["q"], pooled, feeds["fields"]], 1), 3)


_handler = Handler()


def handle(data: list[dict[str, Any]] | None, context: Any) -> list[Any] | None:
    """TorchServe's entry: None is the call that loads."""
    if not hasattr(_handler, "weights"):
        _handler.initialize(context)
    return None if data is None else _handler.handle(data, context)
