"""The examples of a classify or regress request: feature → values of one kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from recserve.serving.examples import Example
from recserve.serving.tfs.documents import Document
from recserve.serving.tfs.errors import WireError
from recserve.serving.tfs.tensors_in import check_time, decode_base64, is_base64
from recserve.serving.tfs.values import json_type, show

_INT64_END: Final = 1 << 63
_CHUNK: Final = 256
"""Examples between two looks at the time."""

_KIND_NAMES: Final = {int: "int64", float: "float", bytes: "bytes"}


def read_examples(document: Document) -> list[Example]:
    """The examples of a request, each with the features of the context that it does not have itself.

    Raises:
        WireError: no list of objects, or a feature of mixed or unknown kinds.
    """
    members = document.members
    context = _read_example(members["context"]) if "context" in members else {}
    if "examples" not in members:
        raise _malformed(members, "When method is classify, key 'examples' is expected and was not found")
    examples = members["examples"]
    if not isinstance(examples, list):
        raise _malformed(members, "Expecting 'examples' value to be an list/array")
    if not examples:
        raise _malformed(members, "'examples' value is an empty array")
    return [{**context, **_read_example(example)} for example in _in_time(examples)]


def _in_time(examples: list[Any]) -> Iterator[Any]:
    for first in range(0, len(examples), _CHUNK):
        check_time()
        yield from examples[first : first + _CHUNK]


def _malformed(members: dict[str, Any], problem: str) -> WireError:
    return WireError(f"JSON Value: {show(members)} {problem}")


def _read_example(value: Any) -> Example:
    if not isinstance(value, dict):
        raise WireError(f"Example must be JSON object but got JSON {json_type(value)}")
    return {name: _read_feature(name, content) for name, content in value.items()}


def _read_feature(name: str, content: Any) -> list[Any]:
    values: list[Any] = []
    for element in content if isinstance(content, list) else [content]:
        value = _read_element(name, element)
        if values and type(value) is not type(values[0]):
            expected = _KIND_NAMES[type(values[0])]
            raise WireError(f"Unexpected element type in feature: {name} expecting type: {expected}")
        values.append(value)
    return values


def _read_element(name: str, element: Any) -> int | float | bytes:
    if isinstance(element, bool):
        return int(element)
    if isinstance(element, int):
        if element >= _INT64_END:
            raise WireError(f"Feature: {name} has uint64 element. Only int64_t is supported.")
        return element
    if isinstance(element, float):
        return element
    if isinstance(element, str):
        return element.encode("utf-8", "surrogateescape")
    if is_base64(element):
        return decode_base64(element)
    raise WireError(f"Feature: {name} has element with unexpected JSON type: {json_type(element)}")
