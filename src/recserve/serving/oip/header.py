"""Where the JSON of a body ends and its binary data begin."""

from __future__ import annotations

import re
from typing import Final

from recserve.errors import RequestError

HEADER: Final = "Inference-Header-Content-Length"
_INT32_MAX: Final = 2**31 - 1
_NUMBER: Final = re.compile(r"\s*([+-]?[0-9]+)\s*", re.ASCII)


def read_json_length(value: str | None, body_bytes: int, name: str = HEADER) -> int:
    """Bytes of JSON at the beginning of a body; 0 says that there is none, and the body is the only input.

    Args:
        value: of the header; None where the request has none, and the body is JSON as a whole.
        body_bytes: length of the body.
        name: what errors call the header.

    Raises:
        RequestError: no number, negative, or more than the body has.
    """
    if value is None:
        return body_bytes
    found = _NUMBER.fullmatch(value)
    shown = value[:80]
    if found is None:
        raise RequestError(f"Unable to parse {name}, got: {shown}")
    if len(found[1]) > 20 or not -_INT32_MAX - 1 <= int(found[1]) <= _INT32_MAX:
        raise RequestError(
            f"Unable to parse {name}, value is out of range [ {-_INT32_MAX - 1}, {_INT32_MAX} ], got: {shown}"
        )
    length = int(found[1])
    if not 0 <= length <= body_bytes:
        raise RequestError(f"inference header size should be in range (0, {body_bytes}), got: {shown}")
    return length
