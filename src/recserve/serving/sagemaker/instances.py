"""Bodies of the TensorFlow Serving container → the JSON that TensorFlow Serving takes.

The text is put together, not parsed: TensorFlow Serving's own parser sees each number as the caller wrote it.
"""

from __future__ import annotations

import csv
import re
from typing import Final

import orjson

from recserve.errors import RequestError

JSON_TYPES: Final = ("application/json", "application/jsonlines", "application/jsons")
CSV_TYPE: Final = "text/csv"
TYPES: Final = (*JSON_TYPES, CSV_TYPE)

_OWN_KEY: Final = re.compile(rb'"(?:instances|inputs|examples)"\s*:')
_BETWEEN_DOCUMENTS: Final = re.compile(rb"[}\]]\s*[\[{]")
_LIST_OF_LISTS: Final = re.compile(rb"\s*\[\s*\[")
_LINE_BREAK: Final = re.compile(rb"\r?\n")
_SEVERAL_COLUMNS: Final = re.compile(rb"^(.*,.*)$", re.MULTILINE)
_FIRST_CELL: Final = re.compile(rb'\s*("|[+-]?(?:[0-9]|\.[0-9])[^,\r\n]*|NaN|-?Infinity)')
_NUMBER: Final = re.compile(rb"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|NaN|-?Infinity")


def wrap_json(body: bytes) -> bytes:
    """A body with `instances`, `inputs` or `examples` as it is; others become instances.

    Documents one after the other, a line each, are an instance each. A list of lists is a batch. Anything else is one
    instance.
    """
    if _OWN_KEY.search(body):
        return body
    if _BETWEEN_DOCUMENTS.search(body):
        lines = [line for line in map(bytes.strip, _LINE_BREAK.split(body.strip())) if line]
        return b'{"instances":[' + b",".join(lines) + b"]}"
    instances = body if _LIST_OF_LISTS.match(body) else b"[" + body + b"]"
    return b'{"instances":' + instances + b"}"


def wrap_csv(body: bytes) -> bytes:
    """Rows of CSV without a header row as instances: a list a row, or a bare value where there is one column.

    Cells are taken as JSON where the first is quoted or a number; else all of them are text.

    Raises:
        RequestError: cells of text that are not UTF-8, or quoted wrongly.
    """
    text = body.strip()
    first = _FIRST_CELL.match(text)
    if first is None or not (first[1] == b'"' or _NUMBER.fullmatch(first[1].strip())):
        return _wrap_text(text)
    lines = [line for line in map(bytes.strip, _LINE_BREAK.split(text)) if line]
    rows = _SEVERAL_COLUMNS.sub(rb"[\1]", b"\n".join(lines))
    return b'{"instances":[' + rows.replace(b"\n", b",") + b"]}"


def _wrap_text(text: bytes) -> bytes:
    try:
        rows = [row for row in csv.reader(text.decode().splitlines(), strict=True) if row]
    except UnicodeDecodeError as error:
        raise RequestError(f"the CSV is not UTF-8: {error}", where="body") from None
    except csv.Error as error:
        raise RequestError(f"the CSV cannot be read: {error}", where="body") from None
    is_one_column = set(map(len, rows)) == {1}
    return orjson.dumps({"instances": [cell for row in rows for cell in row] if is_one_column else rows})
