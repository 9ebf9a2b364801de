"""Embedding tables that a network carries: they are lifted out, and the inputs of ids become inputs of rows.

`Gather(W, ids) = x` for a table W [V, d], ids [N] or [N, L] and the rows x [N, d] or [N, L, d] that the features look
up in W. A table of its own can be mapped, shared by features, quantised and changed while it serves. Where ids address
several tables (one for the linear part, one for the deep part), their rows stand side by side in one:
`[Gather(W, ids), Gather(W', ids)] = Gather([W, W'], ids)`.

Axis letters: V rows of a table, N candidates, L steps, d width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import onnx_ir as ir

from recserve.dtypes import F32
from recserve.errors import ConfigError
from recserve.network.canonical import canonical
from recserve.network.model import Network, TensorSpec
from recserve.network.session import Array, Session

_INTEGERS: Final = frozenset({"int32", "int64"})
_VIEWS: Final = frozenset({"Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
_TOLERANCE: Final = 1e-6


@dataclass(frozen=True)
class Lifted:
    """A network without the tables that its ids addressed.

    Attributes:
        network: takes rows, float32[N, d] or float32[N, L, d], where it took ids.
        tables: float32[V, d] by table name; row i belongs to id i.
    """

    network: Network
    tables: dict[str, F32]


@dataclass
class _Table:
    """One table under construction: the weights side by side, each once."""

    name: str
    weights: list[F32] = field(default_factory=list)

    def add(self, weight: F32, where: str) -> int:
        """The place of a weight; equal weights have one place."""
        for place, known in enumerate(self.weights):
            if known is weight or (known.shape == weight.shape and np.array_equal(known, weight)):
                return place
        if self.weights and len(self.weights[0]) != len(weight):
            raise ConfigError(
                f"the network has tables of {len(self.weights[0])} and of {len(weight)} rows for {self.name!r}",
                code="embedded_table",
                where=where,
                hint="Give features of different tables different values of `embedding_name`",
            )
        self.weights.append(weight)
        return len(self.weights) - 1

    def columns(self, place: int) -> tuple[int, int]:
        """Where the columns of a weight begin and end."""
        start = sum(w.shape[1] for w in self.weights[:place])
        return start, start + self.weights[place].shape[1]

    def rows(self) -> F32:
        joined = self.weights[0] if len(self.weights) == 1 else np.concatenate(self.weights, axis=1)
        return np.ascontiguousarray(joined, np.float32)


def lift_tables(network: Network, table_of: Mapping[str, str]) -> Lifted:
    """Lift out every table that an input of ids addresses.

    Args:
        network: an input of ids is int64 or int32, [N], [N, 1] or [N, L].
        table_of: name of the table by input, for the inputs that hold ids; inputs of other dtypes and other names are
            ignored. Inputs of one table share its rows.

    Returns:
        The network itself where no such input holds ids.

    Raises:
        ConfigError: code "embedded_table": ids are used for something else than to look rows up, address a table that
            is no float32[V, d] or none, or tables of one name differ in rows. Names input and node.
    """
    wanted = {n: table_of[n] for n, s in network.inputs.items() if s.dtype in _INTEGERS and n in table_of}
    if not wanted:
        return Lifted(network, {})
    model = canonical(network)
    inputs = {str(v.name): v for v in model.graph.inputs}
    tables = {table: _Table(table) for table in wanted.values()}
    places: dict[int, int] = {}
    for name, table in wanted.items():
        found = list(_lookups(inputs[name], name, network.where))
        if not found:
            raise ConfigError(
                "holds ids but addresses no table", code="embedded_table", where=f"{network.where}: input {name!r}"
            )
        for node, weight in found:
            places[id(node)] = tables[table].add(weight, network.where)
    for name, table in wanted.items():
        _Lift(model, network.inputs[name], tables[table], places).run(inputs[name])
    lifted = Lifted(_finished(model, network), {name: table.rows() for name, table in tables.items()})
    _prove(network, lifted, wanted)
    return lifted


def _lookups(ids: ir.Value, name: str, where: str) -> Iterator[tuple[ir.Node, F32]]:
    """The nodes that look rows up by some ids, and the weights that they read.

    Raises:
        ConfigError: the ids have another use.
    """
    for node, slot in ids.uses():
        op, place = node.op_type, f"{where}: input {name!r}"
        if op in _VIEWS and slot == 0 and (op != "Reshape" or node.inputs[1].is_initializer()):  # type: ignore[union-attr]
            yield from _lookups(node.outputs[0], name, where)
        elif op == "Gather" and slot == 1 and _axis(node) == 0:
            yield node, _weight(node, place)
        elif op != "Shape":
            raise ConfigError(
                f"its ids are read by {op} ({node.outputs[0].name!r}), not only to look up rows of a table",
                code="embedded_table",
                where=place,
                hint="Make masks from the lengths of the sequence (`<sequence>.lengths`), and take rows as the input",
            )


def _weight(node: ir.Node, place: str) -> F32:
    value = node.inputs[0]
    tensor = None if value is None else value.const_value
    if value is None or tensor is None or not value.is_initializer():
        problem = "is computed, not a weight"
    elif tensor.dtype is not ir.DataType.FLOAT or len(tensor.shape) != 2:
        problem = f"is {tensor.dtype.name.lower()}{list(tensor.shape)}, expected float32[rows, width]"
    else:
        return np.asarray(tensor.numpy(), np.float32)
    raise ConfigError(
        f"the table that its ids address in {node.outputs[0].name!r} {problem}",
        code="embedded_table",
        where=place,
        hint="Export the table as one float32 weight, or look the rows up in front of the network",
    )


def _axis(node: ir.Node) -> int:
    attribute = node.attributes.get("axis")
    return 0 if attribute is None else attribute.as_int()


class _Lift:
    """Lets the graph read rows where it read one input of ids."""

    def __init__(self, model: ir.Model, spec: TensorSpec, table: _Table, places: Mapping[int, int]) -> None:
        self.graph = model.graph
        self.table = table
        self.places = places
        self.width = sum(w.shape[1] for w in table.weights)
        self.is_column = len(spec.dims) == 2 and spec.dims[1] == 1
        self.dims = [*(spec.dims[:1] if self.is_column else spec.dims), self.width]

    def run(self, ids: ir.Value) -> None:
        """Put an input of rows in the place of the input `ids`."""
        rows = ir.Value(name=ids.name, shape=ir.Shape(self.dims), type=ir.TensorType(ir.DataType.FLOAT))
        ids.name = f"{ids.name}.ids"
        place = list(self.graph.inputs).index(ids)
        self.graph.inputs[place] = rows
        rank = len(self.dims) - 1 + self.is_column
        first = next(iter(self.graph))
        self._follow(ids, self._emit("Unsqueeze", [rows, self._ints(1)], first) if self.is_column else rows, rank)

    def _follow(self, ids: ir.Value, rows: ir.Value, rank: int) -> None:
        for node, _ in list(ids.uses()):
            if node.op_type == "Gather":
                self._read(node, rows)
            elif node.op_type == "Shape":
                start, end, _step = slice(*(self._int(node, k) for k in ("start", "end"))).indices(rank)
                node.outputs[0].replace_all_uses_with(self._emit("Shape", [rows], node, start=start, end=end))
            elif node.op_type in ("Cast", "Identity"):
                self._follow(node.outputs[0], rows, rank)
            else:
                self._view(node, rows, rank)

    def _view(self, node: ir.Node, rows: ir.Value, rank: int) -> None:
        """The same view of the rows, with their width behind it."""
        given = node.inputs[1] if len(node.inputs) > 1 else None
        numbers = [] if given is None or given.const_value is None else given.const_value.numpy().tolist()
        if node.op_type == "Reshape":
            after, target = len(numbers), [*numbers, self.width]
        elif node.op_type == "Unsqueeze":
            after = rank + len(numbers)
            target = [a % after for a in numbers]
        else:
            target = [a % rank for a in numbers] or list(range(1, rank))
            after = rank - len(target)
        result = self._emit(node.op_type, [rows, self._ints(*target)], node, **dict(node.attributes))
        self._follow(node.outputs[0], result, after)

    def _read(self, node: ir.Node, rows: ir.Value) -> None:
        start, end = self.table.columns(self.places[id(node)])
        if end - start < self.width:
            rows = self._emit("Slice", [rows, self._ints(start), self._ints(end), self._ints(-1)], node)
        node.outputs[0].replace_all_uses_with(rows)

    def _emit(self, op: str, inputs: list[ir.Value], before: ir.Node, **attributes: int | ir.Attr) -> ir.Value:
        node = ir.node(op, inputs, attributes)
        self.graph.insert_before(before, node)
        node.outputs[0].name = self._name(op)
        return node.outputs[0]

    def _ints(self, *numbers: int) -> ir.Value:
        name = self._name("axes")
        value = ir.Value(
            name=name,
            const_value=ir.tensor(np.asarray(numbers, np.int64), name=name),
            shape=ir.Shape([len(numbers)]),
            type=ir.TensorType(ir.DataType.INT64),
        )
        self.graph.register_initializer(value)
        return value

    def _name(self, hint: str) -> str:
        taken = {str(v.name) for node in self.graph for v in node.outputs} | set(self.graph.initializers)
        count = 0
        while f"{hint}~rows{count}" in taken:
            count += 1
        return f"{hint}~rows{count}"

    @staticmethod
    def _int(node: ir.Node, name: str) -> int | None:
        attribute = node.attributes.get(name)
        return None if attribute is None else attribute.as_int()


def _finished(model: ir.Model, network: Network) -> Network:
    """The graph without what nothing reads, with the shapes of its outputs as they were."""
    import onnx_ir.passes.common as generic

    generic.RemoveUnusedNodesPass()(model)
    for value, spec in zip(model.graph.outputs, network.outputs.values(), strict=True):
        value.shape = ir.Shape(spec.dims)
    return Network(ir.to_proto(model), network.where)


def _prove(network: Network, lifted: Lifted, wanted: Mapping[str, str]) -> None:
    """Hold the lifted network to the first one on drawn ids."""
    rng = np.random.default_rng(0)
    sizes: dict[str, int] = {}
    before: dict[str, Array] = {}
    after: dict[str, Array] = {}
    for name, spec in network.inputs.items():
        shape = [
            4 if axis == 0 else dim if isinstance(dim, int) else sizes.setdefault(str(dim), 3)
            for axis, dim in enumerate(spec.dims)
        ]
        if name in wanted:
            rows = lifted.tables[wanted[name]]
            before[name] = rng.integers(0, len(rows), shape).astype(spec.dtype)
            ids = before[name][:, 0] if shape[1:] == [1] and spec.dims[1] == 1 else before[name]
            after[name] = rows[ids]
        else:
            is_float = spec.dtype.startswith("float")
            drawn = rng.normal(size=shape) if is_float else rng.integers(1, 3, shape)
            before[name] = after[name] = drawn.astype(spec.dtype)
    want, given = Session(network.to_bytes()).run(before), Session(lifted.network.to_bytes()).run(after)
    for name, expected in want.items():
        if not np.allclose(given[name], expected, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True):
            raise ConfigError(
                f"output {name!r} changes where the tables are lifted out of the network",
                code="embedded_table",
                where=network.where,
                hint="Export the network with rows as its inputs, and give the tables beside it",
            )
