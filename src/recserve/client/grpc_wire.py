"""Calls over gRPC."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from google.protobuf.message import DecodeError

from recserve.client.calls import Answer, Call, Target
from recserve.client.failures import not_understood
from recserve.client.results import Array, Prediction, Ranking, VersionStatus, VersionTuple
from recserve.errors import RequestError
from recserve.signatures import Method, Signature, TensorSpec
from recserve.wire import open_inference, ranking
from recserve.wire.examples import write_examples
from recserve.wire.infer_tensor import datatype_of, decode_contents, decode_raw, encode_raw
from recserve.wire.pool import Message, methods_of
from recserve.wire.tensor_proto import BY_CODE, decode_tensor, encode_tensor
from recserve.wire.tensorflow_serving import (
    ERROR_CODES,
    MODEL_SERVICE,
    PREDICTION_SERVICE,
    VERSION_STATES,
    SignatureDefMap,
)
from recserve.wire.values import read_values, write_cell, write_column, write_values

T = TypeVar("T")
_STATE_NAMES = {number: name for name, number in VERSION_STATES.items()}
_CODE_NAMES = {number: name for name, number in ERROR_CODES.items()}


class GrpcWire:
    """Makes calls over gRPC."""

    def predict(
        self, target: Target, inputs: Mapping[str, Array], signature: str, outputs: Sequence[str]
    ) -> Call[Prediction]:
        """Predict; tensors go as `tensor_content`."""

        def read(response: Message) -> Prediction:
            tensors = {name: decode_tensor(tensor) for name, tensor in response.outputs.items()}
            ordered = {name: tensors[name] for name in outputs or sorted(tensors)}
            return Prediction(ordered, response.model_spec.name, response.model_spec.version.value)

        def fill(request: Message) -> None:
            _fill_spec(request.model_spec, target, signature)
            request.output_filter.extend(outputs)
            for name, array in inputs.items():
                request.inputs[name].CopyFrom(encode_tensor(array, as_content=True))

        return _call(PREDICTION_SERVICE, "Predict", fill, read)

    def classify(
        self, target: Target, examples: Sequence[Mapping[str, Any]], signature: str, context: Mapping[str, Any] | None
    ) -> Call[list[list[tuple[str, float]]]]:
        """Classify examples."""
        return _call(
            PREDICTION_SERVICE,
            "Classify",
            lambda request: _fill_examples(request, target, examples, signature, context),
            lambda response: [[(c.label, c.score) for c in row.classes] for row in response.result.classifications],
        )

    def regress(
        self, target: Target, examples: Sequence[Mapping[str, Any]], signature: str, context: Mapping[str, Any] | None
    ) -> Call[Array]:
        """Regress examples."""
        return _call(
            PREDICTION_SERVICE,
            "Regress",
            lambda request: _fill_examples(request, target, examples, signature, context),
            lambda response: np.array([row.value for row in response.result.regressions], np.float32),
        )

    def status(self, target: Target) -> Call[list[VersionStatus]]:
        """The states of versions."""

        def read(response: Message) -> list[VersionStatus]:
            return [
                VersionStatus(
                    row.version, _STATE_NAMES[row.state], _CODE_NAMES[row.status.error_code], row.status.error_message
                )
                for row in response.model_version_status
            ]

        return _call(MODEL_SERVICE, "GetModelStatus", lambda r: _fill_spec(r.model_spec, target, ""), read)

    def signatures(self, target: Target) -> Call[dict[str, Signature]]:
        """The signatures of a version."""

        def fill(request: Message) -> None:
            _fill_spec(request.model_spec, target, "")
            request.metadata_field.append("signature_def")

        def read(response: Message) -> dict[str, Signature]:
            definitions = SignatureDefMap()
            if not response.metadata["signature_def"].Unpack(definitions):
                raise ValueError("the metadata is no SignatureDefMap")
            return {name: _signature(name, found) for name, found in definitions.signature_def.items()}

        return _call(PREDICTION_SERVICE, "GetModelMetadata", fill, read)

    def infer(self, target: Target, inputs: Mapping[str, Array], outputs: Sequence[str]) -> Call[Prediction]:
        """Infer, raw in both directions."""

        def fill(request: Message) -> None:
            request.model_name = target.model
            request.model_version = "" if target.version is None else str(target.version)
            for name, array in inputs.items():
                request.inputs.add(name=name, datatype=datatype_of(array.dtype), shape=array.shape)
                request.raw_input_contents.append(encode_raw(array))
            for name in outputs:
                request.outputs.add(name=name)

        return _call(open_inference.SERVICE, "ModelInfer", fill, _read_infer)

    def is_ready(self, model: str) -> Call[bool]:
        """Readiness of the server or of a model."""

        def fill(request: Message) -> None:
            if model:
                request.name = model

        method = "ModelReady" if model else "ServerReady"
        return _call(open_inference.SERVICE, method, fill, lambda response: bool(response.ready))

    def rank(self, target: Target, request: Mapping[str, Any]) -> Call[Ranking]:
        """Rank; ids and columns go packed."""
        return _call(ranking.SERVICE, "Rank", lambda message: _fill_rank(message, target, request), _read_ranking)

    def rank_by_each(self, targets: Sequence[Target], request: Mapping[str, Any]) -> Call[list[Ranking]]:
        """Rank by several models."""

        def fill(message: Message) -> None:
            _fill_rank(message.request, Target(""), request)
            for target in targets:
                choice = message.models.add(name=target.model)
                _fill_version(choice, target)

        return _call(ranking.SERVICE, "RankByEach", fill, lambda answer: list(map(_read_ranking, answer.answers)))


def _call(service: str, name: str, fill: Callable[[Message], None], read: Callable[[Message], T]) -> Call[T]:
    method = methods_of(service)[name]
    request = method.request()
    fill(request)

    def checked(answer: Answer) -> T:
        try:
            return read(method.response.FromString(answer.body))
        except (DecodeError, KeyError, ValueError, RequestError) as error:
            raise not_understood(method.path, f"the answer is not understood: {error}") from None

    return Call(method.path, request.SerializeToString(), checked)


def _fill_spec(spec: Message, target: Target, signature: str) -> None:
    spec.name = target.model
    spec.signature_name = signature
    if target.version is not None:
        spec.version.value = target.version
    elif target.label is not None:
        spec.version_label = target.label


def _fill_examples(
    request: Message,
    target: Target,
    examples: Sequence[Mapping[str, Any]],
    signature: str,
    context: Mapping[str, Any] | None,
) -> None:
    _fill_spec(request.model_spec, target, signature)
    request.input.CopyFrom(write_examples(examples, context))


def _signature(name: str, definition: Message) -> Signature:
    method: Method = definition.method_name.rsplit("/", 1)[-1]
    return Signature(name, _specs(definition.inputs), _specs(definition.outputs), method)


def _specs(infos: Mapping[str, Message]) -> dict[str, TensorSpec]:
    found = {}
    for name, info in infos.items():
        sizes = tuple(None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim)
        shape = None if info.tensor_shape.unknown_rank else sizes
        found[name] = TensorSpec(name, BY_CODE[info.dtype].name, shape, info.name)
    return found


def _read_infer(response: Message) -> Prediction:
    raw = response.raw_output_contents
    outputs = {
        output.name: decode_raw(raw[index], output.datatype, output.shape)
        if raw
        else decode_contents(output.contents, output.datatype, output.shape)
        for index, output in enumerate(response.outputs)
    }
    return Prediction(outputs, response.model_name, int(response.model_version) if response.model_version else None)


def _fill_rank(message: Message, target: Target, request: Mapping[str, Any]) -> None:
    message.model = target.model
    _fill_version(message, target)
    message.item_ids.CopyFrom(write_values(request["item_ids"]))
    for place in ("user", "context"):
        for name, value in (request.get(place) or {}).items():
            getattr(message, place)[name].CopyFrom(write_cell(value))
    for name, cells in (request.get("columns") or {}).items():
        message.candidates[name].CopyFrom(write_column(cells))
    if request.get("items"):
        _fill_items(message.items, request["items"])
    if request.get("top_k") is not None:
        message.top_k = request["top_k"]
    message.request_id = request.get("request_id") or ""
    message.outputs.extend(request.get("outputs") or ())
    message.timings = bool(request.get("timings"))
    message.explain = bool(request.get("explain"))
    user_id = request.get("user_id")
    if isinstance(user_id, str):
        message.user_id = user_id
    elif user_id is not None:
        message.user_number = user_id


def _fill_version(message: Message, target: Target) -> None:
    if target.version is not None:
        message.version = target.version
    elif target.label is not None:
        message.version_label = target.label


def _fill_items(message: Message, items: Mapping[Any, Mapping[str, Any]]) -> None:
    """Inline items as columns; a cell that an item lacks is missing."""
    message.item_ids.CopyFrom(write_values(list(items)))
    for name in dict.fromkeys(name for columns in items.values() for name in columns):
        message.columns[name].CopyFrom(write_column([columns.get(name) for columns in items.values()]))


def _read_ranking(response: Message) -> Ranking:
    version = response.version
    return Ranking(
        item_ids=read_values(response.item_ids),
        scores=np.fromiter(response.scores, np.float32, len(response.scores)),
        outputs={name: _read_output(output) for name, output in response.outputs.items()},
        version=VersionTuple(version.model, version.version, version.table_epoch, version.item_epoch),
        request_id=response.request_id,
        unknown_items=read_values(response.unknown_items),
        missing_columns=list(response.missing_columns),
        timings_us=dict(response.timings_us),
        is_user_found=response.user_found if response.HasField("user_found") else None,
        explanations=[(read_values(told.item_id)[0], list(told.lines)) for told in response.explanations],
    )


def _read_output(output: Message) -> Array:
    """float32[K] or, of several values an item, float32[K, k]."""
    values: Array = np.fromiter(output.value, np.float32, len(output.value))
    return values.reshape(-1, output.width) if output.width else values
