"""A flat network as a TensorFlow SavedModel, called in a process of its own that times itself.

TensorFlow is in no environment of recserve's own; `make test-interop` makes one that has it. The SavedModel has a
`tf.function` with one TensorFlow op for each node of the exported graph, and its weights: the same network, by the same
weights. Its signature takes tensors and gives tensors; nothing is encoded.

`TensorFlow` is the side of the benchmark, which knows no TensorFlow. This file is also the other side, run as
`PYTHON network_tensorflow.py FOLDER`: it reads `network.onnx` and `feeds.npz`, writes `outputs.npz`, and answers each
line with a count by the microseconds of as many calls.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

Array = np.ndarray[Any, Any]
Ops = dict[str, Callable[..., Any]]


class TensorFlow:
    """A SavedModel of a flat network, in a process of its own.

    Args:
        python: of an environment that has TensorFlow, onnx and NumPy.
        model: a serialised ONNX network.
        feeds: its inputs.
        folder: an empty one.

    Raises:
        RuntimeError: the process ends, with the last line that it wrote.
    """

    def __init__(self, python: Path, model: bytes, feeds: Mapping[str, Array], folder: Path) -> None:
        (folder / "network.onnx").write_bytes(model)
        np.savez(folder / "feeds.npz", allow_pickle=False, **feeds)
        self._log: Final = folder / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603
                [str(python), str(Path(__file__).resolve()), str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.time_calls(1)
        with np.load(folder / "outputs.npz") as outputs:
            self.outputs: Final = dict(outputs)

    def __call__(self) -> dict[str, Array]:
        """The outputs, of a call that was just made."""
        self.time_calls(1)
        return self.outputs

    def time_calls(self, count: int) -> list[float]:
        """Microseconds of so many calls, as the process measured them."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{count}\n")
            self._process.stdin.flush()
            return [float(value) for value in json.loads(self._process.stdout.readline())]
        except (OSError, ValueError) as error:
            lines = self._log.read_text(errors="replace").strip().splitlines()
            raise RuntimeError(lines[-1] if lines else "TensorFlow's process ended") from error

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


def _list_ops(tf: Any) -> Ops:
    """What TensorFlow calls the ops of exported ranking networks: functions of (inputs, attributes)."""
    binary = {"Add": tf.add, "Sub": tf.subtract, "Mul": tf.multiply, "Div": tf.divide, "Less": tf.less}
    unary = {"Identity": tf.identity, "Relu": tf.nn.relu, "Sigmoid": tf.sigmoid, "Sqrt": tf.sqrt, "Tanh": tf.tanh}
    ops: Ops = {name: lambda x, _, op=op: op(x[0], x[1]) for name, op in binary.items()}
    ops |= {name: lambda x, _, op=op: op(x[0]) for name, op in unary.items()}
    ops |= {
        "MatMul": lambda x, _: tf.matmul(x[0], x[1]),
        "Gemm": lambda x, a: _gemm(tf, x, a),
        "Cast": lambda x, a: tf.cast(x[0], {1: tf.float32, 7: tf.int64, 9: tf.bool}[a["to"]]),
        "Concat": lambda x, a: tf.concat(x, a["axis"]),
        "Expand": lambda x, _: tf.broadcast_to(x[0], tf.broadcast_dynamic_shape(tf.shape(x[0], tf.int64), x[1])),
        "Gather": lambda x, a: tf.gather(x[0], x[1], axis=a.get("axis", 0)),
        "LayerNormalization": lambda x, a: _normalise(tf, x, a),
        "Range": lambda x, _: tf.range(x[0], x[1], x[2]),
        "ReduceSum": lambda x, a: tf.reduce_sum(
            x[0], np.ravel(x[1:]).tolist() or None, keepdims=bool(a.get("keepdims", 1))
        ),
        "Reshape": lambda x, _: tf.reshape(x[0], x[1]),
        "Shape": lambda x, a: tf.shape(x[0], tf.int64)[a.get("start", 0) : a.get("end")],
        "Softmax": lambda x, a: tf.nn.softmax(x[0], a["axis"]),
        "Squeeze": lambda x, _: tf.squeeze(x[0], np.ravel(x[1:]).tolist() or None),
        "Transpose": lambda x, a: tf.transpose(x[0], a["perm"]),
        "Unsqueeze": lambda x, _: _unsqueeze(tf, x),
    }
    return ops


def _gemm(tf: Any, inputs: list[Any], attributes: Mapping[str, Any]) -> Any:
    product = tf.matmul(inputs[0], inputs[1], transpose_b=bool(attributes.get("transB")))
    return tf.nn.bias_add(product, inputs[2]) if len(inputs) > 2 else product


def _normalise(tf: Any, inputs: list[Any], attributes: Mapping[str, Any]) -> Any:
    """As Keras writes it: moments, then one batch normalisation."""
    mean, variance = tf.nn.moments(inputs[0], [-1], keepdims=True)
    return tf.nn.batch_normalization(inputs[0], mean, variance, inputs[2], inputs[1], attributes["epsilon"])


def _unsqueeze(tf: Any, inputs: list[Any]) -> Any:
    value = inputs[0]
    for axis in sorted(np.atleast_1d(inputs[1]).tolist()):
        value = tf.expand_dims(value, axis)
    return value


def _write_saved_model(tf: Any, folder: Path) -> tuple[list[str], list[str]]:
    """Write the network of `network.onnx`, node by node: inputs x0, x1 ... and outputs y0, y1 ...; give their names."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load_model(str(folder / "network.onnx")).graph
    ops = _list_ops(tf)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    module = tf.Module()
    module.weights = {name: tf.Variable(value) for name, value in constants.items() if value.dtype == np.float32}

    def call(**feeds: Any) -> dict[str, Any]:
        values = {name: value for name, value in constants.items() if name not in module.weights}
        values |= {name: variable.read_value() for name, variable in module.weights.items()}
        values |= {value.name: feeds[f"x{at}"] for at, value in enumerate(graph.input)}
        for node in graph.node:
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            values[node.output[0]] = ops[node.op_type]([values[name] for name in node.input if name], attributes)
        return {f"y{at}": values[output.name] for at, output in enumerate(graph.output)}

    specs = {
        f"x{at}": tf.TensorSpec(
            [dim.dim_value or None for dim in value.type.tensor_type.shape.dim],
            tf.as_dtype(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)),
            f"x{at}",
        )
        for at, value in enumerate(graph.input)
    }
    module.call = tf.function(call, autograph=False)
    tf.saved_model.save(module, str(folder / "saved"), signatures=module.call.get_concrete_function(**specs))
    return [value.name for value in graph.input], [value.name for value in graph.output]


def main() -> None:
    """The process with TensorFlow."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    folder = Path(sys.argv[1])
    inputs, names = _write_saved_model(tf, folder)
    signature = tf.saved_model.load(str(folder / "saved")).signatures["serving_default"]
    with np.load(folder / "feeds.npz") as arrays:
        feeds = {f"x{at}": tf.constant(arrays[name]) for at, name in enumerate(inputs)}
    feeds = {name: feed for name, feed in feeds.items() if name in signature.structured_input_signature[1]}
    found = signature(**feeds)
    outputs = {name: found[f"y{at}"].numpy() for at, name in enumerate(names)}
    np.savez(folder / "outputs.npz", allow_pickle=False, **outputs)
    for line in sys.stdin:
        taken = []
        for _ in range(int(line)):
            start = time.perf_counter_ns()
            for out in signature(**feeds).values():
                out.numpy()
            taken.append((time.perf_counter_ns() - start) / 1e3)
        print(json.dumps(taken), flush=True)


if __name__ == "__main__":
    main()
