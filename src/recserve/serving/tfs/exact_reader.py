"""JSON as TensorFlow Serving reads it, at the speed of a compiled pass: what `json_parser.parse_exactly` reads.

The pass checks the text and writes it anew, without what only TensorFlow Serving reads; what it writes goes to a usual
parser. It takes the time that the bytes take, whatever they are.
"""

from __future__ import annotations

import json
import secrets
from typing import Any, Final, NamedTuple

import numpy as np
import orjson

from recserve.serving.json_document import collector_waits, load_json
from recserve.serving.json_tensors.kernels import exact_layout as at
from recserve.serving.json_tensors.kernels.entries import load_kernel
from recserve.serving.tfs.errors import WireError

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_SEED: Final = secrets.randbits(40)
_MEMBER_BYTES: Final = 4
"""At least, with its colon."""
_PROBLEMS: Final = {
    at.EMPTY: "The document is empty.",
    at.NO_VALUE: "Invalid value.",
    at.NO_COMMA_IN_LIST: "Missing a comma or ] after an array element.",
    at.NO_COMMA_IN_OBJECT: "Missing a comma or } after an object member.",
    at.NO_NAME: "Missing a name for object member.",
    at.NO_COLON: "Missing a colon after a name of object member.",
    at.NO_END_OF_STRING: "Missing a closing quotation mark in string.",
    at.ODD_BYTE: "Invalid encoding in string.",
    at.ODD_ESCAPE: "Invalid escape character in string.",
    at.ODD_HEX: "Incorrect hex digit after \\u escape in string.",
    at.ODD_SURROGATE: "The surrogate pair in string is invalid.",
    at.NO_FRACTION: "Miss fraction part in number.",
    at.NO_EXPONENT: "Miss exponent in number.",
    at.TOO_BIG: "Number too big to be stored in double.",
}
_read_exact: Final = load_kernel("read_exact")


class PlainText(NamedTuple):
    """The first value of a body as a text that the usual parsers read.

    Attributes:
        text: JSON without equal keys, in the encoding of the body.
        has_odd_numbers: whether it has NaN or Infinity.
        has_equal_keys: whether the body had equal keys in an object.
    """

    text: bytes
    has_odd_numbers: bool
    has_equal_keys: bool


def read_exactly(body: bytes) -> Any:
    """The first value of a body.

    Raises:
        WireError: the body is empty or no JSON; the message has the offset.
    """
    return read_plain(make_plain(body))


def read_plain(plain: PlainText) -> Any:
    """The value."""
    if not plain.has_odd_numbers:
        try:
            return load_json(plain.text)
        except orjson.JSONDecodeError:
            pass  # bytes that are no UTF-8
    with collector_waits(len(plain.text)):
        return json.loads(plain.text.decode("utf-8", "surrogateescape"))


def make_plain(body: bytes) -> PlainText:
    """Check a body.

    Raises:
        WireError: as `read_exactly`.
    """
    if not body:
        raise WireError("JSON Parse error: The document is empty")
    skipped = len(_BYTE_ORDER_MARK) if body.startswith(_BYTE_ORDER_MARK) else 0
    size = len(body) - skipped
    keys = min(body.count(b":"), size // _MEMBER_BYTES) + 1
    # Memory that is not touched costs nothing, and most bodies touch little of this.
    text = np.frombuffer(body, np.uint8)
    out = np.empty(at.OUT_BYTES_PER_BYTE * size + at.OUT_BYTES, np.uint8)
    kinds, scratch = np.empty(size + 2, np.uint8), np.empty(size + 1, np.uint8)
    entries, slots = np.empty((keys + 1, at.KEY), np.int64), np.zeros(1 << (2 * keys).bit_length(), np.int64)
    objects = np.zeros(at.MAX_DEPTH + 2, np.int64)
    op, run = np.zeros(at.OP, np.int64), np.zeros(at.RUN, np.int64)
    op[at.TEXT], op[at.SIZE], op[at.OUT], op[at.KINDS] = (
        text.ctypes.data + skipped,
        size,
        out.ctypes.data,
        kinds.ctypes.data,
    )
    op[at.KEYS], op[at.SLOTS], op[at.SLOT_MASK] = entries.ctypes.data, slots.ctypes.data, len(slots) - 1
    op[at.SCRATCH], op[at.SEED], op[at.OBJECTS] = scratch.ctypes.data, _SEED, objects.ctypes.data
    status = _read_exact(op.ctypes.data, run.ctypes.data)
    if status != at.READ:
        raise WireError(f"JSON Parse error: {_PROBLEMS[status]} at offset: {run[at.AT] + skipped}")
    return PlainText(out[: run[at.WRITTEN]].tobytes(), not run[at.IS_PLAIN], bool(run[at.HAS_EQUAL_KEYS]))
