"""Runs a SavedModel with TensorFlow: for string, lookup and other ops that ONNX lacks. TensorFlow is optional."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from recserve.errors import ConfigError, RequestError, suggest
from recserve.network.session import Slot
from recserve.signatures import Tensor

_TYPES: Final = {
    "float32": "tensor(float)",
    "float64": "tensor(double)",
    **{name: f"tensor({name})" for name in ("bool", "float16", "string")},
    **{f"{sign}int{bits}": f"tensor({sign}int{bits})" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
_METHODS: Final = {"tensorflow/serving/classify": "classify", "tensorflow/serving/regress": "regress"}
_NEEDED: Final = {"classify": "scores", "regress": "outputs"}

# What TensorFlow adds to every model for its own book-keeping.
_HIDDEN: Final = frozenset({"__saved_model_init_op", "__saved_model_train_op"})


class SavedModel:
    """A loaded SavedModel.

    Args:
        path: the directory with `saved_model.pb`.
        threads: threads inside one op; TensorFlow takes the first model's for the whole process.

    Raises:
        ConfigError: TensorFlow is not installed ("missing_library"), or cannot load the model ("damaged_model").
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        self.path = path
        self._tf = _load_tensorflow(path, threads)
        try:
            self._loaded: Any = self._tf.saved_model.load(str(path))
        except Exception as error:  # TensorFlow raises many classes here, those of Python's own too
            raise ConfigError(
                f"TensorFlow cannot load it: {first_line(error)}", code="damaged_model", where=str(path)
            ) from error
        self._functions = {key: function for key, function in self._loaded.signatures.items() if key not in _HIDDEN}
        if not self._functions:
            raise ConfigError(
                "the SavedModel has no signatures",
                code="unsupported_element",
                where=str(path),
                hint="Save it with signatures=...; Keras: model.export(path)",
            )

    def signature(self, name: str) -> SavedSignature:
        """What runs one signature.

        Raises:
            ConfigError: there is none of that name.
        """
        function = self._functions.get(name)
        if function is None:
            hint = suggest(name, self._functions) or f"It has {', '.join(map(repr, self._functions))}."
            raise ConfigError(f"the SavedModel has no signature {name!r}", where=str(self.path), hint=hint)
        return SavedSignature(self._tf, function)

    def declaration(self) -> dict[str, Any]:
        """Its signatures as model.json has them, with their methods and shapes."""
        methods = self._methods()
        entries = {}
        for key in self._functions:
            inputs, outputs = self.signature(key).slots()
            entry: dict[str, Any] = {"inputs": _entries(inputs), "outputs": _entries(outputs)}
            method = _METHODS.get(methods.get(key, ""), "predict")
            if _NEEDED.get(method, method) in entry["outputs"]:
                entry["method"] = method
            entries[key] = entry
        return {"engine": "tensorflow", "signatures": entries}

    def _methods(self) -> dict[str, str]:
        """Method of each signature, which loading does not keep."""
        from tensorflow.python.saved_model import loader_impl

        graph = loader_impl.parse_saved_model(str(self.path)).meta_graphs[0]
        return {key: signature.method_name for key, signature in graph.signature_def.items()}


class SavedSignature:
    """One signature of a SavedModel; an engine of a plain model. Calls from several threads are safe."""

    takes_bytes = True

    def __init__(self, tf: Any, function: Any) -> None:
        self._tf, self.function = tf, function
        self.specs: dict[str, Any] = function.structured_input_signature[1]

    def slots(self) -> tuple[tuple[Slot, ...], tuple[Slot, ...]]:
        """Inputs and outputs, by the signature's names."""
        return _slots(self.specs), _slots(self.function.structured_outputs)

    def compute(self, feeds: Mapping[str, Tensor], names: Sequence[str]) -> list[Tensor]:
        """Evaluate the signature.

        Args:
            feeds: one array per input; a string tensor is an object array of `bytes`.
            names: the outputs to give.

        Raises:
            RequestError: the model refuses the tensors.
        """
        try:
            tensors = {
                key: self._tf.constant(feeds[key], dtype=spec.dtype, shape=np.shape(feeds[key]))
                for key, spec in self.specs.items()
            }
            answers = self.function(**tensors)
            return [_array(answers[name]) for name in names]
        except Exception as error:  # TensorFlow raises its own classes and Python's
            raise RequestError(f"the model refuses the inputs: {first_line(error)}", code="model_refuses") from error


def _array(tensor: Any) -> Tensor:
    array = tensor.numpy()
    if isinstance(array, bytes):
        scalar = np.empty((), object)
        scalar[()] = array
        return scalar
    return np.asarray(array)


def _slots(specs: Mapping[str, Any]) -> tuple[Slot, ...]:
    return tuple(
        Slot(
            name,
            _TYPES.get(spec.dtype.name, f"tensorflow({spec.dtype.name})"),
            None if spec.shape.rank is None else tuple(spec.shape.as_list()),
        )
        for name, spec in specs.items()
    )


def _entries(slots: Sequence[Slot]) -> dict[str, dict[str, Any]]:
    return {
        slot.name: {"tensor": slot.name} | ({} if slot.shape is None else {"shape": list(slot.shape)}) for slot in slots
    }


def _load_tensorflow(path: Path, threads: int) -> Any:
    try:
        import tensorflow as tf
    except ImportError as error:
        raise ConfigError(
            "this SavedModel runs in TensorFlow, which is not installed",
            code="missing_library",
            where=str(path),
            hint="pip install tensorflow-cpu; or import the model where all its ops convert to ONNX",
        ) from error
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    except RuntimeError:
        return tf  # it runs already, with the threads of the first model
    return tf


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its class."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
