"""The graph that importers build: values in single assignment, each the result of an op on earlier values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recserve.errors import ConfigError
from recserve.scoring import (  # noqa: F401  (they fill the registry)
    ops_blocks,
    ops_constants,
    ops_dates,
    ops_hyperplanes,
    ops_lists,
    ops_machines,
    ops_neighbours,
    ops_numbers,
    ops_ranks,
    ops_states,
    ops_terms,
    ops_text,
    ops_text_index,
    ops_ties,
    ops_trees,
)
from recserve.scoring.cells import DType
from recserve.scoring.op import result_dtypes, spec_of
from recserve.scoring.ops_tables import dtype_of
from recserve.scoring.params import canonical_value, check_params, identity

if TYPE_CHECKING:
    from recserve.scoring.program import Program


@dataclass(frozen=True)
class Node:
    """One op of a graph.

    Attributes:
        op: name in the registry.
        args: numbers of the values that it takes.
        params: canonical, all that the op has.
        first: number of its first result; the others follow.
        dtypes: of its results.
    """

    op: str
    args: tuple[int, ...]
    params: Mapping[str, Any]
    first: int
    dtypes: tuple[DType, ...]

    @property
    def results(self) -> range:
        """Numbers of its results."""
        return range(self.first, self.first + len(self.dtypes))


@dataclass(frozen=True)
class Value:
    """A column of the graph.

    Attributes:
        graph: that it belongs to.
        number: in the graph.
        dtype: of its valid cells.
    """

    graph: Graph
    number: int
    dtype: DType

    @property
    def unparsed(self) -> Value:
        """Of an input: boolean, whether the raw cell was there but is none of the declared dtype (it is missing then).

        Raises:
            ConfigError: it is no input.
        """
        node = self.graph.node_of(self.number)
        if node.op != "input":
            raise ConfigError(f"value {self.number} is no input but a result of {node.op!r}")
        return self.graph.apply("unparsed", column=node.params["column"], dtype=node.params["dtype"])


Operand = Value | float | bool | str


class Graph:
    """A graph under construction. Equal ops on equal arguments are one value. Not for two threads at once."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.outputs: dict[str, int] = {}
        """{name: number of the value}."""
        self.guards: list[int] = []
        """Values whose failure fails the row though they are no outputs."""
        self._dtypes: list[DType] = []
        self._node_of: list[int] = []
        self._known: dict[Any, int] = {}

    def node_of(self, number: int) -> Node:
        """The op that gives a value."""
        return self.nodes[self._node_of[number]]

    def dtype_of(self, number: int) -> DType:
        """The dtype of a value."""
        return self._dtypes[number]

    def input(self, column: str, dtype: DType) -> Value:
        """A raw column, parsed as `number`, `boolean` or `string`; one column may be read as several.

        None, NaN, and what is none of the dtype (see `Value.unparsed`) are missing.
        """
        return self.apply("input", column=column, dtype=dtype)

    def constant(self, value: float | bool | str) -> Value:
        """The same value in each row."""
        try:
            found = canonical_value(value)
        except TypeError as error:
            raise ConfigError(f"constant: {error}") from None
        if found is None:
            raise ConfigError(f"constant: {value!r} has no dtype", hint="Write missing(dtype)")
        return self.apply("constant", value=found, dtype=dtype_of(found))

    def missing(self, dtype: DType) -> Value:
        """A missing cell in each row."""
        return self.apply("constant", value=None, dtype=dtype)

    def failure(self, message: str, dtype: DType) -> Value:
        """A failure in each row that needs it."""
        return self.apply("failure", message=message, dtype=dtype)

    def apply(self, op: str, *args: Operand, **params: Any) -> Value:
        """The one result of an op; see the registry (`ops_*`) for names, arguments and parameters.

        Args:
            op: name.
            args: values of this graph, or Python constants.
            params: of the op.

        Raises:
            ConfigError: there is no such op, or arguments or parameters do not fit it, or it has several results.
        """
        found = self.apply_many(op, args, **params)
        if len(found) != 1:
            raise ConfigError(f"op {op!r} has {len(found)} results here", hint="Call apply_many")
        return found[0]

    def apply_many(self, op: str, args: Sequence[Operand], **params: Any) -> list[Value]:
        """All results of an op; see `apply`."""
        spec = spec_of(op)
        numbers = tuple(self._operand(op, argument) for argument in args)
        checked = check_params(op, spec.params, params)
        dtypes = result_dtypes(spec, [self._dtypes[number] for number in numbers], checked)
        return self.add(Node(op, numbers, checked, len(self._dtypes), dtypes))

    def add(self, node: Node) -> list[Value]:
        """Append a node that is known to be right, or find its equal; its results."""
        key = (node.op, node.args, identity(node.params))
        if key not in self._known:
            self._known[key] = len(self.nodes)
            self._node_of += [len(self.nodes)] * len(node.dtypes)
            self._dtypes += node.dtypes
            self.nodes.append(node)
        node = self.nodes[self._known[key]]
        return [Value(self, number, dtype) for number, dtype in zip(node.results, node.dtypes, strict=True)]

    def _operand(self, op: str, argument: Operand) -> int:
        if not isinstance(argument, Value):
            return self.constant(argument).number
        if argument.graph is not self:
            raise ConfigError(f"an argument of op {op!r} belongs to another graph")
        return argument.number

    def output(self, name: str, value: Value) -> None:
        """Name a value as a result of the program.

        Raises:
            ConfigError: the name is taken, or the value belongs to another graph.
        """
        if name in self.outputs:
            raise ConfigError(f"there are two outputs {name!r}")
        self.outputs[name] = self._operand("output", value)

    def guard(self, value: Value) -> None:
        """Fail the row where this value is a failure, though no output needs it."""
        number = self._operand("guard", value)
        if number not in self.guards:
            self.guards.append(number)

    def build(self) -> Program:
        """The program: what outputs and guards do not need is gone, and constants are folded.

        Raises:
            ConfigError: there is no output.
        """
        from recserve.scoring.passes import optimised
        from recserve.scoring.program import Program

        if not self.outputs:
            raise ConfigError("the graph has no output")
        return Program(optimised(self))
