"""Outputs of a model → the bytes of an infer answer: JSON, and the binary data behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson
from numpy.typing import NDArray

from recserve.errors import RequestError
from recserve.serving.inference import dtype_name
from recserve.serving.oip.datatypes import INVALID, datatype_of
from recserve.serving.oip.tensors import encode_binary, encode_json_data


class InferAnswer(NamedTuple):
    """The body of an answer.

    Attributes:
        body: JSON, then the binary data in the order of the outputs.
        json_bytes: where the binary data begin; None where there are none, and the body is JSON as a whole.
    """

    body: bytes
    json_bytes: int | None = None


def encode_infer_answer(
    model: str, version: int, request_id: str, outputs: Mapping[str, NDArray[Any]], is_binary: Mapping[str, bool]
) -> InferAnswer:
    """Write the outputs of a model.

    Args:
        model: what answered.
        version: of it.
        request_id: the caller's; empty for none.
        outputs: tensor by name, in the order of the answer.
        is_binary: output name → whether it goes behind the JSON.

    Raises:
        RequestError: an output has a dtype that the protocol, or JSON, has no form for.
    """
    tails: list[bytes] = []
    entries: list[dict[str, Any]] = []
    for name, tensor in outputs.items():
        datatype = datatype_of(dtype_name(tensor.dtype))
        if datatype == INVALID:
            raise RequestError(f"output '{name}' is {tensor.dtype}, for which the protocol has no datatype")
        entry: dict[str, Any] = {"name": name, "datatype": datatype, "shape": tensor.shape}
        if is_binary[name]:
            tails.append(encode_binary(tensor))
            entry["parameters"] = {"binary_data_size": len(tails[-1])}
        else:
            entry["data"] = orjson.Fragment(encode_json_data(name, tensor))
        entries.append(entry)
    document: dict[str, Any] = {"id": request_id} if request_id else {}
    document |= {"model_name": model, "model_version": str(version), "outputs": entries}
    head = orjson.dumps(document)
    return InferAnswer(b"".join([head, *tails]), len(head)) if tails else InferAnswer(head)
