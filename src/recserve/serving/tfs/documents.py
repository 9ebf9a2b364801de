"""Body → document, as fast as can be without reading anything otherwise than `json_parser.parse_exactly`.

Three readers, each refusing what the next one has to see: orjson (plain JSON without equal keys), that of the standard
library (the tokens NaN and Infinity, equal keys, bytes after the document) and the exact one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import orjson

from recserve.serving.json_document import load_json
from recserve.serving.json_tensors.lift import lift
from recserve.serving.tfs.errors import WireError
from recserve.serving.tfs.json_parser import has_equal_keys, parse_exactly, read_standard
from recserve.serving.tfs.values import show

MAX_EXACT_BYTES: Final = 4 << 20
"""Bytes of a body that the exact reader takes on: it needs about a second for each million."""

# What the standard library reads otherwise: an infinite number that is written out, an integer beyond 64 bits, a
# surrogate on its own.
_TREACHEROUS: Final = re.compile(rb"[eE]\+?0*[1-9][0-9]{2}|-[0-9]{19}|(?<![.0-9])[0-9]{20}|\\u[dD][89a-fA-F]")

# Strings, so that what is in them stays, and what the standard library knows under one name only.
_NAMES: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|-NaN|Infinity|Inf', re.DOTALL)


@dataclass(frozen=True)
class Document:
    """The object of a body.

    Attributes:
        members: by key; the first of equal keys.
        has_literals: whether `true` or `false` may stand somewhere; where not, NumPy need not be asked.
    """

    members: dict[str, Any]
    has_literals: bool


def read_document(body: bytes) -> Document:
    """Read a body.

    Raises:
        WireError: no JSON, or no object.
    """
    has_literals = b"true" in body or b"false" in body
    try:
        value = load_json(body)
    except orjson.JSONDecodeError as error:
        value = _read_otherwise(body, error)
    else:
        if isinstance(value, dict) and _count_keys(value) != body.count(b":") and has_equal_keys(body.decode()):
            value = _read_otherwise(body, None)
    if not isinstance(value, dict):
        raise WireError(f"JSON Value: {show(value)} Is not object")
    return Document(value, has_literals)


@dataclass(frozen=True)
class LiftedDocument:
    """The object of a body of a predict call whose lists of numbers were read already.

    Attributes:
        members: by key; a block in the place of `inputs` or `instances`, or in the places of members of `inputs`.
        has_literals: whether `true` or `false` may stand beside the blocks.
    """

    members: dict[str, Any]
    has_literals: bool


def read_lifted(body: bytes) -> LiftedDocument | None:
    """Read a body, its lists of numbers by compiled code.

    Returns:
        None where `read_document` has to: no JSON, no object, equal keys, few numbers, or numbers elsewhere; or a
        signature name that is none.
    """
    lifted = lift(body)
    if lifted is None:
        return None
    try:
        members = orjson.loads(lifted.rest)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(members, dict) or _count_keys(members) != lifted.rest.count(b":"):
        return None
    if not isinstance(members.get("signature_name", ""), str):
        return None
    for form in ("inputs", "instances"):
        value = members.get(form)
        if isinstance(value, dict) and form == "inputs":
            members[form] = {name: lifted.take(part) or part for name, part in value.items()}
        elif block := lifted.take(value):
            members[form] = block
    has_literals = b"true" in lifted.rest or b"false" in lifted.rest
    return LiftedDocument(members, has_literals) if lifted.is_used_up else None


def _count_keys(members: dict[str, Any]) -> int:
    """Keys of the object and of the objects right inside it or in its lists.

    A colon of the text is behind a key or within a string. As many keys as colons: no key was dropped as equal to
    another. Fewer say nothing, and `has_equal_keys` looks.
    """
    count = len(members)
    for value in members.values():
        if isinstance(value, dict):
            count += len(value)
        elif isinstance(value, list) and value and isinstance(value[0], dict) and set(map(type, value)) == {dict}:
            count += sum(map(len, value))
    return count


def _name_as_standard(found: re.Match[bytes]) -> bytes:
    text = found[0]
    return text if text.startswith(b'"') else b"NaN" if text == b"-NaN" else b"Infinity"


def _read_otherwise(body: bytes, error: orjson.JSONDecodeError | None) -> Any:
    if not _TREACHEROUS.search(body):
        try:
            named = _NAMES.sub(_name_as_standard, body) if b"Inf" in body or b"-NaN" in body else body
            return read_standard(named.decode())
        except (ValueError, RecursionError):
            pass  # the exact reader decides
    if len(body) > MAX_EXACT_BYTES:
        reason = "equal keys" if error is None else str(error)
        raise WireError(f"JSON Parse error: {reason} (a body of more than {MAX_EXACT_BYTES} bytes is read strictly)")
    return parse_exactly(body)
