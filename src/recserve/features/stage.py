"""A part of a plan that runs in one call: its ops as instructions, and the scratch that a run needs.

Axes: N rows of the batch.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Final, NoReturn

import numpy as np
import numpy.typing as npt

from recserve import memory
from recserve.dtypes import I64
from recserve.errors import CellError, DataError, InvariantError
from recserve.features import ops
from recserve.features.codegen import SIZES, Constants, Context, Fields, instruction, kernel_of
from recserve.features.fusing import FUSED_KERNELS, LookupGroup, encode_group, fuse, fused_pairs, group_lookups
from recserve.features.graph import PlanGraph
from recserve.features.ingest import ColumnBatch, ColumnUse
from recserve.features.kernels import layout as at
from recserve.features.kernels.driver import copy_out, execute
from recserve.features.kernels.entries import LIBRARY
from recserve.features.op import MAX_COMBINATIONS, MAX_COMPARISONS, MAX_TEXT_BYTES, Kind, Op
from recserve.features.python_ops import PYTHON_OPS, run_python_op
from recserve.rates import Rate

MAX_ARENA_BYTES: Final = 1 << 32
_COLUMN_OPS: Final = (
    *(ops.SplitSteps, ops.ParseTokens, ops.ParseNumbers, ops.PairKeys, ops.PairTokens, ops.PairNumbers),
    ops.NestedPairs,
)


Line = tuple[str, I64]
"""Name of a kernel, and its instruction."""


class Segment:
    """Instructions that run in one call, and the op that Python runs after them."""

    def __init__(self, lines: Sequence[Line], python_op: int | None) -> None:
        self.kernels: Final = tuple(kernel for kernel, _ in lines)
        rows = [row for _, row in lines]
        self.program: I64 = np.array(rows, np.int64).reshape(len(rows), at.INSTRUCTION)
        LIBRARY.prepare(self.kernels)
        self.program[:, at.KERNEL] = [LIBRARY.address_of(kernel) for kernel in self.kernels]
        self.address: Final = int(self.program.ctypes.data)
        self.count: Final = len(rows)
        self.python_op: Final = python_op


class Workspace:
    """Scratch of one running stage. Not for two threads at once; keep one per worker and stage, and reuse it.

    What a run leaves here is valid until the next run with the same workspace.

    Attributes:
        values: int64[slots, FIELDS], the value table (see `memory`); value i of the graph is row i.
        arena: holds the elements.
    """

    def __init__(self, slots: int, arena_bytes: int = 1 << 20) -> None:
        self.values: I64 = np.zeros((slots, memory.FIELDS), np.int64)
        self.arena = memory.Arena(arena_bytes)
        self.run: I64 = np.zeros(at.RUN, np.int64)
        self.failure: I64 = np.zeros(at.FAILURE, np.int64)
        self.kept: list[npt.NDArray[Any]] = []
        """Arrays that Python ops made, for the descriptors that point to them."""
        self.keeps_all = False
        """Runs make every value, for people to look at, not only those that something reads."""
        self.columns: ColumnBatch | None = None
        """Of the last run: values may point into them."""

    def reserve(self, slots: int) -> None:
        """Have at least that many slots; rows that are there stay."""
        if slots > len(self.values):
            grown = np.zeros((slots, memory.FIELDS), np.int64)
            grown[: len(self.values)] = self.values
            self.values = grown

    def read(self, address: int, count: int, dtype: type[np.generic]) -> npt.NDArray[Any]:
        """A copy of `count` elements at an address of this workspace."""
        out = np.empty(count, dtype)
        copy_out(address, out.view(np.uint8))
        return out

    def offsets(self, slot: int) -> I64:
        """int64[rows + 1] of a value whose rows lie side by side: steps made here, or what `expand` made."""
        row = self.values[slot]
        return self.read(int(row[memory.STARTS]), int(row[memory.ROWS]) + 1, np.int64)


class Stage:
    """A subset of a plan's ops. Immutable and shared by threads; each runs it with a workspace of its own.

    Attributes:
        columns: raw columns that it reads, in the order of the batch it is given.
        imports: values that it reads and does not make, among them the steps that other imports are over. Before a run
            the caller fills their rows of `Workspace.values`, ROWS being the rows of the batch, or, over steps, all
            steps of the producer. Strides may be 0 (one row for all) or those of a store's directory; COUNT is 0 where
            not all elements in `[0, COUNT)` may be read. Imported steps and what is over them are lifted: row n of the
            batch gets steps of its own (N × L where a request's steps meet N candidates); no element is copied.
        exports: {value: slot}; that slot holds the value with the elements of all rows side by side after a run.
        slots: that the workspace must have.
    """

    def __init__(self, graph: PlanGraph, op_numbers: Iterable[int], *, exports: Sequence[int] = ()) -> None:
        self.graph = graph
        self.op_numbers = with_constants(graph, op_numbers)
        self.imports = _imports(graph, self.op_numbers, set(self.op_numbers))
        self._columns: dict[str, int] = {}
        self._lifted: dict[int, int] = {}
        self._constants = Constants()
        self.slots = len(graph.ops)
        self._before = self._lift()
        self._after: list[Line] = []
        self.exports = {value: self._export(value) for value in exports}
        self._context = Context(graph, self.slot_of, self._column, self._constants)
        self._fast: Final = self._segments_of(fused_pairs(graph, self.op_numbers, exports), is_grouped=True)
        sides = {op.column: op.side for op in reversed(graph.ops) if isinstance(op, _COLUMN_OPS)}
        self.columns = tuple(ColumnUse(name, sides.get(name, "context")) for name in self._columns)

    @cached_property
    def _full(self) -> list[Segment]:
        """The program that makes every value."""
        return self._segments_of({}, is_grouped=False)

    def _segments_of(self, fused: Mapping[int, int], *, is_grouped: bool) -> list[Segment]:
        """The program, cut where Python runs an op. The pairs of `fused` run as one instruction each."""
        segments: list[Segment] = []
        lines, skipped = list(self._before), set(fused.values())
        before: Sequence[int] = self.op_numbers
        group: LookupGroup | None = None
        after: Sequence[int] = ()
        if is_grouped:
            before, group, after = group_lookups(self.graph, self.op_numbers, fused)
        for number in [*before, -1, *after]:
            if number < 0:
                lines += [] if group is None else [self._group(group)]
            elif type(self.graph.ops[number]) in PYTHON_OPS:
                segments.append(Segment(lines, number))
                lines = []
            elif number not in skipped:
                lines.append(self._instruction(number, fused.get(number)))
        return [*segments, Segment([*lines, *self._after], None)]

    def _group(self, group: LookupGroup) -> Line:
        first = next(iter(group.members))
        fields = {**encode_group(self.graph, group, self._context), at.OUT: first, at.OP: first, at.DOMAIN: -1}
        return self._encode("lookup_group", fields)

    def slot_of(self, value: int) -> int:
        """The row of the value table that holds a value after a run: the lifted one of an import over steps."""
        return self._lifted.get(value, value)

    def _column(self, name: str) -> int:
        return self._columns.setdefault(name, len(self._columns))

    def _new_slot(self) -> int:
        self.slots += 1
        return self.slots - 1

    def _encode(self, kernel: str, fields: Fields) -> Line:
        return kernel, instruction(fields)

    def _lift(self) -> list[Line]:
        """Instructions that lift the imports over steps, and the slots they are lifted to."""
        rows: list[Line] = []
        over = [value for value in self.imports if self.graph.values[value].domain is not None]
        for steps in (value for value in self.imports if self.graph.values[value].kind is Kind.STEPS):
            self._lifted[steps] = self._new_slot()
            rows.append(self._encode("lift_steps", {at.A: steps, at.OUT: self._lifted[steps], at.OP: steps}))
        for value in over:
            domain = self.graph.values[value].domain
            assert domain is not None
            self._lifted[value] = self._new_slot()
            fields = {at.A: value, at.B: domain, at.C: self._lifted[domain], at.OUT: self._lifted[value], at.OP: value}
            rows.append(self._encode("lift_rows", fields))
        return rows

    def _instruction(self, number: int, first: int | None) -> Line:
        kernel, fields = kernel_of(self.graph.ops[number], self._context)
        if first is not None:
            op = self.graph.ops[first]
            kernel, fields = fuse(op, kernel_of(op, self._context)[1], fields)
        domain = self.graph.values[number].domain
        steps = -1 if domain is None else self.slot_of(domain)
        return self._encode(kernel, {**fields, at.OUT: number, at.OP: number, at.DOMAIN: steps})

    def _export(self, value: int) -> int:
        slot = self._new_slot()
        size = SIZES[self.graph.values[value].kind]
        fields = {at.A: self.slot_of(value), at.OUT: slot, at.OP: value, at.P0: size}
        self._after.append(self._encode("expand", fields))
        return slot

    def run(self, workspace: Workspace, columns: ColumnBatch, rows: int, training: bool = False) -> None:
        """Run all ops over `rows` rows; the values stand in `workspace.values` until its next run.

        Args:
            workspace: with the rows of the imports filled in. Its arena must not hold what the imports point to.
            columns: of this stage's `columns`, of `rows` rows or 1 row.
            rows: N.
            training: masks are applied.

        Raises:
            DataError: of a cell, naming the feature, the column, the row and the value.
        """
        workspace.reserve(self.slots)
        workspace.columns = columns
        while True:
            workspace.arena.reset()
            workspace.kept.clear()
            status = self._attempt(workspace, columns, rows, training)
            if status == at.OK:
                return
            if status != memory.OUT_OF_MEMORY:
                self._fail(workspace, status)
            if workspace.arena.size_bytes >= MAX_ARENA_BYTES:
                raise DataError(
                    f"a batch of {rows} rows needs more than {MAX_ARENA_BYTES} bytes", code="batch_too_large"
                )
            try:
                workspace.arena.grow(2 * workspace.arena.size_bytes)
            except MemoryError:
                raise DataError(f"there is no memory for a batch of {rows} rows", code="batch_too_large") from None

    def measure(self, workspace: Workspace, columns: ColumnBatch, rows: int) -> dict[int, int]:
        """Run the ops one by one, none fused: {op: nanoseconds}; lifts and exports count for the op that they carry.

        For people who look for what is slow; a request uses `run`. Arguments and errors are those of `run`.
        """
        workspace.keeps_all = True
        self.run(workspace, columns, rows)  # the arena has room for everything from here on
        workspace.arena.reset()
        workspace.kept.clear()
        spent: dict[int, int] = {}
        for segment in self._full:
            for row in segment.program:
                start = time.perf_counter_ns()
                execute(row.ctypes.data, 1, workspace.run.ctypes.data)
                number = int(row[at.OP])
                spent[number] = spent.get(number, 0) + time.perf_counter_ns() - start
            if segment.python_op is not None:
                start = time.perf_counter_ns()
                run_python_op(self.graph, segment.python_op, self.slot_of, workspace)
                spent[segment.python_op] = time.perf_counter_ns() - start
        return spent

    def _attempt(self, workspace: Workspace, columns: ColumnBatch, rows: int, training: bool) -> int:
        run = workspace.run
        run[at.RUN_VALUES] = workspace.values.ctypes.data
        run[at.RUN_ARENA] = workspace.arena.cursor.ctypes.data
        run[at.RUN_COLUMNS] = columns.table.ctypes.data
        run[at.RUN_ROWS] = rows
        run[at.RUN_FAILURE] = workspace.failure.ctypes.data
        run[at.RUN_TRAINING] = training
        address = run.ctypes.data
        for segment in self._full if workspace.keeps_all else self._fast:
            status = execute(segment.address, segment.count, address)
            if status != at.OK:
                return int(status)
            if segment.python_op is not None:
                run_python_op(self.graph, segment.python_op, self.slot_of, workspace)
        return at.OK

    def _fail(self, workspace: Workspace, status: int) -> NoReturn:
        failure = workspace.failure.tolist()
        number = failure[at.FAILED_OP]
        op, feature = self.graph.ops[number], self.graph.values[number].feature
        text = ""
        if failure[at.FAILED_BYTES] >= 0:
            found = workspace.read(failure[at.FAILED_TEXT], failure[at.FAILED_BYTES], np.uint8)
            text = repr(found.tobytes().decode(errors="replace"))
        row, step = failure[at.FAILED_ROW], failure[at.FAILED_STEP]
        problem, hint = _problem(op, status, text)
        raise CellError(
            problem,
            feature=feature,
            column=getattr(op, "column", ""),
            row=row if row >= 0 else None,
            step=step if step >= 0 else None,
            hint=hint,
        )

    def listing(self) -> str:
        """The program for people: one line an instruction."""
        lines = [f"columns {', '.join(self._columns) or 'none'}; imports {', '.join(map(str, self.imports)) or 'none'}"]
        for segment in self._fast:
            pairs = zip(segment.kernels, segment.program, strict=True)
            lines += [self._line(kernel, row.tolist()) for kernel, row in pairs]
            if segment.python_op is not None:
                lines.append(f"  %{segment.python_op} = {type(self.graph.ops[segment.python_op]).__name__} (Python)")
        return "\n".join(lines)

    def _line(self, kernel: str, row: list[int]) -> str:
        op, number = self.graph.ops[row[at.OP]], row[at.OP]
        inputs = " ".join(f"%{self.slot_of(value)}" for value in op.inputs)
        if row[at.OUT] != number:
            inputs = f"%{row[at.A]}"
        elif kernel in FUSED_KERNELS:
            inputs = " ".join(f"%{self.slot_of(value)}" for value in self.graph.ops[op.inputs[0]].inputs)
        column = getattr(op, "column", "") if row[at.OUT] == number else ""
        feature = self.graph.values[number].feature
        arguments = " ".join(part for part in (column, inputs) if part)
        return f"  %{row[at.OUT]} = {kernel} {arguments}".rstrip() + (f"  # {feature}" if feature else "")


def prepare_kernels(graph: PlanGraph) -> None:
    """Compile what stages of this plan will need and this machine lacks, all at once and so on all cores.

    Stages that are built without it compile by themselves, one after the other.
    """
    context = Context(graph, lambda value: value, lambda _column: 0, Constants())
    numbers = [number for number, op in enumerate(graph.ops) if type(op) not in PYTHON_OPS]
    kernels = {number: kernel_of(graph.ops[number], context) for number in numbers}
    fused = fused_pairs(graph, numbers, ())
    wanted = {kernel for kernel, _ in kernels.values()}
    wanted |= {fuse(graph.ops[first], kernels[first][1], kernels[second][1])[0] for second, first in fused.items()}
    wanted |= {"lookup_group"} if group_lookups(graph, numbers, fused)[1] else set()
    LIBRARY.prepare(sorted(wanted))


def with_constants(graph: PlanGraph, op_numbers: Iterable[int]) -> tuple[int, ...]:
    """These ops and the constant ones that they read, in order: a stage makes its constants itself."""
    chosen = set(op_numbers)
    waiting = list(chosen)
    while waiting:
        for value in graph.ops[waiting.pop()].inputs:
            if value not in chosen and graph.values[value].rate is Rate.CONSTANT:
                chosen.add(value)
                waiting.append(value)
    return tuple(sorted(chosen))


def _imports(graph: PlanGraph, op_numbers: Sequence[int], made: set[int]) -> tuple[int, ...]:
    read: set[int] = set()
    for number in op_numbers:
        for value in (number, *graph.ops[number].inputs):
            read.add(value)
            domain = graph.values[value].domain
            if domain is not None:
                read.add(domain)
    return tuple(sorted(read - made))


def _problem(op: Op, status: int, text: str) -> tuple[str, str | None]:
    """What went wrong, and a hint."""
    if status == at.NOT_A_NUMBER:
        return f"{text} is not a number", None
    if status == at.NOT_AN_INTEGER:
        return f"{text} is not an integer", None
    if status == at.IS_A_MAP:
        return "a map cannot be read as values", "Give text, a number or a list"
    if status == at.LENGTHS_DIFFER and isinstance(op, ops.AttachWeights):
        return "the numbers of values and weights differ", None
    if status == at.LENGTHS_DIFFER:
        expression = op.expression if isinstance(op, ops.Evaluate) else ""
        return f"vectors of different lengths in expression {expression!r}", None
    if status == at.TOO_MANY_COMBINATIONS:
        return f"more than {MAX_COMBINATIONS} combinations", "Give fewer values, or split the feature"
    if status == at.TOO_MANY_BYTES:
        return f"its tokens have more than {MAX_TEXT_BYTES} bytes", "Give fewer or shorter values"
    if status == at.TOO_MANY_COMPARISONS:
        return f"more than {MAX_COMPARISONS} comparisons", "Give shorter texts, or fewer terms"
    if isinstance(op, ops.SemanticIds) and status == at.NOT_A_MULTIPLE:
        return f"the number of codes is not a multiple of {len(op.codebook)}", None
    if isinstance(op, ops.SemanticIds) and status == at.BAD_CODE:
        return f"{text} is no code of its level of the codebook {list(op.codebook)}", None
    raise InvariantError(f"status {status} of {type(op).__name__}")
