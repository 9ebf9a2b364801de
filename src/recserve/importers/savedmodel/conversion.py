"""What the converter's own process does: `python -m recserve.importers.savedmodel.conversion FORMAT SOURCE OUT RESULT`.

Each signature becomes a graph, through tf2onnx. One whose ops do not all convert, whose graph the engine refuses, or
whose answers on drawn inputs differ from TensorFlow's, makes the whole model stay a SavedModel that TensorFlow runs;
the report says why. RESULT gets the report or the error, as JSON.
"""

from __future__ import annotations

import json
import logging
import shutil
import sys
import tempfile
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np

from recserve.errors import ConfigError
from recserve.importers.model import Report
from recserve.importers.onnx_graph import (
    GRAPH_FILE,
    check_graph,
    declare,
    describe,
    hold_to,
    write_declaration,
    write_graph,
)
from recserve.importers.savedmodel.runtime import SavedModel, SavedSignature, first_line
from recserve.network.session import Session
from recserve.signatures import DEFAULT_SIGNATURE

OPSET: Final = 18
ROWS: Final = 3


def convert_saved_model(source: Path, folder: Path, format: str = "savedmodel") -> Report:  # noqa: A002
    """Write a version's files from a SavedModel.

    Raises:
        ConfigError: TensorFlow cannot load it, or it has no signatures.
    """
    saved = SavedModel(source)
    declaration = saved.declaration()
    report = Report(format)
    if find_spec("tf2onnx") is None:
        reason = "tf2onnx is not installed"
    else:
        try:
            entries = {
                key: _convert_signature(saved.signature(key), key, entry, folder, report)
                for key, entry in sorted(
                    declaration["signatures"].items(), key=lambda item: item[0] != DEFAULT_SIGNATURE
                )
            }
            write_declaration(folder, {"signatures": entries})
            return report
        except ConfigError as error:
            reason = error.problem.rstrip(".")
    for child in folder.iterdir():
        shutil.rmtree(child) if child.is_dir() else child.unlink()
    report = _describe(saved, Report(format))
    report.notes.append(f"TensorFlow runs it, since it does not become ONNX: {reason}.")
    shutil.copytree(source, folder / "saved_model")
    write_declaration(folder, declaration)
    return report


def _convert_signature(
    signature: SavedSignature, key: str, entry: dict[str, Any], folder: Path, report: Report
) -> dict[str, Any]:
    """One signature as a graph file, and its entry of model.json."""
    import tensorflow as tf
    import tf2onnx

    names = list(signature.specs)
    tensor_names = [f"input_{i}" for i in range(len(names))]
    specs = [
        tf.TensorSpec(s.shape, s.dtype, name=t) for s, t in zip(signature.specs.values(), tensor_names, strict=True)
    ]
    outputs = list(signature.function.structured_outputs)

    def call(*tensors: Any) -> Any:
        answers = signature.function(**dict(zip(names, tensors, strict=True)))
        return tuple(tf.identity(answers[name]) for name in outputs)

    try:
        graph, _ = tf2onnx.convert.from_function(tf.function(call), input_signature=specs, opset=OPSET)
    except Exception as error:  # tf2onnx raises what it meets
        raise ConfigError(f"tf2onnx cannot convert signature {key!r}: {first_line(error)}") from error
    check_graph(graph, f"signature {key!r}")
    _rename(graph)
    found = describe(graph, report.format)
    for op, count in found.elements.items():
        report.elements[op] = report.elements.get(op, 0) + count
    file = _write_once(graph, folder)
    declare(folder / file, f"signature {key!r}", report)
    taken, given = ([slot.name for slot in side] for side in Session(folder / file).slots())
    bound = dict(zip(names, [_named(t, taken) for t in tensor_names], strict=True))
    _compare(signature, folder / file, bound, dict(zip(outputs, given, strict=True)), report)
    for name, spec in signature.specs.items():
        report.fields.setdefault(name, f"{spec.dtype.name}{spec.shape}")
    report.targets.extend(name for name in outputs if name not in report.targets)
    return {
        **({} if file == GRAPH_FILE else {"graph": file}),
        **entry,
        "inputs": {name: entry["inputs"][name] | {"tensor": bound[name]} for name in names},
        "outputs": {
            name: entry["outputs"][name] | {"tensor": tensor} for name, tensor in zip(outputs, given, strict=True)
        },
    }


def _rename(graph: Any) -> None:
    """Name nodes, values and sizes by their order: two signatures of one function become the same bytes."""
    nodes = graph.graph.node
    if any(attribute.HasField("g") or attribute.graphs for node in nodes for attribute in node.attribute):
        return  # subgraphs see the names around them
    graph.graph.name, graph.graph.doc_string = "graph", ""
    del graph.graph.value_info[:]
    names = {value.name: value.name for value in graph.graph.input}
    names |= {value.name: f"output_{i}" for i, value in enumerate(graph.graph.output) if value.name not in names}
    for number, node in enumerate(nodes):
        node.name, node.doc_string = f"node_{number}", ""
        for side in (node.input, node.output):
            for i, name in enumerate(side):
                if name:
                    side[i] = names.setdefault(name, f"value_{len(names)}")
    for value in (*graph.graph.output, *graph.graph.initializer):
        value.name = names.get(value.name, value.name)
    weights = sorted(graph.graph.initializer, key=lambda tensor: str(tensor.name))
    copies = [type(tensor).FromString(tensor.SerializeToString()) for tensor in weights]
    del graph.graph.initializer[:]
    graph.graph.initializer.extend(copies)
    sizes: dict[str, str] = {}
    for value in (*graph.graph.input, *graph.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = sizes.setdefault(dim.dim_param, f"size_{len(sizes)}")


def _write_once(graph: Any, folder: Path) -> str:
    """Write a graph, unless another signature has the same; the name of its file. The first is `model.onnx`."""
    written = sorted(folder.glob("*.onnx"))
    name = f"signature_{len(written)}.onnx" if written else GRAPH_FILE
    write_graph(graph, folder, name)
    data = (folder / name).read_bytes()
    for other in written:
        if other.read_bytes() == data:
            (folder / name).unlink()
            return other.name
    return name


def _named(tensor: str, taken: list[str]) -> str:
    """What tf2onnx calls an input: some versions add `:0`. One that no output needs is left out of the graph."""
    found = [name for name in taken if name.split(":")[0] == tensor]
    if not found:
        raise ConfigError(f"no output depends on input {tensor!r}, so the graph lacks it")
    return found[0]


def _compare(
    signature: SavedSignature, path: Path, inputs: dict[str, str], outputs: dict[str, str], report: Report
) -> None:
    """Hold a graph to TensorFlow's answers on drawn rows; where TensorFlow refuses what is drawn, say so."""
    rng = np.random.default_rng(0)
    drawn = {name: _draw(rng, spec) for name, spec in signature.specs.items()}
    try:
        answers = signature.compute(drawn, list(outputs))
    except Exception as error:  # what is drawn need not mean anything to the model
        report.notes.append(f"Not compared with TensorFlow, which refuses drawn inputs: {first_line(error)}.")
        return
    feeds = {inputs[name]: _text(array) for name, array in drawn.items()}
    hold_to(path, feeds, dict(zip(outputs.values(), answers, strict=True)), str(path))


def _draw(rng: np.random.Generator, spec: Any) -> Any:
    sizes = [
        ROWS if size is None else size for size in (spec.shape.as_list() if spec.shape.rank is not None else [ROWS])
    ]
    dtype = spec.dtype.as_numpy_dtype
    if spec.dtype.name == "string":
        return np.array([f"{n}".encode() for n in rng.integers(0, 9, int(np.prod(sizes)))], object).reshape(sizes)
    if spec.dtype.is_floating:
        return rng.normal(size=sizes).astype(dtype)
    return rng.integers(0, 2, sizes).astype(dtype)


def _text(array: Any) -> Any:
    if array.dtype != object:
        return array
    return np.array([value.decode() for value in array.ravel()], object).reshape(array.shape)


def _describe(saved: SavedModel, report: Report) -> Report:
    """Ops, inputs and outputs of a SavedModel that stays one."""
    for key in saved.declaration()["signatures"]:
        signature = saved.signature(key)
        graph = signature.function.graph.as_graph_def()
        nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
        for op, count in Counter(node.op for node in nodes).items():
            report.elements[op] = report.elements.get(op, 0) + count
        for name, spec in signature.specs.items():
            report.fields[name] = f"{spec.dtype.name}{spec.shape}"
        report.targets.extend(name for name in signature.function.structured_outputs if name not in report.targets)
    return report


def convert_keras(source: Path, folder: Path) -> Report:
    """Write a version's files from a Keras model's file, through a SavedModel.

    Raises:
        ConfigError: Keras cannot load it; a layer with code of its own (Lambda) is refused, for it would run here.
    """
    import keras

    try:
        model = keras.saving.load_model(str(source), compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many classes here
        raise ConfigError(
            f"Keras cannot load it: {first_line(error)}",
            code="damaged_model",
            hint="Layers of your own and Lambda layers: export the model where their code is, model.export(path)",
        ) from error
    with tempfile.TemporaryDirectory(prefix="recserve-keras-") as scratch:
        place = Path(scratch) / "saved"
        try:
            model.export(str(place), verbose=False)
        except Exception as error:
            raise ConfigError(f"Keras cannot export it: {first_line(error)}", code="unsupported_element") from error
        return convert_saved_model(place, folder, "keras")


def main(arguments: list[str]) -> None:
    """Convert, and write the report or the error to the last argument."""
    format_, source, folder, result = arguments
    logging.disable(logging.ERROR)
    try:
        work = convert_keras if format_ == "keras" else convert_saved_model
        report = work(Path(source), Path(folder))
        fields = {key: value for key, value in vars(report).items() if key != "format"}
        answer: dict[str, Any] = {"report": fields}
    except ConfigError as error:
        answer = {"error": error.problem, "code": error.code, "hint": error.hint}
    Path(result).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
