"""H2O Driverless AI's scoring interface: tables of texts in, tables of texts out.

The columns of a table are the inputs of the model's `serving_default`, each of one value a row, and its outputs: one of
shape [rows, k] gives k columns. A model of one input of shape [rows, k] has k columns too, named `<input>.<i>`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson

from recserve.errors import RequestError, suggest
from recserve.serving.body import Receive, Scope, Send, read_body
from recserve.serving.dialects import App, Serving
from recserve.serving.inference import dtype_name, find_signature, run_signature, tensor_model
from recserve.serving.refusals import UnsupportedError
from recserve.serving.tfs.endpoint import OK, Answer, send_reply
from recserve.serving.tfs.errors import WireError, error_answer
from recserve.serving.tfs.float_text import float_texts
from recserve.signatures import Signature, Tensor, TensorSpec, numpy_dtype

SCORE: Final = "/model/score"
_KEYS: Final = (
    "fields",
    "rows",
    "includeFieldsInOutput",
    "noFieldNamesInOutput",
    "idField",
    "requestShapleyValueType",
    "requestPredictionIntervals",
)
_TYPES: Final = {"bool": "Bool", "string": "Str", "float32": "Float32", "float64": "Float64"}
_TRUTHS: Final = {"true": True, "True": True, "1": True, "false": False, "False": False, "0": False}


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: as the fields of a request or answer have it.
        spec: the input or output that it belongs to.
        place: its place in that tensor's second axis; None where the tensor has one value a row.
    """

    name: str
    spec: TensorSpec
    place: int | None

    @property
    def data_type(self) -> str:
        """H2O's word for its type."""
        dtype = self.spec.dtype
        return _TYPES.get(dtype) or ("Int64" if dtype in ("int64", "uint32", "uint64") else "Int32")


def build_h2o(serving: Serving) -> App:
    """The application of a port that speaks H2O's scoring interface."""
    return H2oApp(serving)


class H2oApp:
    """H2O's `/model/...` routes as an ASGI 3 application."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path, method = scope["path"], scope["method"]
        reply: Answer | None
        kind = [(b"content-type", b"application/json")]
        try:
            if path == SCORE and method == "POST":
                body = await read_body(scope, receive, self._serving.limits)
                reply = body if body is None else (OK, await self._serving.threads.run(lambda: self._score(body)), [])
            elif method in ("GET", "HEAD") and path in ("/model/id", "/model/schema", "/model/sample_request"):
                reply = (OK, self._page(path), [])
                kind = [(b"content-type", b"text/plain")] if path == "/model/id" else kind
            elif method in ("GET", "HEAD") and path == "/model/capabilities":
                reply = (OK, orjson.dumps(["SCORE"]), [])
            else:
                reply = error_answer(WireError(f"There is no {method} {path}", "NOT_FOUND"))
        except Exception as error:
            reply = error_answer(error)
        if reply is not None:
            await send_reply(self._serving, reply, send, kind)

    def _score(self, body: bytes) -> bytes:
        with self._serving.registry.lease(self._serving.default_model()) as leased:
            model = tensor_model(leased)
            signature = find_signature(model)
            table = read_table(body, input_columns(signature))
            outputs = run_signature(model, signature, table.inputs)
            document = write_scores(table, outputs)
            return orjson.dumps({"id": _model_id(model.name, model.version), **document})

    def _page(self, path: str) -> bytes:
        with self._serving.registry.lease(self._serving.default_model()) as leased:
            model = tensor_model(leased)
            signature = find_signature(model)
            identity = _model_id(model.name, model.version)
        if path == "/model/id":
            return identity.encode()
        inputs = input_columns(signature)
        if path == "/model/sample_request":
            cells = ["text" if column.spec.dtype == "string" else "0" for column in inputs]
            return orjson.dumps({"fields": [column.name for column in inputs], "rows": [cells]})
        sides = {"inputFields": inputs, "outputFields": output_columns(signature)}
        schema = {
            side: [{"name": column.name, "dataType": column.data_type} for column in columns]
            for side, columns in sides.items()
        }
        return orjson.dumps({"id": identity, "schema": schema})


def _model_id(name: str, version: int) -> str:
    return f"{name}-{version}"


# --- Columns ------------------------------------------------------------------------------------------------------


def input_columns(signature: Signature) -> list[Column]:
    """The columns of a request.

    Raises:
        RequestError: an input has neither one value a row nor a known number of them.
    """
    return [column for spec in signature.inputs.values() for column in _columns(spec)]


def output_columns(signature: Signature) -> list[Column]:
    """The columns of an answer, as far as the signature tells their number."""
    return [column for spec in signature.outputs.values() for column in _columns(spec)]


def _columns(spec: TensorSpec) -> list[Column]:
    sizes = (None,) if spec.shape is None else spec.shape
    if len(sizes) <= 1:
        return [Column(spec.name, spec, None)]
    if len(sizes) == 2 and sizes[1] is not None:
        if sizes[1] == 1:
            return [Column(spec.name, spec, 0)]
        return [Column(f"{spec.name}.{place}", spec, place) for place in range(sizes[1])]
    raise RequestError(f"{spec.name!r} has shape {list(sizes)}, which is no table", code="no_table")


# --- Requests -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ScoreTable:
    """A request, read.

    Attributes:
        inputs: tensor by input name.
        copied: names of the request's columns that the answer begins with.
        cells: the copied cells, row by row.
        has_names: whether the answer names its columns.
        rows: how many.
    """

    inputs: dict[str, Tensor]
    copied: list[str]
    cells: list[list[str]]
    has_names: bool
    rows: int


def read_table(body: bytes, columns: list[Column]) -> ScoreTable:
    """Read a request.

    Args:
        body: JSON.
        columns: of the model.

    Raises:
        RequestError: no JSON, a wrong field, a row of another length, or a cell that is not of its column's type.
        UnsupportedError: Shapley values or prediction intervals are asked for.
    """
    document = _document(body)
    fields = _texts(document, "fields")
    rows = document.get("rows")
    if not isinstance(rows, list) or not rows:
        raise RequestError("'rows' is no list of rows", where="$.rows", hint='Give [["5.1", "3.5"], ...].')
    for index, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(fields):
            got = f"{len(row)} cells" if isinstance(row, list) else "no list"
            raise RequestError(f"{got} for {len(fields)} fields", where=f"$.rows[{index}]")
    names = [column.name for column in columns]
    if missing := [name for name in names if name not in fields]:
        raise RequestError(f"no field {missing[0]!r}", where="$.fields", hint=f"The model takes {', '.join(names)}.")
    given = dict(zip(fields, map(list, zip(*rows, strict=True)), strict=True))
    copied = _texts(document, "includeFieldsInOutput")
    if unknown := [name for name in copied if name not in given]:
        raise RequestError(
            f"no field {unknown[0]!r} to include", where="$.includeFieldsInOutput", hint=suggest(unknown[0], given)
        )
    identity = document.get("idField")
    if isinstance(identity, str) and identity in given and identity not in copied:
        copied = [identity, *copied]
    values = {column.name: _parse(column, given[column.name]) for column in columns}
    cells = [list(map(_shown, row)) for row in zip(*(given[name] for name in copied), strict=True)]
    return ScoreTable(
        inputs=_assemble(columns, values),
        copied=copied,
        cells=cells or [[] for _ in rows],
        has_names=not document.get("noFieldNamesInOutput", False),
        rows=len(rows),
    )


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestError(f"the body is no JSON: {error}", code="invalid_json") from None
    if not isinstance(document, dict):
        raise RequestError("the body is no object", where="$", hint='Give {"fields": [...], "rows": [[...]]}.')
    if document.get("requestShapleyValueType", "NONE") not in ("NONE", None):
        raise UnsupportedError("Shapley values are not supported", hint="Leave requestShapleyValueType out.")
    if document.get("requestPredictionIntervals"):
        raise UnsupportedError("prediction intervals are not supported", hint="Leave requestPredictionIntervals out.")
    return document


def _texts(document: Mapping[str, Any], key: str) -> list[str]:
    value = document.get(key, [])
    if not isinstance(value, list) or not set(map(type, value)) <= {str}:
        raise RequestError(f"{key!r} is no list of texts", where=f"$.{key}")
    if len(set(value)) != len(value):
        raise RequestError(f"{key!r} names a column twice", where=f"$.{key}")
    return value


def _parse(column: Column, cells: list[Any]) -> Tensor:
    """The cells of one column; an empty one is missing: NaN, or an empty text."""
    dtype = column.spec.dtype
    place = f"$.rows[*].{column.name}"
    try:
        if dtype == "string":
            texts = np.empty(len(cells), object)
            texts[:] = [_shown(cell).encode() for cell in cells]
            return texts
        if dtype == "bool":
            return np.array([_TRUTHS[_shown(cell)] for cell in cells])
        if dtype.startswith("float"):
            numbers = [float("nan") if cell in ("", None) else float(cell) for cell in cells]
            with np.errstate(over="ignore", under="ignore"):
                return np.array(numbers, np.float64).astype(numpy_dtype(dtype))
        return np.array([int(cell) for cell in cells], numpy_dtype(dtype))
    except (KeyError, TypeError, ValueError, OverflowError, UnicodeEncodeError):
        raise RequestError(f"a cell is no {dtype}", where=place, hint='Write numbers as text, such as "5.1".') from None


def _shown(cell: Any) -> str:
    match cell:
        case None:
            return ""
        case str():
            return cell
        case bool():
            return "true" if cell else "false"
        case int() | float():
            return str(cell)
    raise RequestError("a cell is neither text nor number", where="$.rows")


def _assemble(columns: list[Column], values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    inputs: dict[str, list[Tensor]] = {}
    for column in columns:
        inputs.setdefault(column.spec.name, []).append(values[column.name])
    flat = {column.spec.name for column in columns if column.place is None}
    return {name: parts[0] if name in flat else np.stack(parts, axis=1) for name, parts in inputs.items()}


# --- Answers ------------------------------------------------------------------------------------------------------


def write_scores(table: ScoreTable, outputs: Mapping[str, Tensor]) -> dict[str, Any]:
    """`fields` (unless they are not wanted) and `score` of the answer; copied columns first.

    Raises:
        RequestError: an output has not one row for each of the request.
    """
    names: list[str] = list(table.copied)
    columns: list[list[str]] = []
    for name, tensor in outputs.items():
        if tensor.ndim not in (1, 2) or tensor.shape[0] != table.rows:
            raise RequestError(f"output {name!r} has shape {list(tensor.shape)}, which is no table", code="no_table")
        wide = tensor.reshape(table.rows, -1)
        names += [name] if wide.shape[1] == 1 else [f"{name}.{place}" for place in range(wide.shape[1])]
        columns += [_cell_texts(wide[:, place]) for place in range(wide.shape[1])]
    scores = [[*cells, *row] for cells, row in zip(table.cells, zip(*columns, strict=True), strict=True)]
    return {"fields": names, "score": scores} if table.has_names else {"score": scores}


def _cell_texts(values: Tensor) -> list[str]:
    if dtype_name(values.dtype) == "string":
        return [value.decode("utf-8", "replace") for value in values.tolist()]
    if values.dtype in (np.float32, np.float64):
        return float_texts(np.ascontiguousarray(values))
    return list(map(str, values.tolist()))
