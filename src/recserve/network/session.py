"""Runs a part of a network on the CPU with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from recserve.errors import ConfigError

Array = npt.NDArray[Any]


class Session:
    """One loaded graph. Calls from several threads are safe.

    Args:
        model: a serialised ONNX model.
        threads: threads inside one op; 1 keeps a call on the caller's thread.

    Raises:
        ConfigError: ONNX Runtime cannot load the model.
    """

    def __init__(self, model: bytes, threads: int = 1) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            first = str(error).strip().splitlines()[0]
            raise ConfigError(
                f"ONNX Runtime {onnxruntime.__version__} cannot load the graph: {first}",
                hint="Check that every op is of a standard domain and of a supported opset",
            ) from error
        self.inputs: tuple[str, ...] = tuple(i.name for i in self._session.get_inputs())
        self.outputs: tuple[str, ...] = tuple(o.name for o in self._session.get_outputs())
        self._names = list(self.outputs)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Evaluate the graph.

        Args:
            feeds: one array per input, of its dtype. C-contiguous arrays are read in place.

        Returns:
            One array per output.
        """
        return dict(zip(self._names, self._session.run(self._names, feeds), strict=True))
