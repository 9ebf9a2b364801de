"""The wires of the serving benchmark: how a request of a set-up is sent, and how the scores stand in the answer."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import grpc
import numpy as np
import orjson

from recserve.wire.infer_tensor import decode_contents
from recserve.wire.open_inference import ModelInferResponse
from recserve.wire.ranking import RankResponse
from recserve.wire.tensor_proto import decode_tensor
from recserve.wire.tensorflow_serving import PredictResponse
from serving_load import Target, make_call, make_target
from serving_models import Array

INFER: Final = "/inference.GRPCInferenceService/ModelInfer"
PREDICT: Final = "/tensorflow.serving.PredictionService/Predict"
RANK: Final = "/recserve.v1.Ranking/Rank"
_HEAD_LENGTH: Final = "inference-header-content-length"


@dataclass(frozen=True)
class Answer:
    """What a server answered.

    Attributes:
        headers: by lower-case name.
        body: the message alone where it was a gRPC call.
    """

    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Wire:
    """A way to ask.

    Attributes:
        request: (address, set-up, more headers) → what is sent.
        read: (answer, set-up) → the scores in the order of the set-up's rows.
    """

    request: Callable[[str, Any, dict[str, str]], Target]
    read: Callable[[Answer, Any], Array]


def post(path: str, form: str, read: Callable[[Answer, Any], Array]) -> Wire:
    """A wire over HTTP: `path` has `{name}` and `{rows}`, `form` names the method of the set-up for the body."""

    def make(address: str, set_up: Any, headers: dict[str, str]) -> Target:
        body = getattr(set_up, form)()
        content, own = body if isinstance(body, tuple) else (body, {"Content-Type": "application/json"})
        where = path.format(name=set_up.name, rows=set_up.rows)
        return make_target(address, where, content, own | headers, set_up.rows)

    return Wire(make, read)


def call(method: str, form: str, read: Callable[[Answer, Any], Array], suffix: str = "") -> Wire:
    """A wire over gRPC: `form` names the method of the set-up for the message; it takes the model's name."""

    def make(address: str, set_up: Any, headers: dict[str, str]) -> Target:  # noqa: ARG001 - gRPC has none of them
        return make_call(address, method, getattr(set_up, form)(set_up.name + suffix), set_up.rows)

    return Wire(make, read)


def ask(target: Target, seconds: float = 120) -> Answer:
    """Send a request once.

    Raises:
        OSError: it was not answered 200, or not at all.
    """
    if target.method is not None:
        sizes = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        with grpc.insecure_channel(f"{target.host}:{target.port}", sizes) as channel:
            try:
                return Answer({}, channel.unary_unary(target.method)(target.content, timeout=seconds))
            except grpc.RpcError as error:
                raise OSError(f"{target.method}: {error}") from None
    with socket.create_connection((target.host, target.port), timeout=seconds) as connection:
        connection.sendall(target.content)
        response = http.client.HTTPResponse(connection, method="POST")
        response.begin()
        body = response.read()
        if response.status != 200:
            raise OSError(f"{response.status}: {body[:300]!r}")
        return Answer({name.lower(): value for name, value in response.getheaders()}, body)


def read_columns(answer: Answer, set_up: Any) -> Array:  # noqa: ARG001 - of every reader
    """The scores of {"outputs": ...}."""
    return np.ravel(np.array(orjson.loads(answer.body)["outputs"], np.float32))


def read_floats(answer: Answer, set_up: Any) -> Array:  # noqa: ARG001
    """The scores of bytes."""
    return np.frombuffer(answer.body, np.float32)


def read_list(answer: Answer, set_up: Any) -> Array:  # noqa: ARG001
    """The scores of a JSON list."""
    return np.array(orjson.loads(answer.body), np.float32)


def read_open_inference(answer: Answer, set_up: Any) -> Array:  # noqa: ARG001
    """The scores of the only output of an Open Inference answer, as text or as bytes behind its head."""
    at = int(answer.headers.get(_HEAD_LENGTH, len(answer.body)))
    (output,) = orjson.loads(answer.body[:at])["outputs"]
    if "data" in output:
        return np.array(output["data"], np.float32)
    return np.frombuffer(answer.body, np.float32, output["parameters"]["binary_data_size"] // 4, at)


def read_infer(answer: Answer, set_up: Any) -> Array:  # noqa: ARG001
    """The scores of a `ModelInferResponse`, raw or typed."""
    response = ModelInferResponse.FromString(answer.body)
    if response.raw_output_contents:
        return np.frombuffer(response.raw_output_contents[0], np.float32)
    (output,) = response.outputs
    return decode_contents(output.contents, output.datatype, output.shape).ravel()


def read_predict(answer: Answer, set_up: Any) -> Array:  # noqa: ARG001
    """The scores of TensorFlow Serving's `PredictResponse`."""
    return decode_tensor(PredictResponse.FromString(answer.body).outputs["y"]).ravel()


def read_ranked(answer: Answer, task: Any) -> Array:
    """The scores of a `:rank` answer, in the order of the request's candidates, which are all different."""
    ranked = orjson.loads(answer.body)
    by_id = dict(zip(ranked["item_ids"], ranked["scores"], strict=True))
    return np.array([by_id[item] for item in task.item_ids.tolist()], np.float32)


def read_rank_call(answer: Answer, task: Any) -> Array:
    """The same of a `RankResponse`."""
    response = RankResponse.FromString(answer.body)
    scores = np.full(task.rows, np.nan, np.float32)
    scores[list(response.positions)] = response.scores
    return scores
