"""Runs a part of a network on the CPU with OpenVINO: in float32, with products in bfloat16, or quantised."""

from __future__ import annotations

import functools
import io
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import numpy.typing as npt
import onnx

from recserve.errors import ConfigError, RequestError
from recserve.network.session import Slot
from recserve.network.stopping import Stoppable, current_stoppable, stopped

Array = npt.NDArray[Any]

_LONG_S: Final = 5e-3
"""A graph whose last call took longer is run on OpenVINO's own thread where it may be stopped: only such calls can be,
and the two hand-overs cost some tens of microseconds."""


@functools.cache
def _core() -> Any:
    """One for the process: it holds the plugins."""
    try:
        import openvino
    except ImportError as error:
        raise ConfigError(
            "OpenVINO is not installed",
            code="engine_absent",
            where="engine 'openvino'",
            hint="Install it with: pip install openvino; or choose the engine onnxruntime",
        ) from error
    return openvino.Core()


def is_available() -> bool:
    """OpenVINO is installed."""
    try:
        _core()
    except ConfigError:
        return False
    return True


def version() -> str:
    """Of OpenVINO; empty where it is not installed."""
    if not is_available():
        return ""
    import openvino

    return str(openvino.__version__)


def computes_in(precision: str) -> bool:
    """This machine has instructions for a precision: it is no gain elsewhere."""
    if not is_available():
        return False
    words = {"fp32": "FP32", "bf16": "BF16"}
    return words[precision] in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class OpenVinoSession:
    """One loaded graph. Calls from several threads are safe, but run one after the other.

    The first call of a shape prepares code for it, which takes milliseconds: meet all shapes before the first request.

    Args:
        model: a serialised ONNX model.
        precision: "fp32", or "bf16" for products in bfloat16 with sums in float32; a processor without instructions
            for it computes in float32. "int8" is that of a model whose large products are quantised: what is not
            quantised runs in bfloat16 where the processor has it.
        threads: inside one call.

    Raises:
        ConfigError: OpenVINO is not installed, or cannot load the model.
    """

    def __init__(self, model: bytes, precision: str = "fp32", threads: int = 1) -> None:
        core = _core()
        import openvino

        self._tensor: Final = openvino.Tensor
        settings = {
            # Without it OpenVINO takes bfloat16 wherever the processor has it.
            "INFERENCE_PRECISION_HINT": "f32" if precision == "fp32" or not computes_in("bf16") else "bf16",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            # Workers share the machine: the operating system places them.
            "ENABLE_CPU_PINNING": False,
        }
        try:
            self._compiled = core.compile_model(core.read_model(io.BytesIO(model)), "CPU", settings)
        except RuntimeError as error:
            text = str(error).strip().splitlines()[-1]
            raise ConfigError(
                f"OpenVINO {openvino.__version__} cannot load the graph: {text}",
                code="engine_refuses",
                hint="Choose the engine onnxruntime",
            ) from error
        # A port may go by several names; the order of the ports is that of the graph.
        graph = onnx.load_model_from_string(model).graph
        weights = {tensor.name for tensor in graph.initializer}
        self.inputs: tuple[str, ...] = tuple(i.name for i in graph.input if i.name not in weights)
        self.outputs: tuple[str, ...] = tuple(o.name for o in graph.output)
        self._slots = (
            tuple(_slot(value) for value in graph.input if value.name not in weights),
            tuple(_slot(value) for value in graph.output),
        )
        self._idle: deque[Any] = deque()
        self._is_long = False

    @classmethod
    def of_file(cls, path: Path, precision: str = "fp32", threads: int = 1) -> OpenVinoSession:
        """Load a graph from its file, which may keep its weights in files beside it.

        Raises:
            ConfigError: as the class; or the file is no ONNX model.
        """
        try:
            model = onnx.load_model(str(path)).SerializeToString()
        except Exception as error:  # protobuf has many
            raise ConfigError(f"the file is no ONNX model that can be read: {error}", where=str(path)) from error
        return cls(model, precision, threads)

    def slots(self) -> tuple[tuple[Slot, ...], tuple[Slot, ...]]:
        """The inputs and the outputs, as the file declares them, in ONNX Runtime's words."""
        return self._slots

    def compute(self, feeds: Mapping[str, Array], names: Sequence[str]) -> list[Array]:
        """Evaluate some outputs on a caller's tensors.

        Raises:
            RequestError: an input is missing, or the graph refuses the tensors.
        """
        missing = [name for name in self.inputs if name not in feeds]
        if missing:
            raise RequestError(f"the model refuses the inputs: {missing[0]!r} is missing", code="model_refuses")
        found = self.run(feeds)
        return [found[name] for name in names]

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Evaluate the graph; the GIL is released meanwhile.

        Args:
            feeds: one array per input, of its dtype. C-contiguous arrays are read in place.

        Returns:
            One array per output, a copy.

        Raises:
            RequestError: the graph refuses the tensors.
            StoppedError: the work of this thread was stopped.
        """
        work = current_stoppable()
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        try:
            kept = [_shareable(feeds[name]) for name in self.inputs]
            for at, array in enumerate(kept):
                request.set_input_tensor(at, self._tensor(array, shared_memory=True))
            began_s = perf_counter()
            if work is None or not self._is_long:
                request.infer()
            else:
                _infer_for(work, request)
            self._is_long = perf_counter() - began_s > _LONG_S
            return {name: request.get_output_tensor(at).data.copy() for at, name in enumerate(self.outputs)}
        except RuntimeError as error:
            if work is not None and work.is_stopped:
                raise stopped() from error
            text = str(error).strip().splitlines()[-1]
            raise RequestError(f"the model refuses the inputs: {text}", code="model_refuses") from error
        finally:
            self._idle.append(request)


class _Held:
    """A request that runs for somebody, until it is let go of."""

    def __init__(self, request: Any) -> None:
        self._request, self._lock = request, threading.Lock()

    def cancel(self) -> None:
        """End the call, if it is still that of its holder."""
        with self._lock:
            if self._request is not None:
                self._request.cancel()

    def let_go(self) -> None:
        """Whoever has the request next is not to be stopped."""
        with self._lock:
            self._request = None


def _infer_for(work: Stoppable, request: Any) -> None:
    """Evaluate the graph for work that may be stopped meanwhile."""
    held = _Held(request)
    work.enter(held.cancel)
    try:
        request.start_async()
        if work.is_stopped:  # maybe before there was anything to cancel
            request.cancel()
        request.wait()
    finally:
        work.leave()
        held.let_go()


def _shareable(array: Array) -> Array:
    """The array, or a copy where OpenVINO cannot read it in place: it takes none that is read-only."""
    flags = array.flags
    return array if flags.c_contiguous and flags.writeable else array.copy(order="C")


def _slot(value: Any) -> Slot:
    tensor = value.type.tensor_type
    word = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
    sizes = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim)
    return Slot(value.name, f"tensor({word})", sizes if tensor.HasField("shape") else None)
