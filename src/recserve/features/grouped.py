"""Offline extraction of requests with lists of candidates: the user side runs once a request, not once a candidate.

The result is that of `Plan.run` on tiled columns, bit for bit: both run the same ops. Values of the request are not
copied for each candidate; the candidates' stage reads them through a directory.

Axes: R requests, N candidates over all requests, V values over all rows.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from recserve import memory
from recserve.columns import Ragged, offsets_of
from recserve.dtypes import I64
from recserve.errors import CellError, DataError
from recserve.features.compiled import CHUNK_ROWS, Output, join_parts, read_output
from recserve.features.graph import PlanGraph
from recserve.features.ingest import ColumnBatch
from recserve.features.stage import Stage, Workspace
from recserve.rates import Rate

_Directory = dict[int, tuple[I64, I64]]
"""By number of an imported value: where the elements of each request start and end."""


class GroupedPlan:
    """A plan cut in two: what a request has once, and what each of its candidates has. Threads may share it.

    Attributes:
        graph: the ops.
        request: makes what depends on user and context columns only, and constants; over R rows.
        candidate: makes the rest; over N rows.
    """

    def __init__(self, graph: PlanGraph) -> None:
        self.graph = graph
        self._once: Final = tuple(o for o in graph.outputs if o.spec.rate in (Rate.REQUEST, Rate.CONSTANT))
        self._each: Final = tuple(o for o in graph.outputs if o not in self._once)
        once = [o.value for o in self._once]
        self.request: Final = Stage(graph, [*graph.of_rate(Rate.REQUEST), *once], exports=_distinct(once))
        each = [*graph.of_rate(Rate.ITEM), *graph.of_rate(Rate.CANDIDATE)]
        self.candidate: Final = Stage(graph, each, exports=_distinct(o.value for o in self._each))
        self._local: Final = threading.local()

    def run(
        self,
        requests: Any,
        candidates: Any,
        request_index: Any = None,
        *,
        offsets: Any = None,
        types: Mapping[str, str] | None = None,
    ) -> dict[str, Output]:
        """Extract all features of N candidates; see `plan.Plan.run_grouped`."""
        index, count = read_index(requests, request_index, offsets)
        users = ColumnBatch.from_columns(requests, self.request.columns, types, rows=count)
        items = ColumnBatch.from_columns(candidates, self.candidate.columns, types, rows=len(index))
        parts: list[list[Output]] = []
        for first, end, chunks in _blocks(index, count):
            made, directory = self._run_requests(users, first, end)
            for start, stop in chunks:
                picks = index[start:stop] - first
                found = {name: _pick(value, picks) for name, value in made.items()}
                found |= self._run_candidates(items, directory, picks, start)
                parts.append([found[output.spec.name] for output in self.graph.outputs])
        return {o.spec.name: join_parts([part[i] for part in parts]) for i, o in enumerate(self.graph.outputs)}

    def _workspaces(self) -> tuple[Workspace, Workspace]:
        """This thread's scratch."""
        if not hasattr(self._local, "pair"):
            self._local.pair = Workspace(self.request.slots), Workspace(self.candidate.slots)
        pair: tuple[Workspace, Workspace] = self._local.pair
        return pair

    def _run_requests(self, columns: ColumnBatch, first: int, end: int) -> tuple[dict[str, Output], _Directory]:
        """Outputs of the requests [first, end), and the directory of what their candidates read."""
        workspace, _ = self._workspaces()
        rows = end - first
        try:
            self.request.run(workspace, columns if rows == columns.rows else columns.slice(first, rows), rows)
        except CellError as error:
            raise error.shift(first, "request") from None
        made = {o.spec.name: read_output(self.request, workspace, o) for o in self._once}
        directory = {}
        for number in self.candidate.imports:
            value = workspace.values[number]
            stride = int(value[memory.STRIDE])
            if self.graph.values[number].domain is None and stride:
                count = (int(value[memory.ROWS]) - 1) * stride + 1
                bounds = [workspace.read(int(value[at]), count, np.int64) for at in (memory.STARTS, memory.ENDS)]
                directory[number] = bounds[0][::stride], bounds[1][::stride]
        return made, directory

    def _run_candidates(self, columns: ColumnBatch, directory: _Directory, picks: I64, first: int) -> dict[str, Output]:
        """Outputs of the candidates from `first` on, whose requests are `picks` of the block that ran last."""
        if not self._each:
            return {}
        requests, workspace = self._workspaces()
        workspace.reserve(self.candidate.slots)
        rows, kept = len(picks), []  # the descriptors point into what is kept
        for number in self.candidate.imports:
            value = workspace.values[number]
            value[:] = requests.values[number]
            if self.graph.values[number].domain is None:
                value[memory.ROWS] = rows
            if number in directory:
                bounds = np.stack([part[picks] for part in directory[number]])
                value[memory.STARTS], value[memory.ENDS] = bounds.ctypes.data, bounds.ctypes.data + 8 * rows
                value[memory.STRIDE] = 1
                kept.append(bounds)
        chunk = columns if rows == columns.rows else columns.slice(first, rows)
        try:
            self.candidate.run(workspace, chunk, rows)
        except CellError as error:
            raise error.shift(first, "candidate") from None
        return {o.spec.name: read_output(self.candidate, workspace, o) for o in self._each}


def read_index(requests: Any, request_index: Any, offsets: Any) -> tuple[I64, int]:
    """The request of each candidate, and how many requests there are.

    Args:
        requests: columns of R rows.
        request_index: int64[N], or None.
        offsets: int64[R + 1], or None; just one of both is given.

    Raises:
        DataError: both or none are given, they are no integers, or a number is out of range.
    """
    if (request_index is None) == (offsets is None):
        raise DataError("give either request_index or offsets", code="bad_groups")
    lengths = _lengths(requests)
    if offsets is not None:
        bounds = _integers("offsets", offsets)
        falls = np.flatnonzero(np.diff(bounds) < 0)
        if not len(bounds) or bounds[0] != 0 or len(falls):
            where = int(falls[0]) + 1 if len(falls) else 0
            problem = f"offsets[{where}] is {bounds[where]}" if len(bounds) else "there are no offsets"
            raise DataError(problem, code="bad_groups", hint="Offsets start at 0 and never fall")
        return np.repeat(np.arange(len(bounds) - 1), np.diff(bounds)), len(bounds) - 1
    index = _integers("request_index", request_index)
    count = max(lengths, default=int(index.max(initial=-1)) + 1)
    wrong = np.flatnonzero((index < 0) | (index >= count))
    if len(wrong):
        raise DataError(
            f"request_index[{wrong[0]}] is {index[wrong[0]]}, but there are {count} requests", code="bad_groups"
        )
    return index, count


def _lengths(columns: Any) -> list[int]:
    if isinstance(columns, Mapping):
        return [len(column) for column in columns.values()]
    return [len(columns)] if hasattr(columns, "column_names") or hasattr(columns, "schema") else []


def _integers(name: str, values: Any) -> I64:
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise DataError(f"{name} is {array.dtype}{list(array.shape)}, not integers of one axis", code="bad_groups")
    return array.astype(np.int64)


def _blocks(index: I64, requests: int) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """(first request, end, its chunks of candidates): what is run at once; at least one, that may be empty.

    Requests run a few thousand at a time where their candidates lie together, else all at once.
    """
    rows = len(index)
    if requests <= CHUNK_ROWS or np.any(np.diff(index) < 0):
        yield 0, requests, _chunks(0, rows)
        return
    bounds = np.searchsorted(index, np.arange(requests + 1))
    first = 0
    while first < requests:
        fitting = int(np.searchsorted(bounds, bounds[first] + CHUNK_ROWS, "right")) - 1
        end = min(max(fitting, first + 1), first + CHUNK_ROWS, requests)
        if bounds[end] > bounds[first] or end == requests:
            yield first, end, _chunks(int(bounds[first]), int(bounds[end]))
        first = end


def _chunks(first: int, end: int) -> list[tuple[int, int]]:
    return [(start, min(start + CHUNK_ROWS, end)) for start in range(first, max(end, first + 1), CHUNK_ROWS)]


def _distinct(values: Any) -> tuple[int, ...]:
    return tuple(dict.fromkeys(values))


def _pick(value: Output, rows: I64) -> Output:
    """Rows of an output by number."""
    if isinstance(value, np.ndarray):
        return value[rows]
    if value.seq_lengths is None:
        places = _places(value.offsets, rows)
        return Ragged(value.values[places], value.lengths[rows], _at(value.weights, places))
    steps = _places(offsets_of(value.seq_lengths), rows)
    if value.key_lengths is None:  # each step is one row of values
        return Ragged(value.values[steps], value.lengths[rows], seq_lengths=value.seq_lengths[rows])
    places = _places(offsets_of(value.key_lengths), steps)
    weights, key_lengths = _at(value.weights, places), value.key_lengths[steps]
    return Ragged(value.values[places], value.lengths[rows], weights, key_lengths, value.seq_lengths[rows])


def _places(offsets: I64, rows: I64) -> I64:
    """Where the elements of these rows lie, in order."""
    lengths = offsets[rows + 1] - offsets[rows]
    starts: I64 = np.repeat(offsets[rows] - offsets_of(lengths)[:-1], lengths)
    return starts + np.arange(len(starts))


def _at(values: npt.NDArray[Any] | None, places: I64) -> npt.NDArray[Any] | None:
    return None if values is None else values[places]
