"""An infer request answered: parse, check, run, encode, count. All of it runs on a rank thread."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter_ns
from typing import Any

from numpy.typing import NDArray

from recserve.errors import NotFoundError, OverloadedError, RequestError
from recserve.serving import observation
from recserve.serving.body import Body
from recserve.serving.inference import tensor_model
from recserve.serving.oip.datatypes import datatype_of
from recserve.serving.oip.header import HEADER, read_json_length
from recserve.serving.oip.infer_answer import InferAnswer, encode_infer_answer
from recserve.serving.oip.infer_request import InferInput, InferRequest, parse_infer_request
from recserve.serving.oip.shapes import check_shape, count_rows, parse_raw_input
from recserve.serving.refusals import ModelNotFoundError
from recserve.serving.registry import Registry
from recserve.serving.statistics import Statistics, Times
from recserve.signatures import DEFAULT_SIGNATURE, Signature, TensorModel


def answer_infer(
    registry: Registry,
    statistics: Statistics,
    name: str,
    version: int | None,
    body: Body,
    *,
    json_length: str | None = None,
    header: str = HEADER,
    arrived_ns: int,
) -> InferAnswer:
    """Answer one infer request.

    Args:
        registry: the served models.
        statistics: where the request is counted.
        name: of the model.
        version: of it; None for the highest.
        body: inflated.
        json_length: what a header says of the JSON's length; None where it says nothing.
        header: what errors call that header.
        arrived_ns: `perf_counter_ns` when the body was there.

    Raises:
        NotFoundError: no such model or version.
        RequestError: the request is wrong, or the model refuses it.
        RequestExpiredError: it waited longer than its `timeout`.
        OverloadedError: the model is still loading.
    """
    begin_ns = perf_counter_ns()
    try:
        with registry.lease(name, version) as leased:
            counters = statistics.of(leased.name, leased.version)
            try:
                answer, rows, spent = _answer(tensor_model(leased), body, json_length, header, arrived_ns)
            except Exception:
                counters.add_failure(perf_counter_ns() - arrived_ns)
                raise
            parsed_ns, ran_ns = spent
            end_ns = perf_counter_ns()
            counters.add(rows, Times(begin_ns - arrived_ns, parsed_ns - begin_ns, ran_ns - parsed_ns, end_ns - ran_ns))
            return answer
    except ModelNotFoundError as error:
        raise unknown_model(error) from None


class RequestExpiredError(OverloadedError):
    """The request waited longer than its `timeout` allows."""

    default_code = "request_expired"


def unknown_model(error: ModelNotFoundError) -> NotFoundError:
    """The error in the protocol's words."""
    version = "" if error.version is None else f" version {error.version}"
    return NotFoundError(f"Request for unknown model: '{error.model}'{version} is not found", code=error.code)


def default_signature(model: TensorModel) -> Signature:
    """The signature that the protocol calls, which knows only one a model: `serving_default`, else the first."""
    return model.signatures.get(DEFAULT_SIGNATURE) or next(iter(model.signatures.values()))


def _answer(
    model: TensorModel, body: Body, json_length: str | None, header: str, arrived_ns: int
) -> tuple[InferAnswer, int, tuple[int, int]]:
    """The answer, its rows, and when parsing and running were over."""
    signature = default_signature(model)
    json_bytes = read_json_length(json_length, len(body), header)
    if json_length is not None and json_bytes == 0:
        request, inputs = InferRequest(is_binary=True), parse_raw_input(signature, body, model.name)
    else:
        request = parse_infer_request(body, json_bytes, model.name)
        check_expiry(request, arrived_ns)
        check_names(signature, request, model.name)
        inputs = checked_tensors(signature, request.inputs, model.name)
    parsed_ns = perf_counter_ns()
    outputs = model.run(signature.name, inputs, list(request.outputs) or None)
    ran_ns = perf_counter_ns()
    observation.note_run(model.name, model.version, signature.name, parsed_ns)
    is_binary = {output: request.outputs.get(output, request.is_binary) for output in outputs}
    answer = encode_infer_answer(model.name, model.version, request.id, outputs, is_binary)
    return answer, count_rows(signature, inputs), (parsed_ns, ran_ns)


def check_expiry(request: InferRequest, arrived_ns: int) -> None:
    """Refuse a request that waited longer than its `timeout`.

    Raises:
        RequestExpiredError: it did.
    """
    if request.timeout_us and perf_counter_ns() - arrived_ns > 1000 * request.timeout_us:
        raise RequestExpiredError("Request timeout expired")


def check_names(signature: Signature, request: InferRequest, model: str) -> None:
    """Hold the names of inputs and outputs to a signature.

    Raises:
        RequestError: one is unknown, or a required input is missing.
    """
    for name in request.outputs:
        if name not in signature.outputs:
            raise RequestError(f"unexpected inference output '{name}' for model '{model}'")
    if request.inputs.keys() == signature.inputs.keys():
        return
    required = [name for name, spec in signature.inputs.items() if not spec.is_optional]
    missing = [name for name in required if name not in request.inputs]
    most = len(signature.inputs)
    got = len(request.inputs)
    if not len(required) <= got <= most:
        wanted = f"{most} inputs" if most == len(required) else f"number of inputs between {len(required)} and {most}"
        raise RequestError(
            f"expected {wanted} but got {got} inputs for model '{model}'. Got input(s) {_names(request.inputs)}, but "
            f"missing required input(s) {_names(missing)}. Please provide all required input(s)."
        )
    for name in request.inputs:
        if name not in signature.inputs:
            raise RequestError(f"unexpected inference input '{name}' for model '{model}'")
    if missing:
        raise RequestError(f"missing required input(s) {_names(missing)} for model '{model}'")


def _names(names: Mapping[str, Any] | list[str]) -> str:
    quoted = ",".join(f"'{name}'" for name in sorted(names))
    return f"[{quoted}]"


def checked_tensors(signature: Signature, inputs: Mapping[str, InferInput], model: str) -> dict[str, NDArray[Any]]:
    """The tensors of a request, held to the datatypes and shapes of a signature that has their names.

    Raises:
        RequestError: one has another datatype or shape.
    """
    for name, given in inputs.items():
        spec = signature.inputs[name]
        expected = datatype_of(spec.dtype)
        if given.datatype != expected:
            raise RequestError(
                f"inference input '{name}' data-type is '{given.datatype}', but model '{model}' expects '{expected}'"
            )
        check_shape(spec, given.tensor.shape, model)
    return {name: given.tensor for name, given in inputs.items()}
