"""One row at a time, as a request brings it: from a dict to a dict in a few microseconds."""

from __future__ import annotations

import math
import struct
import threading
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from recserve.dtypes import F64, I64, U8
from recserve.errors import DataError
from recserve.scoring.cells import FAILED, VALID, DType
from recserve.scoring.compiled import Compiled, Workspace
from recserve.scoring.ingest import encode_cell
from recserve.scoring.kernels import layout as at
from recserve.scoring.kernels.driver import run_all
from recserve.scoring.pool import Codes
from recserve.scoring.python_ops import Call

_NAN: Final = math.nan


class _Desk:
    """What one thread scores on: the cells of the row, the slots, and what leaves."""

    def __init__(self, compiled: Compiled) -> None:
        inputs, outputs = len(compiled.sources), len(compiled.leaving)
        self.cells: F64 = np.zeros(max(inputs, 1))
        self.addresses: I64 = np.array([self.cells[i:].ctypes.data for i in range(inputs)], np.int64)
        self.data: F64 = np.zeros(max(outputs, 1))
        self.state: U8 = np.zeros(max(outputs, 1), np.uint8)
        self.workspace = Workspace(max(compiled.slots.count, 1), 1)
        compiled.connect(self.workspace, 1, self.addresses, self.data, self.state)
        self.cell_bytes = self.cells.data.cast("B")
        self.data_bytes = self.data.data.cast("B")
        self.state_bytes = self.state.data
        self.address = self.workspace.address


class RowScorer:
    """Scores single rows. Threads may use it at once.

    Args:
        compiled: the program.
        outputs: dtype by name.
    """

    def __init__(self, compiled: Compiled, outputs: Mapping[str, DType]) -> None:
        self._compiled = compiled
        self._sources = compiled.sources
        self._pack = struct.Struct(f"{len(compiled.sources)}d").pack_into
        self._unpack = struct.Struct(f"{len(compiled.leaving)}d").unpack_from
        self._calm = bytes(len(compiled.leaving))
        places = {number: i for i, number in enumerate(compiled.leaving)}
        numbers = compiled.graph.outputs
        self._outputs = tuple((name, dtype, places[numbers[name]]) for name, dtype in outputs.items())
        self._is_plain = all(dtype == "number" for dtype in outputs.values())
        self._local = threading.local()

    def score(self, row: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
        """See `Program.score_row`."""
        try:
            desk: _Desk = self._local.desk
        except AttributeError:
            desk = self._local.desk = _Desk(self._compiled)
        texts: Codes | None = None
        values = []
        known, get = self._compiled.texts.known, row.get
        for column, dtype, tells_unparsed in self._sources:
            raw = get(column)
            if type(raw) is float and dtype != "string":
                values.append(_encode_float(raw, dtype)[tells_unparsed] if dtype != "number" or tells_unparsed else raw)
            elif raw is None:
                values.append(0.0 if tells_unparsed else _NAN)
            elif type(raw) is str and dtype == "string" and not tells_unparsed and raw in known:
                values.append(known[raw])
            else:
                texts = texts or Codes(self._compiled.texts)
                values.append(_encode(column, raw, dtype, texts)[tells_unparsed])
        self._pack(desk.cell_bytes, 0, *values)
        if self._compiled.is_pure:
            run_all(desk.address)
            return self._read(desk, texts, None)
        call = Call(texts or Codes(self._compiled.texts), Codes(self._compiled.messages))
        desk.workspace.run[at.ROWS] = 1
        self._compiled.run_with_python(desk.workspace, 1, call)
        return self._read(desk, call.texts, call.messages)

    def _read(self, desk: _Desk, texts: Codes | None, messages: Codes | None) -> tuple[dict[str, Any], str | None]:
        data = self._unpack(desk.data_bytes)
        if desk.state_bytes == self._calm and self._is_plain:
            return {name: data[place] for name, _, place in self._outputs}, None
        states = desk.state.tolist()
        for state, x in zip(states, data, strict=False):
            if state == FAILED:
                message = (messages or self._compiled.messages).text(int(x))
                return dict.fromkeys((name for name, _, _ in self._outputs), None), message
        found = {}
        for name, dtype, place in self._outputs:
            value = _value(data[place], dtype, texts or self._compiled.texts) if states[place] == VALID else None
            found[name] = value
        return found, None


def _encode(column: str, raw: Any, dtype: str, texts: Codes) -> tuple[float, float]:
    try:
        return encode_cell(raw, dtype, texts)
    except DataError as error:
        raise error.at(f"column {column!r}") from None


def _encode_float(raw: float, dtype: str) -> tuple[float, float]:
    """`encode_cell` of a float, for numbers and booleans."""
    if dtype == "number" or raw in {0.0, 1.0}:
        return raw, 0.0
    return _NAN, float(raw == raw)  # noqa: PLR0124  (NaN is missing, not wrong)


def _value(x: float, dtype: DType, texts: Codes) -> Any:
    if dtype == "number":
        return x
    if dtype == "boolean":
        return x != 0.0
    text = texts.text(int(x))
    return list(text) if dtype == "object" else text
