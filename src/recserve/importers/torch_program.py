"""PyTorch models: exported programs (`.pt2`), TorchScript, and a module given as an object with its state dict.

What is here:
    convert         a `.pt2` file, or a TorchScript file with `NAME.inputs.json` beside it
    convert_module  a module in memory, with the weights of a file if wanted

Nothing is unpickled but tensors (`weights_only=True`), and an exported program is read only after its text is seen to
call nothing but tensor ops (`recserve.importers.torch_archive`).

`NAME.inputs.json` says what a TorchScript file does not, in the order of `forward`, null where a size varies:
`{"x": {"dtype": "float32", "shape": [null, 4]}}`.
"""

from __future__ import annotations

import copy
import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from recserve.errors import ConfigError, suggest
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
from recserve.importers.torch_archive import EXPORTED, SCRIPT, check_exported, find_kind

if TYPE_CHECKING:
    import onnx
    import torch

OPSET: Final = 18
ROWS: Final = 3
"""Rows of drawn example inputs. One row would make the exporter take the size for a constant."""

_DTYPES: Final = ("bool", "int8", "int16", "int32", "int64", "uint8", "float16", "float32", "float64")


def convert(path: Path, folder: Path) -> Report:
    """Make a plain model of a file.

    Args:
        path: of `torch.export.save` or `torch.jit.save`.
        folder: empty; gets `model.onnx` and `model.json`.

    Raises:
        ConfigError: PyTorch is not installed ("missing_library"); the file is damaged, or would run code
            ("damaged_model"); it holds weights alone, or an op that does not convert ("unsupported_element"); the
            graph's answers differ from PyTorch's ("differs").
    """
    torch = _load_torch(str(path))
    kind = find_kind(path)
    if kind == EXPORTED:
        check_exported(path)
        program = _load_exported(torch, path)
        return _convert_exported(torch, program, folder, str(path), "torch.export")
    if kind == SCRIPT:
        return _convert_script(torch, path, folder)
    raise ConfigError(
        "the file holds weights, and no program",
        code="unsupported_element",
        where=str(path),
        hint="Save one with torch.export.save, or call recserve.importers.torch_program.convert_module(module, "
        "example_inputs, folder, weights=...)",
    )


def convert_module(
    module: torch.nn.Module,
    example_inputs: Mapping[str, Any],
    folder: str | Path,
    *,
    weights: str | Path | None = None,
    dynamic_axes: Mapping[str, Mapping[int, str]] | None = None,
) -> Report:
    """Make a plain model of a module.

    Args:
        module: in any mode; it is exported in evaluation mode, and left as it is.
        example_inputs: argument of `forward` → array or tensor.
        folder: empty or absent; gets `model.onnx` and `model.json`.
        weights: a file of `torch.save(module.state_dict(), file)`; None keeps the module's own.
        dynamic_axes: input → axis → name of its size, equal for axes of equal size; None makes axis 0 of all inputs
            vary together.

    Returns:
        What was exported.

    Raises:
        ConfigError: the weights are damaged, hold more than tensors ("damaged_model") or do not fit the module
            ("weights_do_not_fit"); the module cannot be exported ("unsupported_element"), or the graph's answers differ
            from its own ("differs").
    """
    where = type(module).__name__
    torch = _load_torch(where)
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    module = copy.deepcopy(module).eval()
    if weights is not None:
        _fill(torch, module, Path(weights))
    tensors = {name: torch.as_tensor(value) for name, value in example_inputs.items()}
    axes = _axes(tensors, dynamic_axes, where)
    # A size of 1 in the example would be taken for a constant.
    tensors = {
        name: tensor.repeat(
            *(2 if tensor.shape[axis] == 1 and axis in axes[name] else 1 for axis in range(tensor.ndim))
        )
        for name, tensor in tensors.items()
    }
    sizes = {name: torch.export.Dim(name) for name in sorted({n for named in axes.values() for n in named.values()})}
    shapes = {name: {axis: sizes[size] for axis, size in named.items()} for name, named in axes.items()}
    try:
        with _quiet(), torch.no_grad():
            program = torch.export.export(module, (), tensors, dynamic_shapes=shapes)
    except Exception as error:  # torch raises many classes here
        raise ConfigError(
            f"torch.export refuses it: {_reason(error)}",
            code="unsupported_element",
            where=where,
            hint="forward needs tensor operations only; name the axes that vary in dynamic_axes",
        ) from error
    return _convert_exported(torch, program, target, where, "torch.nn.Module")


def _load_torch(where: str) -> Any:
    try:
        import onnxscript  # noqa: F401 - the exporter's own library
        import torch
    except ImportError as error:
        raise ConfigError(
            f"reading it needs PyTorch and onnxscript: {error}",
            code="missing_library",
            where=where,
            hint="pip install 'recserve[train]'",
        ) from error
    return torch


def _load_exported(torch: Any, path: Path) -> Any:
    try:
        with _quiet():
            program = torch.export.load(str(path))
    except Exception as error:  # torch raises many classes here
        raise ConfigError(
            f"PyTorch {torch.__version__} cannot read it: {_reason(error)}", code="damaged_model", where=str(path)
        ) from error
    program._guards_code = []  # Python text, which torch would run
    return program


def _convert_exported(torch: Any, program: Any, folder: Path, where: str, format: str) -> Report:  # noqa: A002
    """Write the files from an exported program, and hold the graph to its own example."""
    inputs, outputs = list(program.graph_signature.user_inputs), _output_names(torch, program)
    try:
        with _quiet(), torch.no_grad():
            made = torch.onnx.export(program, dynamo=True, opset_version=OPSET, output_names=outputs, verbose=False)
    except Exception as error:
        raise _not_exported(error, where) from error
    report = _write(made.model_proto, folder, where, format)
    example = program.example_inputs
    if example is None:
        report.notes.append("Not compared with PyTorch: the file has no example inputs.")
        return report
    with _quiet(), torch.no_grad():
        answers = torch.utils._pytree.tree_leaves(program.module()(*example[0], **example[1]))
    leaves = torch.utils._pytree.tree_leaves(example)
    feeds = {name: leaf.numpy() for name, leaf in zip(inputs, leaves, strict=True)}
    expected = {name: answer.numpy() for name, answer in zip(_outputs_of(made), answers, strict=True)}
    hold_to(folder / GRAPH_FILE, feeds, expected, where)
    return report


def _outputs_of(made: Any) -> list[str]:
    return [str(value.name) for value in made.model_proto.graph.output]


def _output_names(torch: Any, program: Any) -> list[str] | None:
    """Keys of the dict that `forward` gives; None where it gives something else."""
    spec = program.call_spec.out_spec
    places = torch.utils._pytree.tree_unflatten(list(range(spec.num_leaves)), spec)
    inputs = set(program.graph_signature.user_inputs)
    if not isinstance(places, dict) or not all(isinstance(place, int) for place in places.values()):
        return None
    names = [str(name) for name in sorted(places, key=lambda name: int(places[name]))]
    return [f"{name}_out" if name in inputs else name for name in names]


def _convert_script(torch: Any, path: Path, folder: Path) -> Report:
    """Write the files from TorchScript."""
    declared = _read_inputs(path)
    try:
        script = torch.jit.load(str(path), map_location="cpu").eval()
    except Exception as error:
        raise ConfigError(
            f"PyTorch {torch.__version__} cannot read it: {_reason(error)}", code="damaged_model", where=str(path)
        ) from error
    rng = np.random.default_rng(0)
    feeds = {name: _draw(rng, dtype, shape) for name, (dtype, shape) in declared.items()}
    axes = {name: _varying(name, shape) for name, (_, shape) in declared.items()}
    tensors = tuple(torch.from_numpy(array) for array in feeds.values())
    file = io.BytesIO()
    try:
        with _quiet(), torch.no_grad():
            answers = torch.utils._pytree.tree_leaves(script(*tensors))
            names = [f"output_{i}" for i in range(len(answers))] if len(answers) > 1 else ["output"]
            torch.onnx.export(
                script,
                tensors,
                file,
                dynamo=False,
                opset_version=OPSET,
                input_names=list(feeds),
                output_names=names,
                dynamic_axes=axes
                | {name: {0: "rows"} for name, answer in zip(names, answers, strict=True) if answer.ndim},
            )
    except Exception as error:
        raise _not_exported(error, str(path)) from error
    import onnx

    report = _write(onnx.load_from_string(file.getvalue()), folder, str(path), "torchscript")
    hold_to(folder / GRAPH_FILE, feeds, {n: a.numpy() for n, a in zip(names, answers, strict=True)}, str(path))
    return report


def _write(graph: onnx.ModelProto, folder: Path, where: str, format: str) -> Report:  # noqa: A002
    check_graph(graph, where)
    report = describe(graph, format)
    write_graph(graph, folder, GRAPH_FILE)
    write_declaration(folder, {"signatures": {"serving_default": declare(folder / GRAPH_FILE, where, report)}})
    return report


def _read_inputs(path: Path) -> dict[str, tuple[str, list[int | None]]]:
    """What `NAME.inputs.json` declares: input → (dtype, shape)."""
    place = path.with_name(f"{path.stem}.inputs.json")
    example = '{"x": {"dtype": "float32", "shape": [null, 4]}}'
    if not place.is_file():
        raise ConfigError(
            "TorchScript does not say what forward takes",
            code="missing_inputs",
            where=str(path),
            hint=f"Write {place.name} beside it, such as {example}",
        )
    try:
        read = json.loads(place.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"it is no JSON: {error}", where=str(place)) from error
    if not isinstance(read, dict) or not read:
        raise ConfigError("it maps each input to its dtype and shape", where=str(place), hint=f"Such as {example}")
    return {str(name): _read_input(entry, f"{place}: {name}") for name, entry in read.items()}


def _read_input(entry: Any, where: str) -> tuple[str, list[int | None]]:
    shape = entry.get("shape") if isinstance(entry, dict) else None
    is_shape = isinstance(shape, list) and all(size is None or (type(size) is int and size > 0) for size in shape)
    if not isinstance(shape, list) or not is_shape or not isinstance(entry.get("dtype"), str):
        raise ConfigError('an input is {"dtype": ..., "shape": [...]}', where=where, hint="null where a size varies")
    if entry["dtype"] not in _DTYPES:
        hint = suggest(entry["dtype"], _DTYPES) or f"Known: {', '.join(_DTYPES)}"
        raise ConfigError(f"unknown dtype {entry['dtype']!r}", where=where, hint=hint)
    return entry["dtype"], list(shape)


def _varying(name: str, shape: Sequence[int | None]) -> dict[int, str]:
    return {axis: "rows" if axis == 0 else f"{name}_{axis}" for axis, size in enumerate(shape) if size is None}


def _draw(rng: np.random.Generator, dtype: str, shape: Sequence[int | None]) -> Any:
    sizes = [ROWS if size is None else size for size in shape]
    if dtype.startswith("float"):
        return rng.normal(size=sizes).astype(dtype)
    return rng.integers(0, 2, sizes).astype(dtype)


def _axes(
    tensors: Mapping[str, Any], given: Mapping[str, Mapping[int, str]] | None, where: str
) -> dict[str, dict[int, str]]:
    """The axes that vary, by input."""
    if given is None:
        return {name: {0: "rows"} if tensor.ndim else {} for name, tensor in tensors.items()}
    if unknown := [name for name in given if name not in tensors]:
        hint = suggest(unknown[0], tensors)
        raise ConfigError(f"dynamic_axes names no input: {unknown[0]!r}", where=where, hint=hint)
    for name, named in given.items():
        if wrong := [axis for axis in named if not 0 <= axis < tensors[name].ndim]:
            raise ConfigError(f"input {name!r} has {tensors[name].ndim} axes, and no {wrong[0]}", where=where)
    return {name: dict(given.get(name, {})) for name in tensors}


def _fill(torch: Any, module: torch.nn.Module, path: Path) -> None:
    """Load a state dict; tensors only."""
    try:
        state = torch.load(str(path), map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ConfigError("no such file", code="not_found", where=str(path)) from error
    except Exception as error:  # UnpicklingError for anything but tensors, RuntimeError for a damaged file
        raise ConfigError(
            f"the file does not hold tensors alone, or is damaged: {_reason(error)}",
            code="damaged_model",
            where=str(path),
            hint="Write it with torch.save(module.state_dict(), file)",
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]  # Lightning's checkpoints
    try:
        module.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        text = " ".join(str(error).split())
        raise ConfigError(
            f"the weights do not fit {type(module).__name__}: {text}", code="weights_do_not_fit", where=str(path)
        ) from error


def _not_exported(error: BaseException, where: str) -> ConfigError:
    return ConfigError(f"it does not become ONNX: {_reason(error)}", code="unsupported_element", where=where)


def _reason(error: BaseException) -> str:
    """The first line of the innermost cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's prints, log lines and warnings about its own internals off the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
