"""The flat network: a checked ONNX graph whose inputs are features and whose outputs are goals.

Axis letters: N candidates, L steps of a sequence. N is axis 0 of every input and is symbolic.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import onnx
from google.protobuf.message import DecodeError

from recserve.dtypes import BY_ONNX
from recserve.errors import ConfigError
from recserve.network.single_rows import spread_single_rows

ONNX_DOMAINS: Final = frozenset({"", "ai.onnx"})
DOMAINS: Final = ONNX_DOMAINS | {"ai.onnx.ml", "com.microsoft"}
"""Of the ops that engines implement: ONNX's own, and those that ONNX Runtime adds for exporters."""

FOREIGN_OP_HINT: Final = "Export it again with ONNX's own ops, or write the op as a function inside the model"
_EXPORT_HINT = (
    "Export it with a dynamic axis 0: dynamic_shapes={'x': {0: torch.export.Dim('N')}} "
    "(torch.onnx.export, dynamo), dynamic_axes={'x': {0: 'N'}} (legacy), or an input signature of [None, ...] (tf2onnx)"
)


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a graph.

    Attributes:
        name: of the tensor.
        dtype: a name of `recserve.dtypes`, such as "float32".
        dims: one entry per axis: an int, the name of a symbolic size, or None where unknown.
    """

    name: str
    dtype: str
    dims: tuple[int | str | None, ...]


class Network:
    """A checked flat graph.

    Attributes:
        inputs: by name; axis 0 of each is symbolic.
        once: inputs that the graph was given as [1, ...] beside others of N rows: what a request has once. They count
            as [N, ...] with equal rows, of which the graph reads the first.
        outputs: by name.
        where: the file or other place that the graph came from, for messages.
    """

    def __init__(self, proto: Any, where: str) -> None:
        _check(proto, where)
        self.where = where
        self._proto = proto
        self.once = spread_single_rows(proto)
        weights = {tensor.name for tensor in proto.graph.initializer}
        self.inputs = {i.name: _spec(i, where) for i in proto.graph.input if i.name not in weights}
        self.outputs = {o.name: _spec(o, where) for o in proto.graph.output}
        if not self.inputs or not self.outputs:
            missing = "outputs" if self.inputs else "inputs"
            raise ConfigError(f"the graph has no {missing}", where=where, hint="A network maps features to goals")
        for spec in self.inputs.values():
            _check_batch_axis(spec, where)

    @classmethod
    def load(cls, path: str | Path) -> Network:
        """Read and check a `.onnx` file, with the external data beside it.

        Raises:
            ConfigError: the file is missing, not ONNX, truncated, fails the ONNX checker, has no inputs or outputs,
                an input without a symbolic axis 0, or a dtype recserve does not know.
        """
        where = str(path)
        try:
            proto = onnx.load(where, load_external_data=False)
        except FileNotFoundError as error:
            raise ConfigError("there is no such file", where=where) from error
        except (DecodeError, ValueError) as error:
            raise _not_onnx(where) from error
        try:
            onnx.load_external_data_for_model(proto, str(Path(path).parent))
        except (OSError, ValueError, onnx.checker.ValidationError) as error:
            raise ConfigError(
                f"its external data cannot be read: {error}", where=where, hint="Keep the weight files beside the graph"
            ) from error
        return cls(proto, where)

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Network:
        """Check a serialised `ModelProto`; `where` names its origin in messages. Errors as `load`."""
        try:
            proto = onnx.load_model_from_string(data)
        except (DecodeError, ValueError) as error:
            raise _not_onnx(where) from error
        return cls(proto, where)

    def to_bytes(self) -> bytes:
        """The graph as a serialised `ModelProto`, weights included."""
        data: bytes = self._proto.SerializeToString()
        return data


def spec_of(value: Any) -> TensorSpec:
    """The spec of an ONNX `ValueInfoProto` whose dtype is known to be supported."""
    tensor = value.type.tensor_type
    dims = tuple(_dim(d) for d in tensor.shape.dim)
    return TensorSpec(value.name, BY_ONNX[tensor.elem_type].name, dims)


def _dim(dim: Any) -> int | str | None:
    kind = dim.WhichOneof("value")
    if kind == "dim_value":
        return int(dim.dim_value)
    return str(dim.dim_param) or None if kind == "dim_param" else None


def _not_onnx(where: str) -> ConfigError:
    return ConfigError(
        "this is not an ONNX file, or it is truncated", where=where, hint="Export the model again or copy it whole"
    )


def _check(proto: Any, where: str) -> None:
    if not proto.graph.node and not proto.graph.output:
        raise _not_onnx(where)
    try:
        onnx.checker.check_model(proto)
    except onnx.checker.ValidationError as error:
        first = str(error).strip().splitlines()[0]
        raise ConfigError(f"the ONNX checker refuses the graph: {first}", where=where) from error


def _spec(value: Any, where: str) -> TensorSpec:
    place = f"{where}: tensor {value.name!r}"
    if value.type.WhichOneof("value") != "tensor_type":
        raise ConfigError("is not a tensor", where=place, hint="Inputs and outputs are dense tensors")
    code = value.type.tensor_type.elem_type
    if code not in BY_ONNX or BY_ONNX[code].numpy is None:
        name = onnx.TensorProto.DataType.Name(code).lower()
        raise ConfigError(
            f"has the unsupported dtype {name}", where=place, hint="Cast it to float32 or int64 at the border"
        )
    return spec_of(value)


def _check_batch_axis(spec: TensorSpec, where: str) -> None:
    place = f"{where}: input {spec.name!r}"
    if not spec.dims:
        raise ConfigError("has no axes, or an unknown number of them; axis 0 must hold the candidates", where=place)
    if isinstance(spec.dims[0], int):
        raise ConfigError(
            f"axis 0 has the fixed size {spec.dims[0]}; it must be symbolic, for any number of candidates",
            where=place,
            hint=_EXPORT_HINT,
        )
