"""Body → document, as fast as can be without reading anything otherwise than `json_parser.parse_exactly`.

Plain JSON without equal keys is read by orjson, and its lists of numbers by compiled code; anything else by
`exact_reader`, which reads as TensorFlow Serving does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from recserve.serving.json_document import load_json
from recserve.serving.json_tensors.lift import lift
from recserve.serving.tfs.errors import WireError
from recserve.serving.tfs.exact_reader import make_plain, read_exactly, read_plain
from recserve.serving.tfs.values import show


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
    except orjson.JSONDecodeError:
        value = read_exactly(body)
    else:
        if isinstance(value, dict) and _count_keys(value) != body.count(b":"):
            plain = make_plain(body)
            value = read_plain(plain) if plain.has_equal_keys else value
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
    another. Fewer say nothing, and `make_plain` looks.
    """
    count = len(members)
    for value in members.values():
        if isinstance(value, dict):
            count += len(value)
        elif isinstance(value, list) and value and isinstance(value[0], dict) and set(map(type, value)) == {dict}:
            count += sum(map(len, value))
    return count
