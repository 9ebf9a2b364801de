"""Runs a part of a network with ONNX Runtime: on the CPU, or through its CUDA or TensorRT provider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy.typing as npt

from recserve.errors import ConfigError, RequestError
from recserve.network.stopping import Stoppable, StoppedError, current_stoppable, stopped

Array = npt.NDArray[Any]

_FATAL: Final = 4
"""What ONNX Runtime logs of a call that may be stopped: its errors are raised, and need no line in the log."""

_PROVIDERS: Final = {
    "onnxruntime": ("CPUExecutionProvider",),
    "cuda": ("CUDAExecutionProvider", "CPUExecutionProvider"),
    "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
}
"""ONNX Runtime's words for our engines; what the first cannot run, the next does."""


@dataclass(frozen=True)
class Slot:
    """An input or output of a graph, as its file declares it.

    Attributes:
        name: of the tensor.
        type: ONNX Runtime's word, such as `tensor(float)`.
        shape: a size an axis, None where it varies; None as a whole where the file declares no rank.
        is_optional: whether the graph has a value for it.
    """

    name: str
    type: str
    shape: tuple[int | None, ...] | None
    is_optional: bool = False


class Session:
    """One loaded graph. Calls from several threads are safe; `Stoppable` work ends between two nodes of the graph.

    Args:
        model: a serialised ONNX model, or the path of one, which may keep its weights in files beside it.
        threads: threads inside one op; 1 keeps a call on the caller's thread.
        provider: "onnxruntime" for the CPU, "cuda" or "tensorrt".

    Raises:
        ConfigError: the provider is not part of the ONNX Runtime that is installed, or finds no device; or ONNX Runtime
            cannot load the model.
    """

    def __init__(self, model: bytes | Path, threads: int = 1, provider: str = "onnxruntime") -> None:
        import onnxruntime

        wanted = _PROVIDERS[provider]
        if wanted[0] not in onnxruntime.get_available_providers():
            raise _absent(provider, f"ONNX Runtime {onnxruntime.__version__} as installed has no {wanted[0]}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        source = str(model) if isinstance(model, Path) else model
        try:
            self._session = onnxruntime.InferenceSession(source, options, providers=list(wanted))
        except Exception as error:
            first = str(error).strip().splitlines()[0]
            raise ConfigError(
                f"ONNX Runtime {onnxruntime.__version__} cannot load the graph: {first}",
                hint="Check that every op is of a standard domain and of a supported opset",
            ) from error
        if wanted[0] not in self._session.get_providers():
            raise _absent(provider, f"{wanted[0]} does not start on this machine")
        self.inputs: tuple[str, ...] = tuple(i.name for i in self._session.get_inputs())
        self.outputs: tuple[str, ...] = tuple(o.name for o in self._session.get_outputs())
        self._names = list(self.outputs)
        self._options = onnxruntime.RunOptions

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Evaluate the graph.

        Args:
            feeds: one array per input, of its dtype. C-contiguous arrays are read in place.

        Returns:
            One array per output.

        Raises:
            StoppedError: the work of this thread was stopped.
        """
        work = current_stoppable()
        results = self._session.run(self._names, feeds) if work is None else self._run_for(work, self._names, feeds)
        return dict(zip(self._names, results, strict=True))

    def _run_for(self, work: Stoppable, names: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
        """Evaluate outputs for work that may be stopped meanwhile."""
        options = self._options()
        options.log_severity_level = _FATAL
        work.enter(partial(setattr, options, "terminate", True))
        try:
            results: list[Array] = self._session.run(names, feeds, options)
        except Exception as error:
            if work.is_stopped:
                raise stopped() from error
            raise
        finally:
            work.leave()
        return results

    def slots(self) -> tuple[tuple[Slot, ...], tuple[Slot, ...]]:
        """The inputs (with those that the graph has values for, last) and the outputs, as the file declares them."""
        # No shape and the shape of a scalar look the same here.
        inputs = [Slot(i.name, i.type, _shape(i.shape)) for i in self._session.get_inputs()]
        inputs += [Slot(i.name, i.type, _shape(i.shape), True) for i in self._session.get_overridable_initializers()]
        return tuple(inputs), tuple(Slot(o.name, o.type, _shape(o.shape)) for o in self._session.get_outputs())

    def compute(self, feeds: Mapping[str, Array], names: Sequence[str]) -> list[Array]:
        """Evaluate some outputs on a caller's tensors.

        Args:
            feeds: one array per input that is not optional; a string tensor is an object array of `str`.
            names: the outputs to compute.

        Raises:
            RequestError: the graph refuses the tensors: their rank, a size, or what an op makes of them.
            StoppedError: the work of this thread was stopped.
        """
        work = current_stoppable()
        try:
            if work is not None:
                return self._run_for(work, names, dict(feeds))
            results: list[Array] = self._session.run(names, dict(feeds))
        except StoppedError:
            raise
        except Exception as error:
            text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise RequestError(f"the model refuses the inputs: {text}", code="model_refuses") from error
        return results


def _shape(sizes: Sequence[Any]) -> tuple[int | None, ...] | None:
    return tuple(size if isinstance(size, int) else None for size in sizes) if sizes else None


def version() -> str:
    """Of ONNX Runtime."""
    import onnxruntime

    return str(onnxruntime.__version__)


def _absent(provider: str, what: str) -> ConfigError:
    return ConfigError(
        what,
        code="engine_absent",
        where=f"engine {provider!r}",
        hint="Install onnxruntime-gpu and the driver, or choose the engine onnxruntime or openvino",
    )
