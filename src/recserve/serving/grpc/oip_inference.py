"""ModelInfer and ModelStreamInfer of the Open Inference Protocol."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter_ns
from typing import Any, Final

import numpy as np
from grpc import StatusCode

from recserve.errors import OverloadedError, RecserveError, RequestError
from recserve.serving import observation
from recserve.serving.dialects import Serving
from recserve.serving.grpc.endpoints import Endpoint
from recserve.serving.grpc.failures import Failure
from recserve.serving.inference import tensor_model
from recserve.serving.oip.infer_request import InferInput, InferRequest
from recserve.serving.oip.inference import (
    check_expiry,
    check_names,
    checked_tensors,
    default_signature,
    unknown_model,
)
from recserve.serving.oip.shapes import count_rows
from recserve.serving.overload.turn import Turn
from recserve.serving.refusals import ModelNotFoundError, UnsupportedError
from recserve.serving.statistics import Times
from recserve.signatures import Tensor, TensorModel
from recserve.wire.infer_tensor import datatype_of, decode_contents, decode_raw, encode_raw
from recserve.wire.open_inference import SERVICE, ModelInferResponse
from recserve.wire.pool import Message, message_class, methods_of

_StreamResponse: Final[Any] = message_class("inference.ModelStreamInferResponse")
_INT64_MAX: Final = 2**63 - 1
_FINAL: Final = "triton_final_response"
_WANTS_FINAL: Final = "triton_enable_empty_final_response"


def oip_words(error: RecserveError) -> tuple[StatusCode, str] | None:
    """Codes and texts as clients of the protocol know them; a full queue is UNAVAILABLE here."""
    match error:
        case ModelNotFoundError():
            return StatusCode.NOT_FOUND, str(unknown_model(error))
        case OverloadedError():
            return StatusCode.UNAVAILABLE, str(error)
    return None


class InferenceService:
    """Answers of ModelInfer and ModelStreamInfer. Threads may share it.

    Args:
        serving: what every dialect shares.
    """

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    def endpoints(self) -> list[Endpoint]:
        """The two methods."""
        methods = methods_of(SERVICE)
        return [
            Endpoint(methods["ModelInfer"], self.infer, oip_words),
            Endpoint(methods["ModelStreamInfer"], self.infer_streamed, oip_words, streamed_failure=_failed),
        ]

    def infer(self, request: Message, turn: Turn) -> Message:
        """Tensors in, tensors out; the outputs come raw, as clients want them whatever form the inputs have.

        Raises:
            RequestError: the request is wrong.
            NotFoundError, OverloadedError: the model is not there, or not yet.
        """
        begin_ns = perf_counter_ns()
        version = version_of(request.model_version)
        with self._serving.registry.lease(request.model_name, version) as served:
            counters = self._serving.statistics.of(served.name, served.version)
            try:
                model = tensor_model(served)
                inputs, outputs, marks = _run(model, request, turn)
                response = _response(model, request, outputs)
            except Exception:
                counters.add_failure(perf_counter_ns() - turn.arrived_ns)
                raise
            parsed_ns, ran_ns = marks
            spent = (parsed_ns - begin_ns, ran_ns - parsed_ns, perf_counter_ns() - ran_ns)
            counters.add(count_rows(default_signature(model), inputs), Times(begin_ns - turn.arrived_ns, *spent))
            return response

    def infer_streamed(self, request: Message, turn: Turn) -> Message:
        """`infer` as one answer of a stream."""
        response = self.infer(request, turn)
        if request.parameters[_WANTS_FINAL].bool_param:  # each request has one answer, so each is the last
            response.parameters[_FINAL].bool_param = True
        return _StreamResponse(infer_response=response)


def version_of(text: str) -> int | None:
    """The version that a request names; None for the empty text.

    Raises:
        RequestError: it is no number.
    """
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or int(text) > _INT64_MAX:
        raise RequestError(f"failed to get model version from specified version string '{text[:40]}'")
    return int(text)


def _failed(failure: Failure) -> Message:
    return _StreamResponse(error_message=failure.text)


def _run(
    model: TensorModel, request: Message, turn: Turn
) -> tuple[dict[str, Tensor], dict[str, Tensor], tuple[int, int]]:
    """Inputs, outputs, and when parsing and running were over."""
    asked = read_request(request)
    check_expiry(asked, turn.arrived_ns)
    signature = default_signature(model)
    check_names(signature, asked, model.name)
    inputs = checked_tensors(signature, asked.inputs, model.name)
    turn.check()
    parsed_ns = perf_counter_ns()
    outputs = model.run(signature.name, inputs, list(asked.outputs) or None)
    observation.note_run(model.name, model.version, signature.name, parsed_ns)
    return inputs, outputs, (parsed_ns, perf_counter_ns())


def read_request(request: Message) -> InferRequest:
    """What a request asks for.

    Raises:
        RequestError: tensors that are not what they claim to be, raw and typed contents together, or a parameter of the
            wrong type.
        UnsupportedError: shared memory or the classification extension.
    """
    outputs: dict[str, bool] = {}
    for output in request.outputs:
        if output.name in outputs:
            raise RequestError(f"output '{output.name}' already exists in request")
        _refuse_extensions(output)
        outputs[output.name] = True
    return InferRequest(
        id=request.id,
        inputs=_read_inputs(request),
        outputs=outputs,
        is_binary=True,
        timeout_us=_whole_number(request, "timeout"),
        priority=_whole_number(request, "priority"),
    )


def _read_inputs(request: Message) -> dict[str, InferInput]:
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise RequestError(
            f"expected raw_input_contents for all {len(request.inputs)} inputs, but got {len(raw)} of them"
        )
    inputs: dict[str, InferInput] = {}
    for index, tensor in enumerate(request.inputs):
        if tensor.name in inputs:
            raise RequestError(f"input '{tensor.name}' already exists in request")
        _refuse_extensions(tensor)
        try:
            if not raw:
                array = decode_contents(tensor.contents, tensor.datatype, tensor.shape)
            elif tensor.HasField("contents"):
                raise RequestError("contents field must not be specified when using raw_input_contents")
            else:
                array = decode_raw(raw[index], tensor.datatype, tensor.shape)
        except RequestError as error:
            raise error.at(f"input '{tensor.name}' of model '{request.model_name}'") from None
        inputs[tensor.name] = InferInput(tensor.datatype, array)
    return inputs


def _refuse_extensions(tensor: Message) -> None:
    if "shared_memory_region" in tensor.parameters:
        raise UnsupportedError("shared memory is not supported", hint="Send the tensor in the request.")
    if "classification" in tensor.parameters:
        raise UnsupportedError("the classification extension is not supported", hint="Ask for the scores.")


def _whole_number(request: Message, name: str) -> int:
    """A parameter of a request that counts something; 0 where it has none."""
    if name not in request.parameters:
        return 0
    parameter = request.parameters[name]
    kind = parameter.WhichOneof("parameter_choice")
    value = getattr(parameter, kind) if kind in {"int64_param", "uint64_param"} else -1
    if value < 0:
        raise RequestError(f"parameter '{name}' must be a whole number of at least 0")
    return int(value)


def _response(model: TensorModel, request: Message, outputs: Mapping[str, Tensor]) -> Message:
    response = ModelInferResponse(model_name=model.name, model_version=str(model.version), id=request.id)
    for name, array in outputs.items():
        tensor = np.asarray(array)
        response.outputs.add(name=name, datatype=datatype_of(tensor.dtype), shape=tensor.shape)
        response.raw_output_contents.append(encode_raw(tensor))
    return response
