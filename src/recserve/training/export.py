"""Write a trained network as ONNX in flat form.

Inputs are named after features: float32[N, dim], float32[N, L, dim] with `<sequence>.lengths` int64[N]; outputs after
goals: float32[N]. Axis 0 is symbolic `N` everywhere; the step axis is symbolic `L`, or `L_<sequence>` where there are
several sequences, whose lengths differ. Any N ≥ 1 and any L ≥ 0 are valid.

torch.export captures the module rather than tracing it once, so that a module whose control flow depends on its data
is refused instead of being frozen into one branch.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import onnx
import torch
from torch import Tensor, nn

from recserve.dtypes import F32
from recserve.errors import ConfigError
from recserve.features.outputs import OutputSpec

OPSET: Final = 18
_SAMPLE_ROWS, _SAMPLE_STEPS = 3, 5
"""Sizes of the example inputs; 0 and 1 would be taken for constants."""


@dataclass(frozen=True, eq=False)
class Exported:
    """What training hands over.

    Attributes:
        network_path: the ONNX file, in flat form.
        tables: {table: float32[V, dim]} rows of each embedding table.
    """

    network_path: Path
    tables: dict[str, F32]


def export_module(module: nn.Module, outputs: Sequence[OutputSpec], folder: str | Path) -> Path:
    """Write `<folder>/network.onnx` from a module over the flat form.

    Inputs that do not reach an output are left out of the file.

    Args:
        module: `forward(inputs: dict[str, Tensor]) -> dict[str, Tensor]`, goal → float32[N]. It is exported in
            evaluation mode and left as it was.
        outputs: the features that `module` reads.
        folder: made if missing.

    Returns:
        Path of the file.

    Raises:
        ConfigError: the module does not return goals of the shape [N], or cannot be captured with symbolic axes.
    """
    is_training = module.training
    module.eval()
    try:
        sample = flat_sample(outputs, _SAMPLE_ROWS, _SAMPLE_STEPS)
        goals = goals_of(module, sample)
        model = _capture(module, sample, goals)
    finally:
        module.train(is_training)
    _name_axes(model, outputs)
    onnx.checker.check_model(model, full_check=True)
    path = Path(folder) / "network.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def flat_sample(outputs: Sequence[OutputSpec], rows: int, steps: int) -> dict[str, Tensor]:
    """Flat-form inputs of N = `rows` and L = `steps`: normal values around 0, all rows with all steps."""
    inputs: dict[str, Tensor] = {}
    for spec in outputs:
        shape = (rows, steps, spec.dim) if spec.is_sequence else (rows, spec.dim)
        inputs[spec.name] = torch.randn(shape, generator=torch.Generator().manual_seed(len(inputs))) / 2
    for spec in outputs:
        if spec.is_sequence:
            inputs[f"{spec.sequence}.lengths"] = torch.full((rows,), steps)
    return inputs


def goals_of(module: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Names of the goals that a module predicts.

    Raises:
        ConfigError: it does not return {goal: float32[N]}.
    """
    rows = len(next(iter(inputs.values())))
    with torch.no_grad():
        results = module(dict(inputs))
    where = type(module).__name__
    if not isinstance(results, dict) or not results:
        raise ConfigError(f"forward returned a {type(results).__name__}, not a dict of goals", where=where)
    for goal, value in results.items():
        shape = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
        if shape != [rows]:
            raise ConfigError(f"goal {goal!r} has the shape {shape}, not [N] (N = {rows} here)", where=where)
    return tuple(results)


class _Positional(nn.Module):
    """A module over a dict as a module over a tuple, which exporters can name the inputs of."""

    def __init__(self, module: nn.Module, names: Sequence[str], goals: Sequence[str]) -> None:
        super().__init__()
        self.module, self.names, self.goals = module, tuple(names), tuple(goals)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """One tensor per goal."""
        results = self.module(dict(zip(self.names, tensors, strict=True)))
        return tuple(results[goal] for goal in self.goals)


def _capture(module: nn.Module, sample: Mapping[str, Tensor], goals: Sequence[str]) -> onnx.ModelProto:
    names = list(sample)
    # The last axis is the width, except of lengths, which have one axis only.
    axes = [dict.fromkeys(range(max(value.ndim - 1, 1)), torch.export.Dim.DYNAMIC) for value in sample.values()]
    try:
        with _quiet():
            program = torch.onnx.export(
                _Positional(module, names, goals).eval(),
                tuple(sample.values()),
                dynamo=True,
                opset_version=OPSET,
                input_names=names,
                output_names=list(goals),
                dynamic_shapes=(tuple(axes),),
            )
    except Exception as error:  # torch raises many classes here, and nests the reason
        raise ConfigError(
            f"cannot be exported: {_reason(error)}",
            where=type(module).__name__,
            hint="forward needs tensor operations only: no branches on values, and no fixed N or L",
        ) from error
    if program is None:
        raise ConfigError("torch.onnx.export returned nothing", where=type(module).__name__)
    model: onnx.ModelProto = program.model_proto
    return model


def _reason(error: BaseException) -> str:
    """The first line of the innermost cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress prints, log lines and warnings about its own internals off the terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _name_axes(model: onnx.ModelProto, outputs: Sequence[OutputSpec]) -> None:
    """Name the symbolic axes and drop inputs that no node reads."""
    groups = {spec.name: spec.sequence for spec in outputs if spec.is_sequence}
    is_single = len(set(groups.values())) == 1
    used = {name for node in model.graph.node for name in node.input}
    kept = [value for value in model.graph.input if value.name in used]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    # Shapes of inner values name the axes of the capture; the checker infers them anew.
    del model.graph.value_info[:]
    for value in (*model.graph.input, *model.graph.output):
        dims: Any = value.type.tensor_type.shape.dim
        if not dims or dims[0].HasField("dim_value"):
            raise ConfigError(f"{value.name!r} has a fixed number of rows", where="network")
        dims[0].dim_param = "N"
        if value.name in groups and len(dims) == 3:
            dims[1].dim_param = "L" if is_single else f"L_{groups[value.name]}"
