"""A plain model: its signatures over one graph."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from recserve.errors import ConfigError, RequestError, suggest
from recserve.network.session import Slot
from recserve.plain_model.declared import DECLARATION_FILE, Declaration, SignatureEntry, TensorEntry, load_declaration
from recserve.plain_model.engines import MODEL_FILE, Engine, find_opener, find_saved_model
from recserve.plain_model.strings import to_bytes, to_text
from recserve.signatures import Signature, Tensor, TensorSpec, numpy_dtype

_DTYPES: Final = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    **{f"tensor({name})": name for name in ("bool", "float16", "string")},
    **{f"tensorflow({name})": name for name in ("bfloat16", "complex64", "complex128")},
    **{f"tensor({sign}int{bits})": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
_PARTS: Final[dict[str, np.dtype[Any]]] = {"complex64": np.dtype(np.float32), "complex128": np.dtype(np.float64)}


@dataclass(frozen=True)
class _Binding:
    """A name of a signature and the graph's tensor behind it; dtypes as names."""

    spec: TensorSpec
    graph_dtype: str

    @property
    def is_same(self) -> bool:
        """Whether callers send or get the very tensor of the graph."""
        return self.spec.dtype == self.graph_dtype != "string"

    def feed(self, tensor: Tensor) -> Tensor:
        """The caller's tensor as the graph takes it."""
        if self.spec.dtype in _PARTS and self.graph_dtype not in _PARTS:
            parts = np.ascontiguousarray(tensor).view(_PARTS[self.spec.dtype])
            tensor = parts.reshape((*tensor.shape, 2))
        return tensor.astype(numpy_dtype(self.graph_dtype), copy=False)

    def give(self, tensor: Tensor) -> Tensor:
        """The graph's tensor as callers get it."""
        if self.spec.dtype not in _PARTS or self.graph_dtype in _PARTS:
            return tensor.astype(numpy_dtype(self.spec.dtype), copy=False)
        if tensor.ndim == 0 or tensor.shape[-1] != 2:
            raise RequestError(
                f"output {self.spec.name!r} has shape {list(tensor.shape)}, not real and imaginary parts",
                code="model_refuses",
            )
        parts: Tensor = np.ascontiguousarray(tensor.astype(_PARTS[self.spec.dtype], copy=False))
        whole: Tensor = parts.view(numpy_dtype(self.spec.dtype)).reshape(tensor.shape[:-1])
        return whole


@dataclass(frozen=True)
class _Call:
    """A signature, ready to run."""

    engine: Engine
    signature: Signature
    inputs: Mapping[str, _Binding]
    outputs: Mapping[str, _Binding]
    class_labels: Tensor | None
    taken: Mapping[str, tuple[str, np.dtype[Any]]] | None
    """Input name → tensor of the graph and its dtype; None where values are converted."""
    given: Mapping[str, str] | None
    """Output name → tensor of the graph; None where values are converted, or made."""


class _Signatures(dict[str, Signature]):
    """By name, with one that answers to unknown names where the author wants that."""

    fallback: str | None = None

    def __missing__(self, name: str) -> Signature:
        if self.fallback is None:
            raise KeyError(name)
        return self[self.fallback]


class PlainModel:
    """A version of a plain model; a `recserve.signatures.TensorModel`. Threads may call `run` at once.

    Attributes:
        directory: of the version.
        version_labels: labels that its author wants for this version.
    """

    def __init__(self, calls: Mapping[str, _Call], directory: Path, name: str, version: int) -> None:
        self.directory = directory
        self.version_labels: tuple[str, ...] = ()
        self._calls: Mapping[str, _Call] | None = calls
        self._signatures = _Signatures({key: call.signature for key, call in calls.items()})
        self._name, self._version = name, version

    @property
    def name(self) -> str:
        """Name of the model, as the URL has it."""
        return self._name

    @property
    def version(self) -> int:
        """Version of the model."""
        return self._version

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Signature by name. One may answer to names that are not listed; `signatures[name]` finds it."""
        return self._signatures

    def answer_to_any(self, signature: str | None) -> None:
        """Let a signature answer to names that are not listed; None to refuse them."""
        self._signatures.fallback = signature

    def run(
        self, signature: str, inputs: Mapping[str, Tensor], outputs: Sequence[str] | None = None
    ) -> dict[str, Tensor]:
        """Compute outputs of a signature.

        Args:
            signature: a name of `signatures`.
            inputs: tensor by input name, of the declared dtype; a string tensor is an object array of `bytes`.
            outputs: the names to compute; None for all of the signature, in its order.

        Raises:
            RequestError: the graph refuses the tensors.
        """
        calls = self._calls
        if calls is None:
            raise RequestError(f"model {self._name!r} version {self._version} is closed")
        call = calls[self._signatures[signature].name]
        if call.taken is None or call.given is None:
            return self._run_converted(call, inputs, outputs)
        feeds = {}
        for name, tensor in inputs.items():
            inner, dtype = call.taken[name]
            feeds[inner] = tensor if tensor.dtype is dtype else tensor.astype(dtype, copy=False)
        names = call.given if outputs is None else outputs
        results = call.engine.compute(feeds, [call.given[name] for name in names])
        return dict(zip(names, map(np.asarray, results), strict=True))

    def _run_converted(
        self, call: _Call, inputs: Mapping[str, Tensor], outputs: Sequence[str] | None
    ) -> dict[str, Tensor]:
        engine = call.engine
        feeds: dict[str, Tensor] = {}
        is_replaced = False
        for name, tensor in inputs.items():
            binding = call.inputs[name]
            if binding.graph_dtype == "string" and not engine.takes_bytes:
                feeds[binding.spec.tensor_name], replaced = to_text(tensor)
                is_replaced |= replaced
            else:
                feeds[binding.spec.tensor_name] = binding.feed(tensor)
        wanted = list(call.signature.outputs if outputs is None else outputs)
        computed = [name for name in wanted if name in call.outputs]
        needs_scores = call.class_labels is not None and "classes" in wanted and "scores" not in computed
        fetched = [*computed, "scores"] if needs_scores else computed
        results = engine.compute(feeds, [call.outputs[name].spec.tensor_name for name in fetched])
        is_text = not engine.takes_bytes
        given = {
            name: to_bytes(result, is_replaced) if is_text and binding.graph_dtype == "string" else binding.give(result)
            for name, result in zip(fetched, map(np.asarray, results), strict=True)
            for binding in (call.outputs[name],)
        }
        if call.class_labels is not None and "classes" in wanted:
            given["classes"] = _label(given["scores"], call.class_labels)
        return {name: given[name] for name in wanted}

    def describe(self) -> dict[str, Any]:
        """The signatures as plain JSON."""

        def tensors(specs: Mapping[str, TensorSpec]) -> dict[str, Any]:
            return {name: {"dtype": spec.dtype, "shape": spec.shape} for name, spec in specs.items()}

        return {
            "signatures": {
                name: {"method": s.method, "inputs": tensors(s.inputs), "outputs": tensors(s.outputs)}
                for name, s in self._signatures.items()
            }
        }

    def close(self) -> None:
        """Give back memory; `run` must not be called again."""
        self._calls = None


def open_plain_model(directory: str | Path, threads: int = 1, name: str | None = None) -> PlainModel:
    """Open `<base>/<name>/<version>/model.onnx`, with the model.json beside it if there is one; or a SavedModel.

    Args:
        directory: of the version. One whose name is no number is version 1 of a model of that name.
        threads: threads inside one op of the graph.
        name: of the model, where that is not the directory's.

    Raises:
        ConfigError: there is no graph, the engine cannot load it, or model.json does not fit it.
    """
    folder = Path(directory)
    declaration = load_declaration(folder)
    if not (folder / DECLARATION_FILE).exists() and not (folder / MODEL_FILE).exists() and find_saved_model(folder):
        declaration = declare_saved_model(folder)
    opener = find_opener(folder, declaration, threads)
    calls: dict[str, _Call] = {}
    for key, entry in declaration.entries().items():
        path = folder / (entry.graph or MODEL_FILE)
        try:
            calls[key] = _bind(key, entry, opener(key, entry), path)
        except ConfigError as error:
            raise error if error.where else error.at(str(path)) from None
    absolute = folder.absolute()
    is_number = absolute.name.isascii() and absolute.name.isdigit()
    version = int(absolute.name) if is_number else 1
    model = PlainModel(calls, folder, name or (absolute.parent.name if is_number else absolute.name), version)
    model.version_labels = tuple(declaration.version_labels)
    model.answer_to_any(declaration.any_signature)
    return model


def declare_saved_model(folder: Path) -> Declaration:
    """What holds for a SavedModel without a model.json: its own signatures, run by TensorFlow.

    Raises:
        ConfigError: TensorFlow is not installed, or cannot load it.
    """
    from recserve.importers.savedmodel.runtime import SavedModel

    place = find_saved_model(folder)
    assert place is not None
    return Declaration.model_validate_json(json.dumps(SavedModel(place).declaration()))


def _bind(key: str, entry: SignatureEntry, engine: Engine, path: Path) -> _Call:
    """Hold a declared signature to the graph."""
    inputs, outputs = ({slot.name: slot for slot in side} for side in engine.slots())
    where = f"{path.with_name(DECLARATION_FILE)}: signatures.{key}"
    taken = _bind_side(entry.inputs, inputs, f"{where}.inputs")
    given = _bind_side(entry.outputs, outputs, f"{where}.outputs")
    bound = {binding.spec.tensor_name for binding in taken.values()}
    if missing := sorted(name for name, slot in inputs.items() if not slot.is_optional and name not in bound):
        raise ConfigError(f"the graph's input {missing[0]!r} is not bound", where=where, hint="Name it under inputs.")
    specs = {name: binding.spec for name, binding in given.items()}
    labels: Tensor | None = None
    if entry.class_labels is not None:
        labels = np.array([label.encode() for label in entry.class_labels], object)
        shape = specs["scores"].shape
        if shape is not None and len(shape) == 2 and shape[1] not in (None, len(labels)):
            raise ConfigError(f"{len(labels)} class_labels for {shape[1]} scores", where=where)
        specs["classes"] = TensorSpec("classes", "string", shape, "classes")
    signature = Signature(key, {name: b.spec for name, b in taken.items()}, specs, entry.method)
    return _Call(
        engine, signature, taken, given, labels, _passed_in(taken), None if labels is not None else _passed_out(given)
    )


def _passed_in(bindings: Mapping[str, _Binding]) -> dict[str, tuple[str, np.dtype[Any]]] | None:
    if not all(binding.is_same for binding in bindings.values()):
        return None
    return {name: (b.spec.tensor_name, numpy_dtype(b.graph_dtype)) for name, b in bindings.items()}


def _passed_out(bindings: Mapping[str, _Binding]) -> dict[str, str] | None:
    if not all(binding.is_same for binding in bindings.values()):
        return None
    return {name: binding.spec.tensor_name for name, binding in bindings.items()}


def _bind_side(
    entries: Mapping[str, str | TensorEntry] | None, slots: Mapping[str, Slot], where: str
) -> dict[str, _Binding]:
    bindings: dict[str, _Binding] = {}
    for name, written in (dict.fromkeys(slots, "") if entries is None else entries).items():
        entry = TensorEntry(tensor=written) if isinstance(written, str) else written
        tensor = entry.tensor or name
        slot = slots.get(tensor)
        if slot is None:
            hint = suggest(tensor, slots) or f"The graph has {', '.join(map(repr, slots)) or 'none'}."
            raise ConfigError(f"the graph has no {tensor!r}", where=f"{where}.{name}", hint=hint)
        graph_dtype = _DTYPES.get(slot.type)
        if graph_dtype is None:
            raise ConfigError(
                f"{tensor!r} is a {slot.type}, which cannot be served",
                where=f"{where}.{name}",
                hint="Cast it inside the graph, or leave it out of the signature.",
            )
        dtype = entry.dtype or graph_dtype
        if (dtype == "string") != (graph_dtype == "string"):
            raise ConfigError(f"{tensor!r} is {graph_dtype} in the graph, not {dtype}", where=f"{where}.{name}")
        shape = slot.shape if entry.shape is None else tuple(entry.shape)
        bindings[name] = _Binding(TensorSpec(name, dtype, shape, tensor, slot.is_optional), graph_dtype)
    return bindings


def _label(scores: Tensor, labels: Tensor) -> Tensor:
    if scores.ndim == 0 or scores.shape[-1] != len(labels):
        raise RequestError(f"{len(labels)} labels for scores of shape {list(scores.shape)}", code="model_refuses")
    return np.broadcast_to(labels, scores.shape)
