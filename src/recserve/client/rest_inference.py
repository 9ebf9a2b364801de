"""Open Inference over HTTP with the binary extension: tensors travel as they lie in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import orjson

from recserve.client.calls import Answer
from recserve.client.failures import not_understood
from recserve.client.results import Array, Prediction
from recserve.errors import RequestError
from recserve.wire.infer_tensor import NUMPY, datatype_of, decode_raw, encode_raw

LENGTH_HEADER: Final = "Inference-Header-Content-Length"


def write_infer(inputs: Mapping[str, Array], outputs: Sequence[str]) -> tuple[bytes, dict[str, str]]:
    """Body and headers of an infer request whose inputs and outputs are binary.

    Raises:
        RequestError: a dtype has no datatype.
    """
    raw = {name: encode_raw(array) for name, array in inputs.items()}
    document: dict[str, Any] = {
        "parameters": {"binary_data_output": True},
        "inputs": [
            {
                "name": name,
                "shape": array.shape,
                "datatype": datatype_of(array.dtype),
                "parameters": {"binary_data_size": len(raw[name])},
            }
            for name, array in inputs.items()
        ],
    }
    if outputs:
        document["outputs"] = [{"name": name, "parameters": {"binary_data": True}} for name in outputs]
    head = orjson.dumps(document)
    headers = {"Content-Type": "application/octet-stream", LENGTH_HEADER: str(len(head))}
    return b"".join([head, *raw.values()]), headers


def read_infer(answer: Answer) -> Prediction:
    """The outputs of an infer answer, binary or as JSON.

    Raises:
        CallFailedError: the answer is not what the protocol says.
    """
    try:
        length = int(answer.headers.get(LENGTH_HEADER.lower(), len(answer.body)))
        document = orjson.loads(answer.body[:length])
        tail = memoryview(answer.body)[length:]
        outputs: dict[str, Array] = {}
        for output in document["outputs"]:
            size = output.get("parameters", {}).get("binary_data_size")
            if size is None:
                outputs[output["name"]] = np.array(output["data"], NUMPY[output["datatype"]]).reshape(output["shape"])
                continue
            outputs[output["name"]] = decode_raw(bytes(tail[:size]), output["datatype"], output["shape"])
            tail = tail[size:]
        version = document.get("model_version")
        return Prediction(outputs, document["model_name"], int(version) if version else None)
    except (KeyError, TypeError, ValueError, RequestError) as error:
        raise not_understood("infer", f"the answer is no infer response: {error}") from None
