"""A scoring request answered: parse, bind, run, encode, count. All of it runs on a rank thread."""

from __future__ import annotations

from time import perf_counter_ns

from recserve.errors import RequestError
from recserve.serving.dialects import Serving
from recserve.serving.inference import find_signature, run_signature, tensor_model
from recserve.serving.mlflow.content_types import CSV, JSON, read_content_type
from recserve.serving.mlflow.frame import BareTensor, Frame
from recserve.serving.mlflow.json_frame import parse_json
from recserve.serving.mlflow.model_inputs import are_integers, bind_inputs
from recserve.serving.mlflow.predictions import encode_predictions
from recserve.serving.mlflow.table_frame import parse_csv, parse_parquet
from recserve.serving.statistics import Times
from recserve.signatures import DEFAULT_SIGNATURE, Signature, Tensor, TensorModel

FAILED = (
    "Encountered an unexpected error while evaluating the model. Verify that the serialized input Dataframe is "
    "compatible with the model for inference."
)


def score(serving: Serving, content_type: str, body: bytes, arrived_ns: int) -> bytes:
    """The JSON of the answer.

    Args:
        serving: the served models; the port's own one answers.
        content_type: of the request.
        body: inflated.
        arrived_ns: `perf_counter_ns` when the body was there.

    Raises:
        MediaTypeError: a type of body that is not read.
        RequestError: the body is wrong, or the model refuses what it holds.
        OverloadedError: the model is still loading.
    """
    begin_ns = perf_counter_ns()
    kind = read_content_type(content_type)
    with serving.registry.lease(serving.default_model()) as leased:
        counters = serving.statistics.of(leased.name, leased.version)
        try:
            model = tensor_model(leased)
            signature = _signature(model)
            frame = _parse(kind, body, signature)
            signature, inputs = _bind(model, signature, frame)
            parsed_ns = perf_counter_ns()
            outputs = run_signature(model, signature, inputs)
            ran_ns = perf_counter_ns()
            answer = encode_predictions(outputs, is_table=isinstance(frame, Frame) and frame.is_table)
        except Exception:
            counters.add_failure(perf_counter_ns() - arrived_ns)
            raise
        rows = max((tensor.shape[0] for tensor in inputs.values() if tensor.ndim), default=1)
        times = (begin_ns - arrived_ns, parsed_ns - begin_ns, ran_ns - parsed_ns, perf_counter_ns() - ran_ns)
        counters.add(rows, Times(*times))
        return answer


def _signature(model: TensorModel) -> Signature:
    if DEFAULT_SIGNATURE in model.signatures:
        return find_signature(model)
    return next(iter(model.signatures.values()))


def _parse(kind: str, body: bytes, signature: Signature) -> Frame | BareTensor:
    if kind == JSON:
        return parse_json(body)
    if kind == CSV:
        return parse_csv(body, frozenset(n for n, spec in signature.inputs.items() if spec.dtype == "string"))
    return parse_parquet(body)


def _bind(model: TensorModel, signature: Signature, frame: Frame | BareTensor) -> tuple[Signature, dict[str, Tensor]]:
    try:
        signature = _for_integers(model, signature, frame)
        return signature, bind_inputs(signature, frame)
    except RequestError as error:
        raise RequestError(f"{FAILED} Error: {error}") from None


def _for_integers(model: TensorModel, signature: Signature, frame: Frame | BareTensor) -> Signature:
    """Where only integers came in: the first signature of the same names that takes integers, if there is one."""
    if len(model.signatures) == 1 or not isinstance(frame, Frame):
        return signature
    names = signature.inputs.keys()
    for other in model.signatures.values():
        is_alike = other.inputs.keys() == names and other.outputs.keys() == signature.outputs.keys()
        if is_alike and all(spec.dtype.startswith(("int", "uint")) for spec in other.inputs.values()):
            return (
                other
                if all(name in frame.columns and are_integers(frame.columns[name]) for name in names)
                else signature
            )
    return signature
