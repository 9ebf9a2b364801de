"""A ranker's model on rows: each row one sample with all its raw columns, as offline scoring and training see them.

Protocols that know tensors alone ask rankers this way. The answer is that of the flat pipeline: the offline plan, the
same tables, and the network as exported. Nothing comes from the item store.

    serving_default  predict: columns in; every output, and `score` where the ranking expression is none of them
    regress          regress: the score
    classify         classify: the outputs of one value a row as classes; only where there are any

Axes: N rows.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Final

import numpy as np
import pyarrow as pa

from recserve.bundle import Bundle
from recserve.columns import offsets_of
from recserve.dtypes import F32
from recserve.errors import RequestError
from recserve.features import ops
from recserve.features.graph import PlanGraph
from recserve.network.model import Network
from recserve.signatures import DEFAULT_SIGNATURE, Signature, Tensor, TensorSpec
from recserve.staging.cuts import match_inputs
from recserve.staging.draw import column_sides
from recserve.staging.flat import FlatPipeline

BLOCK_ROWS: Final = 1024
"""Rows that are scored at a time: padded sequences of more would take much memory."""

_SCORE: Final = "score"


class RowScores:
    """Signatures of a bundle, and their answers. Threads may call `run` at once.

    Args:
        bundle: whose model it is. Its flat network is loaded at the first call of `run`.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle: Final = bundle
        self._loading: Final = threading.Lock()
        self._flat: FlatPipeline | None = None

    @cached_property
    def signatures(self) -> dict[str, Signature]:
        """Signature by name."""
        outputs = self._output_specs
        inputs = column_specs(self._bundle.features.graph)
        found = {DEFAULT_SIGNATURE: Signature(DEFAULT_SIGNATURE, inputs, outputs)}
        values = {"outputs": TensorSpec("outputs", "float32", (None,))}
        found["regress"] = Signature("regress", inputs, values, "regress")
        if self._classes:
            count = len(self._classes)
            classified = {
                "scores": TensorSpec("scores", "float32", (None, count)),
                "classes": TensorSpec("classes", "string", (None, count)),
            }
            found["classify"] = Signature("classify", inputs, classified, "classify")
        return found

    def _network(self) -> Network:
        return Network.load(self._bundle.path / "network" / "flat.onnx")

    @cached_property
    def _output_specs(self) -> dict[str, TensorSpec]:
        specs = {}
        for name, value in self._network().outputs.items():
            sizes = tuple(dim if isinstance(dim, int) else None for dim in value.dims[1:])
            specs[name] = TensorSpec(name, "float32", (None, *(() if sizes == (1,) else sizes)))
        if self._bundle.score.text not in specs and _SCORE not in specs:
            specs[_SCORE] = TensorSpec(_SCORE, "float32", (None,))
        return specs

    @property
    def _classes(self) -> list[str]:
        return [name for name, spec in self._output_specs.items() if spec.shape == (None,) and name != _SCORE]

    def run(
        self,
        signature: str,
        inputs: Mapping[str, Tensor],
        outputs: Sequence[str] | None = None,
        pause: Callable[[], None] | None = None,
    ) -> dict[str, Tensor]:
        """Score rows.

        Args:
            signature: a name of `signatures`.
            inputs: tensors [N], [N, 1] or, of several values a row, [N, k]; strings are objects of `bytes`. Empty ones
                fill up rows with fewer values.
            outputs: the names to give; None for all.
            pause: called between blocks of rows.

        Raises:
            RequestError: shapes that are no rows, or bytes that are no UTF-8.
            DataError: a cell is not what a feature needs.
        """
        columns, rows = read_columns(inputs)
        flat = self._ready()
        blocks = []
        for first in range(0, max(rows, 1), BLOCK_ROWS):
            if first and pause is not None:
                pause()
            count = min(BLOCK_ROWS, rows - first)
            blocks.append(flat.run({name: column.slice(first, count) for name, column in columns.items()}))
        found = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
        given = self._as_outputs(signature, found, rows)
        return given if outputs is None else {name: given[name] for name in outputs}

    def _as_outputs(self, signature: str, found: dict[str, F32], rows: int) -> dict[str, Tensor]:
        score = self._bundle.score
        if signature == "regress":
            return {"outputs": score.evaluate(found)}
        if signature == "classify":
            names = np.array([name.encode() for name in self._classes], object)
            scores = np.stack([found[name] for name in self._classes], axis=1)
            return {"scores": scores, "classes": np.tile(names, (rows, 1))}
        specs = self._output_specs
        if _SCORE in specs and _SCORE not in found:
            found = {**found, _SCORE: score.evaluate(found)}
        return {name: found[name] for name in specs}

    def _ready(self) -> FlatPipeline:
        with self._loading:
            if self._flat is None:
                bundle, network = self._bundle, self._network()
                inputs = match_inputs(bundle.features.graph, network)
                self._flat = FlatPipeline(bundle.features.compile(), inputs, bundle.tables, network)
            return self._flat


def column_specs(graph: PlanGraph) -> dict[str, TensorSpec]:
    """The raw columns of a plan as inputs.

    A column that only numbers are read from is `float64`, one of whole ids `int64`, any other `string`: words, and
    texts that hold several values, maps or steps.
    """
    return {column: _spec_of(graph, column) for column in column_sides(graph)}


def _spec_of(graph: PlanGraph, column: str) -> TensorSpec:
    readers = [(i, op) for i, op in enumerate(graph.ops) if getattr(op, "column", None) == column]
    if all(isinstance(op, ops.ParseNumbers) for _, op in readers):
        features = {graph.values[i].feature for i, _ in readers}
        width = max((o.spec.dim for o in graph.outputs if o.spec.name in features and o.spec.table is None), default=1)
        return TensorSpec(column, "float64", (None, width) if width > 1 else (None,))
    users = [op for i, _ in readers for op in graph.ops if i in op.inputs]
    is_tokens = all(isinstance(op, ops.ParseTokens) for _, op in readers)
    is_whole = is_tokens and bool(users) and all(isinstance(op, ops.ParseInts) for op in users)
    return TensorSpec(column, "int64" if is_whole else "string", (None,))


def read_columns(inputs: Mapping[str, Tensor]) -> tuple[dict[str, pa.Array], int]:
    """Tensors as columns of cells, and the number of rows N.

    Raises:
        RequestError: no input, a tensor without rows, unequal numbers of rows, or bytes that are no UTF-8.
    """
    if not inputs:
        raise RequestError("no input is given, so the number of rows is unknown", code="no_inputs")
    columns: dict[str, pa.Array] = {}
    rows: int | None = None
    for name, tensor in inputs.items():
        where = f"input {name!r}"
        if tensor.ndim not in (1, 2):
            raise RequestError(f"has the shape {list(tensor.shape)}, not [rows] or [rows, values]", where=where)
        if rows is not None and len(tensor) != rows:
            raise RequestError(f"has {len(tensor)} rows, others have {rows}", where=where)
        rows = len(tensor)
        columns[name] = _cells(tensor, where)
    return columns, rows or 0


def _cells(tensor: Tensor, where: str) -> pa.Array:
    """An Arrow array of N cells; lists where there are several values a row."""
    if tensor.ndim == 1 or tensor.shape[1] == 1:
        return _values(tensor.reshape(len(tensor)), where)
    if tensor.dtype != object:
        lengths = np.full(len(tensor), tensor.shape[1])
        values = _values(np.ascontiguousarray(tensor).reshape(-1), where)
    else:
        is_value = tensor.astype(bool)
        lengths = is_value.sum(axis=1)
        values = _values(tensor[is_value], where)
    return pa.ListArray.from_arrays(pa.array(offsets_of(lengths), pa.int32()), values)


def _values(values: Tensor, where: str) -> pa.Array:
    if values.dtype != object:
        return pa.array(values)
    try:
        return pa.array(values, pa.binary()).cast(pa.string())
    except pa.ArrowInvalid:
        raise RequestError("holds bytes that are no UTF-8", where=where) from None
