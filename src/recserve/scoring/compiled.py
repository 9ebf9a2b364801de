"""The compiled form of a graph: instructions for the kernels, cut where Python runs an op."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from recserve.dtypes import F64, I64, U8
from recserve.scoring import emit_blocks, emit_numbers, emit_tables, emit_trees  # noqa: F401  (they fill `EMITTERS`)
from recserve.scoring.codegen import EMITTERS, Context, assign_slots, instruction
from recserve.scoring.graph import Graph, Node
from recserve.scoring.ingest import read_column
from recserve.scoring.kernels import layout as at
from recserve.scoring.kernels.driver import execute, load_columns, run_all, store_outputs
from recserve.scoring.kernels.entries import LIBRARY
from recserve.scoring.pool import Codes
from recserve.scoring.python_ops import Call, PythonOp

BLOCK_ROWS: Final = 248
"""Rows of a block that compiled code runs alone: the slots stay in cache. Not a power of two, so that equal rows of
many slots do not fall into one cache set."""
PYTHON_ROWS: Final = 2040
"""Rows of a block where Python runs some of the ops."""

Source = tuple[str, str, bool]
"""(column, dtype, whether it tells what could not be parsed)."""


class Segment:
    """Instructions that run in one call, and the op that Python runs after them."""

    def __init__(self, lines: Sequence[tuple[str, I64]], python: int | None) -> None:
        self.kernels: Final = tuple(kernel for kernel, _ in lines)
        self.program: I64 = np.array([row for _, row in lines], np.int64).reshape(len(lines), at.INSTRUCTION)
        self.program[:, at.KERNEL] = [LIBRARY.address_of(kernel) for kernel in self.kernels]
        self.python: Final = python


class Workspace:
    """Slots of one running program. Not for two threads at once."""

    def __init__(self, slots: int, rows: int) -> None:
        self.data: F64 = np.zeros((slots, rows))
        self.state: U8 = np.zeros((slots, rows), np.uint8)
        self.run: I64 = np.zeros(at.RUN, np.int64)
        self.run[at.DATA], self.run[at.STATE] = self.data.ctypes.data, self.state.ctypes.data
        self.run[at.STRIDE] = rows
        self.address = int(self.run.ctypes.data)


class Compiled:
    """A graph as instructions. Immutable; each thread has slots of its own.

    Attributes:
        sources: raw columns in the order of the first slots.
        leaving: values that leave: the outputs and then the guards.
        texts, messages: codes of the program.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        numbers = {node.first: node for node in graph.nodes if node.op in {"input", "unparsed"}}
        self.sources: tuple[Source, ...] = tuple(
            (node.params["column"], node.params["dtype"], node.op == "unparsed") for node in numbers.values()
        )
        self.leaving = tuple(dict.fromkeys((*graph.outputs.values(), *graph.guards)))
        self.slots = assign_slots(graph, list(numbers))
        self._context = Context()
        self.texts, self.messages = self._context.texts, self._context.messages
        self._python: dict[int, PythonOp] = {}
        self.segments = self._segments()
        self._out_slots: I64 = np.array([self.slots.of[number] for number in self.leaving], np.int64)
        self.is_pure: Final = not self._python
        """Whether no op runs in Python."""
        self._local = threading.local()

    def _segments(self) -> list[Segment]:
        parts: list[tuple[list[tuple[str, I64]], int | None]] = []
        lines: list[tuple[str, I64]] = []
        for i, node in enumerate(self.graph.nodes):
            if node.op in {"input", "unparsed"}:
                continue
            found = self._emit(node)
            if found is not None:
                lines.append(found)
                continue
            self._python[i] = PythonOp(node, [self.graph.dtype_of(number) for number in node.args])
            parts.append((lines, i))
            lines = []
        parts.append((lines, None))
        LIBRARY.prepare(sorted({kernel for lines, _ in parts for kernel, _ in lines}))
        return [Segment(lines, python) for lines, python in parts]

    def _emit(self, node: Node) -> tuple[str, I64] | None:
        context = self._context
        context.dtypes = tuple(self.graph.dtype_of(number) for number in node.args)
        context.slots = tuple(self.slots.of[number] for number in node.args)
        found = EMITTERS[node.op](node, context) if node.op in EMITTERS else None
        if found is None:
            return None
        kernel, fields = found
        outs = [self.slots.of[number] for number in node.results]
        return kernel, instruction(fields, context.slots, outs, context.constants)

    def workspace(self, rows: int) -> Workspace:
        """This thread's slots for blocks of that many rows."""
        known: dict[int, Workspace] = self._local.__dict__.setdefault("known", {})
        if rows not in known:
            known[rows] = Workspace(max(self.slots.count, 1), rows)
        return known[rows]

    def run(self, columns: Mapping[str, Any], rows: int) -> tuple[F64, U8, Codes, Codes]:
        """Score columns.

        Args:
            columns: sequences or arrays of `rows` raw cells; absent ones are missing.
            rows: N.

        Returns:
            float64 and uint8 [leaving, rows], and the codes of texts and messages of this call.

        Raises:
            DataError: a cell is of no known type.
        """
        texts = Codes(self.texts)
        return self.run_encoded(self._read(columns, rows, texts), rows, texts)

    def run_encoded(self, arrays: Sequence[F64], rows: int, texts: Codes) -> tuple[F64, U8, Codes, Codes]:
        """Score columns whose cells are as the kernels take them.

        Args:
            arrays: contiguous float64[rows] for each of `sources`: numbers, 0.0 or 1.0, or codes of texts; NaN for
                missing.
            rows: N.
            texts: codes of the call, which begin with those of the program.

        Returns:
            See `run`.
        """
        messages = Codes(self.messages)
        data, state = np.empty((len(self.leaving), rows)), np.empty((len(self.leaving), rows), np.uint8)
        if not rows:
            return data, state, texts, messages
        most = BLOCK_ROWS if self.is_pure else PYTHON_ROWS
        workspace = self.workspace(1 if rows == 1 else most)
        addresses = np.array([array.ctypes.data for array in arrays], np.int64)
        self.connect(workspace, rows, addresses, data, state)
        if self.is_pure:
            run_all(workspace.address)
        else:
            self.run_with_python(workspace, rows, Call(texts, messages))
        return data, state, texts, messages

    def connect(self, workspace: Workspace, rows: int, addresses: I64, data: F64, state: U8) -> None:
        """Tell a run where its columns are and where its results go; the caller keeps all of them alive.

        Args:
            workspace: of the run.
            rows: N.
            addresses: int64[sources], of float64[N] columns.
            data: float64[leaving, N].
            state: uint8[leaving, N].
        """
        run, program = workspace.run, self.segments[0].program
        run[at.PROGRAM], run[at.LENGTH] = program.ctypes.data, len(program)
        run[at.COLUMNS], run[at.INPUTS], run[at.TOTAL] = addresses.ctypes.data, len(addresses), rows
        run[at.OUT_SLOTS], run[at.OUTPUTS] = self._out_slots.ctypes.data, len(self.leaving)
        run[at.OUT_DATA], run[at.OUT_STATE] = data.ctypes.data, state.ctypes.data

    def _read(self, columns: Mapping[str, Any], rows: int, texts: Codes) -> list[F64]:
        known: dict[tuple[str, str], tuple[F64, F64]] = {}
        found = []
        for column, dtype, tells_unparsed in self.sources:
            if (column, dtype) not in known:
                if column in columns:
                    known[column, dtype] = read_column(column, columns[column], dtype, texts)
                else:
                    known[column, dtype] = np.full(rows, np.nan), np.zeros(rows)
            found.append(known[column, dtype][tells_unparsed])
        return found

    def run_with_python(self, workspace: Workspace, rows: int, call: Call) -> None:
        """Run a program of which Python runs some ops, block after block."""
        run, stride = workspace.run, workspace.data.shape[1]
        for first in range(0, rows, stride):
            count = min(stride, rows - first)
            run[at.ROWS] = count
            load_columns(workspace.address, first)
            for segment in self.segments:
                run[at.PROGRAM], run[at.LENGTH] = segment.program.ctypes.data, len(segment.program)
                execute(workspace.address)
                if segment.python is not None:
                    self._run_python(segment.python, workspace, call)
            store_outputs(workspace.address, first)

    def _run_python(self, number: int, workspace: Workspace, call: Call) -> None:
        op, count = self._python[number], int(workspace.run[at.ROWS])
        data, state = workspace.data, workspace.state
        if count == 1 and op.spec.block is None:
            slots = [self.slots.of[value] for value in op.node.args]
            row = op.run_row([data.item(slot, 0) for slot in slots], [state.item(slot, 0) for slot in slots], call)
            for value, x, found_state in zip(op.node.results, *row, strict=True):
                data[self.slots.of[value], 0], state[self.slots.of[value], 0] = x, found_state
            return
        args = [self.slots.of[value] for value in op.node.args]
        outs = [self.slots.of[value] for value in op.node.results]
        results, found = op.run(data[args, :count], state[args, :count], call)
        data[outs, :count], state[outs, :count] = results, found
