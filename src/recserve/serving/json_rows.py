"""The document of a JSON rank request whose candidates bring rows of numbers, these read as arrays by compiled code.

    {"candidates": {"item_id": [7, 8], "cross": [[0.5, 1.5], [2.5, 3.5]]}, ...}    cross → float64[2, 2]

Nothing else differs from what the JSON parser makes of the body, and arrays hold what its lists would.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import orjson

from recserve.serving.json_document import load_json

if TYPE_CHECKING:
    from recserve.serving.json_tensors.lift import Block

_MIN_BYTES: Final = 4096
"""A shorter body costs the JSON parser less than all this."""
_ROWS: Final = b"[["
"""How most writers begin a list of lists; a body with a space in between goes to the JSON parser."""


def read_rows(body: bytes) -> Any | None:
    """The document of a body.

    Args:
        body: JSON, or any other bytes.

    Returns:
        The object, in which each column of `candidates` that is a list of lists of k numbers, k at least 1, is an array
        [N, k]: int64 where all are integers, float64 where all have a fraction or an exponent. None where that gains
        nothing or is not possible: the JSON parser has to read the body then.
    """
    if len(body) < _MIN_BYTES or _ROWS not in body:
        return None
    from recserve.serving.json_tensors.lift import lift  # compiled code, which few requests need

    lifted = lift(body)
    if lifted is None or not all(map(_is_plain, lifted.blocks)):
        return None
    try:
        document = load_json(lifted.rest)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(document, dict):
        return None

    def put_back(holder: dict[str, Any], name: str, *, may_be_array: bool = False) -> None:
        block = lifted.take(holder[name])
        if block is not None:
            numbers = block.columns[""]
            is_array = may_be_array and numbers.ndim == 2
            holder[name] = np.array(numbers) if is_array else numbers.tolist()

    for part, value in document.items():
        put_back(document, part)
        if isinstance(value, dict):
            for name in value:
                put_back(value, name, may_be_array=part == "candidates")
    return document if lifted.is_used_up else None


def _is_plain(block: Block) -> bool:
    """Whether the list is one of JSON, and of numbers of one type; NaN and Infinity are no JSON."""
    return not (block.is_mixed or block.is_table) and bool(np.isfinite(block.columns[""]).all())
