"""The bytes of an infer request → what it asks for, checked as far as that needs no model."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from numpy.typing import NDArray

from recserve.errors import RequestError
from recserve.serving.body import Body
from recserve.serving.json_document import read_json
from recserve.serving.json_tensors.lift import Lifted, lift
from recserve.serving.oip.tensors import parse_binary, parse_json_data, read_block
from recserve.serving.refusals import UnsupportedError

_UINT64_MAX: Final = 2**64 - 1
_MAX_RANK: Final = 64
"""Axes that NumPy can hold."""

_JSON_TYPES: Final = {"array": list, "string": str, "boolean": bool, "object": dict}


class InferInput(NamedTuple):
    """One input: its datatype as the caller names it, and its tensor."""

    datatype: str
    tensor: NDArray[Any]


class InferRequest(NamedTuple):
    """One infer request.

    Attributes:
        id: the caller's, or empty.
        inputs: by name, in the order of the request.
        outputs: output name → whether it is wanted in binary form, in the order of the request; empty for all outputs.
        is_binary: whether outputs that are not named come in binary form.
        timeout_us: microseconds that the request may wait; 0 for no limit.
        priority: 1 is the most urgent; 0 where the request has none.
    """

    id: str = ""
    inputs: Mapping[str, InferInput] = MappingProxyType({})
    outputs: Mapping[str, bool] = MappingProxyType({})
    is_binary: bool = False
    timeout_us: int = 0
    priority: int = 0


def parse_infer_request(body: Body, json_bytes: int, model: str) -> InferRequest:
    """Read a body whose first `json_bytes` bytes are JSON and whose rest is binary data, in the order of the inputs.

    Raises:
        RequestError: it is not what the protocol says; worded as Triton words it.
        UnsupportedError: it asks for shared memory or for the classification extension.
    """
    part = body[:json_bytes] if json_bytes < len(body) else body
    text = part if isinstance(part, bytes) else bytes(part)
    tail = memoryview(body)[json_bytes:]
    if (lifted := lift(text)) is not None:
        with suppress(RequestError):  # what is wrong is said of the text
            request = _read_request(read_json(lifted.rest), tail, model, lifted)
            if lifted.is_used_up:
                return request
    return _read_request(read_json(text), tail, model, None)


def _read_request(value: object, tail: memoryview, model: str, lifted: Lifted | None) -> InferRequest:
    document: Mapping[str, Any] = _typed(value, "object", "")
    request_id = _typed(document["id"], "string", "Unable to parse 'id': ") if "id" in document else ""
    parameters = _parameters(document)
    is_binary = _member(parameters, "binary_data_output", "boolean", default=False)
    inputs = _parse_inputs(document, tail, model, lifted)
    return InferRequest(
        id=request_id,
        inputs=inputs,
        outputs=_parse_outputs(document, is_binary),
        is_binary=is_binary,
        timeout_us=_unsigned(parameters, "timeout"),
        priority=_unsigned(parameters, "priority"),
    )


def _parameters(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The parameters of a request; those that the protocol reserves are checked, others may be any plain value."""
    parameters: Mapping[str, Any] = _typed(document.get("parameters", {}), "object", "failed to get request params.: ")
    for name, value in parameters.items():
        if name.startswith("triton_"):
            raise RequestError(
                "parameter keys starting with 'triton_' are reserved for Triton usage and should not be specified."
            )
        if name == "sequence_id":
            if not _is_unsigned(value):
                _typed(value, "string", "Unable to parse 'sequence_id': ")
        elif name in ("sequence_start", "sequence_end"):
            _typed(value, "boolean", f"Unable to parse '{name}': ")
        elif not isinstance(value, str | int | float | bool):
            raise RequestError(f"parameter '{name}' has invalid type. It should be either 'int', 'bool', or 'string'.")
    return parameters


def _parse_inputs(
    document: Mapping[str, Any], tail: memoryview, model: str, lifted: Lifted | None
) -> dict[str, InferInput]:
    inputs: dict[str, InferInput] = {}
    for item in _required(document, "inputs", "array"):
        entry = _typed(item, "object", "Unable to parse 'inputs': ")
        _check_source(entry)
        name: str = _required(entry, "name", "string")
        datatype: str = _required(entry, "datatype", "string")
        shape = _shape(_required(entry, "shape", "array"))
        if name in inputs:
            raise RequestError(f"input '{name}' already exists in request")
        parameters = entry.get("parameters", {})
        if "binary_data_size" in parameters:
            size = _unsigned(parameters, "binary_data_size")
            if size > len(tail):
                raise RequestError(
                    f"unexpected size for input '{name}', expecting {size - len(tail)} additional bytes for model "
                    f"'{model}'"
                )
            tensor = parse_binary(name, datatype, shape, tail[:size], model)
            tail = tail[size:]
        else:
            block = None if lifted is None else lifted.take(entry["data"])
            taken = None if block is None else read_block(name, datatype, shape, block)
            if taken is None:  # a block that is not taken stands there as a string, which is refused
                taken = parse_json_data(name, datatype, shape, entry["data"], model)
            tensor = taken
        inputs[name] = InferInput(datatype, tensor)
    if tail:
        raise RequestError(f"unexpected additional input data for model '{model}'")
    return inputs


def _check_source(entry: Mapping[str, Any]) -> None:
    """Hold an input to exactly one source of data."""
    parameters = _typed(entry.get("parameters", {}), "object", "Unable to parse 'parameters': ")
    sources = {
        "data": "data" in entry,
        "binary_data_size": "binary_data_size" in parameters,
        "shared_memory_region": "shared_memory_region" in parameters,
    }
    given = [name for name, is_given in sources.items() if is_given]
    if len(given) != 1:
        found = f"set {' '.join(map(repr, given))}" if given else "no field is set"
        raise RequestError(
            "Input must set only one of the following fields: 'data', 'binary_data_size' in 'parameters', "
            f"'shared_memory_region' in 'parameters'. But {found}"
        )
    if given == ["shared_memory_region"]:
        raise UnsupportedError("shared memory is not supported", hint="Send 'data' or binary data.")


def _shape(sizes: list[Any]) -> list[int]:
    for size in sizes:
        if not _is_unsigned(size):
            raise RequestError(
                "Unable to parse 'shape': attempt to access JSON non-unsigned-integer as unsigned-integer"
            )
    if len(sizes) > _MAX_RANK:
        raise RequestError(f"Unable to parse 'shape': {len(sizes)} dimensions, the most is {_MAX_RANK}")
    return sizes


def _parse_outputs(document: Mapping[str, Any], is_binary: bool) -> dict[str, bool]:
    outputs: dict[str, bool] = {}
    if "outputs" not in document:
        return outputs
    for item in _required(document, "outputs", "array"):
        entry = _typed(item, "object", "Unable to parse 'outputs': ")
        name: str = _required(entry, "name", "string")
        if name in outputs:
            raise RequestError(f"output '{name}' already exists in request")
        parameters = _typed(entry.get("parameters", {}), "object", "Unable to parse 'parameters': ")
        if "shared_memory_region" in parameters:
            raise UnsupportedError("shared memory is not supported", hint="Leave 'shared_memory_region' out.")
        if _unsigned(parameters, "classification"):
            raise UnsupportedError("the classification extension is not supported", hint="Ask for the scores.")
        outputs[name] = _member(parameters, "binary_data", "boolean", default=is_binary)
    return outputs


def _required(entry: Mapping[str, Any], name: str, kind: str) -> Any:
    problem = f"Unable to parse '{name}': "
    if name not in entry:
        raise RequestError(f"{problem}attempt to access non-existing object member '{name}'")
    return _typed(entry[name], kind, problem)


def _member(entry: Mapping[str, Any], name: str, kind: str, default: Any) -> Any:
    return _typed(entry[name], kind, f"Unable to parse '{name}': ") if name in entry else default


def _typed(value: object, kind: str, problem: str) -> Any:
    """The value, if it is of a JSON type; `problem` begins the error."""
    if type(value) is not _JSON_TYPES[kind]:
        raise RequestError(f"{problem}attempt to access JSON non-{kind} as {kind}")
    return value


def _unsigned(entry: Mapping[str, Any], name: str) -> int:
    value = entry.get(name, 0)
    if not _is_unsigned(value):
        raise RequestError(f"Unable to parse '{name}': attempt to access JSON non-unsigned-integer as unsigned-integer")
    return int(value)


def _is_unsigned(value: object) -> bool:
    return type(value) is int and 0 <= value <= _UINT64_MAX
