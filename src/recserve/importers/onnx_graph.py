"""ONNX graphs, from any exporter, made into the files of a plain model.

convert       a `.onnx` file, with the weights beside it
check_graph   what no engine of ours can run: ops of domains that nobody defines, in subgraphs and functions too
write_graph   the graph; each large weight in a file of its own, named by its content, which several graphs share
              and the engine maps into memory
declare       the signature that the graph has
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from google.protobuf.message import DecodeError, EncodeError
from onnx.external_data_helper import load_external_data_for_model, set_external_data, uses_external_data

from recserve.errors import ConfigError
from recserve.importers.model import Report
from recserve.network.model import DOMAINS, FOREIGN_OP_HINT, ONNX_DOMAINS
from recserve.network.session import Session, Slot

GRAPH_FILE: Final = "model.onnx"
DECLARATION_FILE: Final = "model.json"
WEIGHTS: Final = "weights"
LARGE: Final = 1 << 20
"""Bytes of a weight from which on it stands in a file of its own."""


def convert(path: Path, folder: Path) -> Report:
    """Make a plain model of a graph.

    Args:
        path: the `.onnx` file, or a directory that holds one; weights may stand in files beside it.
        folder: empty; gets `model.onnx`, `model.json` and `weights/`.

    Raises:
        ConfigError: the file is damaged ("damaged_model"), its weights are missing or stand outside its directory, or
            it has ops that nothing here runs ("unsupported_element"), which are named with their domains.
    """
    source = find_graph(path)
    graph = load_graph(source)
    check_graph(graph, str(source))
    report = describe(graph, "onnx")
    write_graph(graph, folder, GRAPH_FILE)
    entry = declare(folder / GRAPH_FILE, str(source), report)
    write_declaration(folder, {"signatures": {"serving_default": entry}})
    return report


def find_graph(path: Path) -> Path:
    """The graph's file: `path` itself, or the only `.onnx` file in it.

    Raises:
        ConfigError: a directory holds none or several.
    """
    if not path.is_dir():
        return path
    found = sorted(path.glob("*.onnx"))
    if len(found) != 1:
        names = ", ".join(repr(file.name) for file in found[:5]) or "none"
        raise ConfigError(f"a directory has one .onnx file; here are {names}", where=str(path), hint="Name the file")
    return found[0]


def load_graph(path: Path) -> onnx.ModelProto:
    """Read a graph with its weights.

    Raises:
        ConfigError: it is damaged, or a weight is missing, too short or outside the graph's directory.
    """
    try:
        graph = onnx.load(str(path), load_external_data=False)
    except (DecodeError, ValueError, OSError) as error:
        text = "the file is no ONNX graph, or is cut off" if not isinstance(error, OSError) else str(error.strerror)
        raise ConfigError(text, code="damaged_model", where=str(path)) from error
    if not graph.HasField("graph") or not graph.graph.output:
        raise ConfigError("the file is no ONNX graph: it has no outputs", code="damaged_model", where=str(path))
    try:
        load_external_data_for_model(graph, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise ConfigError(
            f"its weights cannot be read: {_first(error)}",
            code="damaged_model",
            where=str(path),
            hint="Keep the weight files beside the graph, under the names that it gives",
        ) from error
    return graph


def check_graph(graph: onnx.ModelProto, where: str) -> None:
    """Refuse a graph with ops that neither ONNX, ONNX Runtime nor the graph itself defines.

    Raises:
        ConfigError: "unsupported_element", naming each op with its domain and the first node that has it; or
            "damaged_model" where the graph breaks the standard.
    """
    own = {(function.domain, function.name) for function in graph.functions}
    foreign: dict[str, list[str]] = {}
    for node in _nodes(graph):
        is_known = node.domain in DOMAINS - ONNX_DOMAINS or (
            node.domain in ONNX_DOMAINS and onnx.defs.has(node.op_type)
        )
        if not is_known and (node.domain, node.op_type) not in own:
            op = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
            foreign.setdefault(op, []).append(node.name or ", ".join(node.output))
    if foreign:
        listed = ", ".join(f"{op} ({len(at)}, first at {at[0]!r})" for op, at in sorted(foreign.items()))
        raise ConfigError(
            f"ops that ONNX lacks: {listed}", code="unsupported_element", where=where, hint=FOREIGN_OP_HINT
        )
    try:
        onnx.checker.check_model(_light(graph))
    except onnx.checker.ValidationError as error:
        raise ConfigError(
            f"the graph breaks the standard: {_first(error)}", code="damaged_model", where=where
        ) from error


def _nodes(graph: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Every node, those of subgraphs and functions too."""
    waiting = [*graph.graph.node, *(node for function in graph.functions for node in function.node)]
    while waiting:
        node = waiting.pop()
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                waiting.extend(inner.node)


def _light(graph: onnx.ModelProto) -> bytes:
    """The graph for the checker, which cannot take one of more than 2 GB: its large weights are made inputs.

    The checker also wants a shape for every input and output; engines do without.
    """
    light = onnx.ModelProto()
    light.CopyFrom(graph)
    for value in (*light.graph.input, *light.graph.output):
        kind = value.type.sequence_type.elem_type if value.type.HasField("sequence_type") else value.type
        if kind.HasField("tensor_type") and not kind.tensor_type.HasField("shape"):
            kind.tensor_type.shape.SetInParent()
    kept = []
    declared = {value.name for value in light.graph.input}
    for tensor in light.graph.initializer:
        if tensor.ByteSize() < LARGE:
            kept.append(tensor)
        elif tensor.name not in declared:
            value = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            light.graph.input.append(value)
    kept = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
    del light.graph.initializer[:]
    light.graph.initializer.extend(kept)
    try:
        text: bytes = light.SerializeToString()
    except (EncodeError, ValueError) as error:
        raise onnx.checker.ValidationError(f"it is too large without its weights: {error}") from error
    return text


def describe(graph: onnx.ModelProto, format: str) -> Report:  # noqa: A002 - the report's own word
    """What was read: ops by name, inputs with their types, outputs as targets."""
    report = Report(format)
    counts = Counter(f"{node.domain}::{node.op_type}" if node.domain else node.op_type for node in _nodes(graph))
    report.elements.update(sorted(counts.items()))
    weights = {tensor.name for tensor in graph.graph.initializer}
    for value in graph.graph.input:
        if value.name not in weights:
            report.fields[value.name] = _type_name(value)
    report.targets.extend(value.name for value in graph.graph.output)
    return report


def _type_name(value: onnx.ValueInfoProto) -> str:
    if not value.type.HasField("tensor_type"):
        return str(value.type.WhichOneof("value"))
    tensor = value.type.tensor_type
    sizes = ", ".join(str(dim.dim_value) if dim.HasField("dim_value") else "?" for dim in tensor.shape.dim)
    return f"{onnx.TensorProto.DataType.Name(tensor.elem_type).lower()}[{sizes}]"


def write_graph(graph: onnx.ModelProto, folder: Path, name: str) -> None:
    """Write a graph, whose weights are loaded, as `folder/name`; large weights to `folder/weights/DIGEST.bin`."""
    for tensor in graph.graph.initializer:
        if uses_external_data(tensor):
            continue
        if tensor.data_type != onnx.TensorProto.STRING and not tensor.HasField("raw_data") and _is_large(tensor):
            tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor), tensor.name))
        raw = tensor.raw_data
        if len(raw) < LARGE:
            continue
        location = f"{WEIGHTS}/{hashlib.sha256(raw).hexdigest()[:32]}.bin"
        file = folder / location
        if not file.exists():
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(raw)
        set_external_data(tensor, location, offset=0, length=len(raw))
        tensor.ClearField("raw_data")
    (folder / name).write_bytes(graph.SerializeToString())


def _is_large(tensor: onnx.TensorProto) -> bool:
    return bool(tensor.ByteSize() >= LARGE)


def declare(path: Path, where: str, report: Report, graph: str | None = None) -> dict[str, Any]:
    """The signature of a written graph, as model.json has it. Opening it is the check that the engine runs it.

    Args:
        path: of the written graph.
        where: of the source, for messages.
        report: gets a note on each output that is no tensor and so left out.
        graph: the file name, where it is not `model.onnx`.

    Raises:
        ConfigError: the engine refuses the graph, or an input or every output is no tensor.
    """
    try:
        inputs, outputs = Session(path).slots()
    except ConfigError as error:
        error.code = "unsupported_element"
        raise error.at(where) from None
    if strange := [slot for slot in inputs if not slot.type.startswith("tensor(") and not slot.is_optional]:
        raise ConfigError(
            f"input {strange[0].name!r} is a {strange[0].type}; callers send tensors",
            code="unsupported_element",
            where=where,
        )
    given = [slot for slot in outputs if slot.type.startswith("tensor(")]
    for slot in outputs:
        if slot not in given:
            report.notes.append(f"Output {slot.name!r} is a {slot.type}, not a tensor: it is left out.")
    if not given:
        hint = "Export it without the last op (zipmap=False in skl2onnx)"
        raise ConfigError("no output is a tensor", code="unsupported_element", where=where, hint=hint)
    entry: dict[str, Any] = {"inputs": _bound(inputs), "outputs": _bound(given)}
    return entry if graph is None else {"graph": graph, **entry}


def _bound(slots: Any) -> dict[str, str]:
    return {slot.name: slot.name for slot in slots if isinstance(slot, Slot) and slot.type.startswith("tensor(")}


def write_declaration(folder: Path, declaration: Mapping[str, Any]) -> None:
    """Write `model.json`."""
    (folder / DECLARATION_FILE).write_text(json.dumps(declaration, indent=2) + "\n", encoding="utf-8")


def hold_to(path: Path, feeds: Mapping[str, Any], expected: Mapping[str, Any], where: str) -> None:
    """Refuse a written graph whose answers differ from the framework's own.

    Args:
        path: of the graph.
        feeds: array by input.
        expected: the framework's answer by output.
        where: of the source, for messages.

    Raises:
        ConfigError: code "differs": shape, or a number by more than 1e-4 relative and 1e-5 absolute.
    """
    names = list(expected)
    answers = Session(path).compute({name: np.asarray(feeds[name]) for name in feeds}, names)
    for name, answer in zip(names, answers, strict=True):
        want = np.asarray(expected[name])
        if want.dtype.kind in "OSU":
            same = np.array_equal(_texts(want), _texts(np.asarray(answer)))
        else:
            same = want.shape == answer.shape and np.allclose(answer, want, rtol=1e-4, atol=1e-5, equal_nan=True)
        if not same:
            raise ConfigError(
                f"output {name!r} of the converted graph differs from the framework's own answer",
                code="differs",
                where=where,
            )


def _texts(values: Any) -> Any:
    """Strings of either kind as `str`."""
    flat = [value.decode() if isinstance(value, bytes) else str(value) for value in values.ravel()]
    return np.array(flat, object).reshape(values.shape)


def _first(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
