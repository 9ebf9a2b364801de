"""TensorFlow Serving's PredictionService."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter_ns
from typing import Any, Final

from google.protobuf.json_format import ParseDict
from grpc import StatusCode

from recserve.errors import RequestError
from recserve.serving.dialects import Serving
from recserve.serving.examples import classifications, examples_to_inputs, regressions
from recserve.serving.grpc.endpoints import Answer, Endpoint
from recserve.serving.grpc.failures import RefusedError, failure_of
from recserve.serving.grpc.tfs_specs import leased, resolve, spec_of, tfs_words
from recserve.serving.inference import check_outputs, find_signature, run_signature
from recserve.serving.overload.turn import Turn
from recserve.serving.refusals import InputNamesError, SignatureNotFoundError
from recserve.serving.statistics import Times
from recserve.serving.tfs.pages import signature_defs
from recserve.signatures import DEFAULT_SIGNATURE, Method, Signature, Tensor, TensorModel
from recserve.wire.examples import Features, read_examples
from recserve.wire.pool import Message, methods_of
from recserve.wire.tensor_proto import decode_tensor, encode_tensor
from recserve.wire.tensorflow_serving import (
    PREDICTION_SERVICE,
    ClassificationResponse,
    GetModelMetadataResponse,
    MultiInferenceResponse,
    PredictResponse,
    RegressionResponse,
    SignatureDefMap,
)

SIGNATURE_DEF: Final = "signature_def"
_NOUNS: Final[dict[Method, str]] = {"predict": "prediction", "classify": "classification", "regress": "regression"}


class PredictionService:
    """Answers of the PredictionService. Threads may share it.

    Args:
        serving: what every dialect shares.
        as_content: answer tensors as `tensor_content` and not in typed fields; faster for both sides.
    """

    def __init__(self, serving: Serving, *, as_content: bool = False) -> None:
        self._serving = serving
        self._as_content = as_content

    def endpoints(self) -> list[Endpoint]:
        """The methods of the service."""
        methods = methods_of(PREDICTION_SERVICE)
        answers: dict[str, Answer] = {
            "Predict": self._observed("Predict", self.predict),
            "Classify": self._observed("Classify", self.classify),
            "Regress": self._observed("Regress", self.regress),
            "MultiInference": self.multi_inference,  # TensorFlow Serving has no series for it
        }
        found = [Endpoint(methods[name], answer, tfs_words) for name, answer in answers.items()]
        return [*found, Endpoint(methods["GetModelMetadata"], self.metadata, tfs_words, runs_on="event loop")]

    def _observed(self, api: str, answer: Answer) -> Answer:
        """The answer, counted under TensorFlow Serving's names."""

        def observed(request: Message, turn: Turn) -> Message:
            status = StatusCode.OK
            try:
                return answer(request, turn)
            except Exception as caught:
                status = failure_of(caught, tfs_words).status
                raise
            finally:
                name = request.model_spec.name
                model = name if self._serving.registry.is_served(name) else ""
                time_us = (perf_counter_ns() - turn.arrived_ns) * 1e-3
                self._serving.metrics.observe(model, status.name, api, "GRPC", time_us)

        return observed

    def predict(self, request: Message, turn: Turn) -> Message:
        """Tensors in, tensors out.

        Raises:
            RefusedError, RequestError: the request is wrong.
            NotFoundError, OverloadedError: the model is not there, or not yet.
        """
        begin_ns = perf_counter_ns()
        spec = spec_of(request)
        with leased(self._serving.registry, spec) as model, _Counted(self._serving, model, turn) as counted:
            signature = find_signature(model, spec.signature_name)
            _check_input_names(signature, request.inputs)
            inputs = {name: _decoded(name, tensor) for name, tensor in request.inputs.items()}
            wanted = list(request.output_filter)
            check_outputs(signature, wanted)
            turn.check()
            parsed_ns = perf_counter_ns()
            outputs = run_signature(model, signature, inputs, wanted)
            ran_ns = perf_counter_ns()
            response = PredictResponse()
            resolve(spec, model, spec.signature_name, response.model_spec)
            for name, tensor in outputs.items():
                response.outputs[name].CopyFrom(encode_tensor(tensor, as_content=self._as_content))
            counted.add(_rows(inputs), (begin_ns, parsed_ns, ran_ns))
            return response

    def classify(self, request: Message, turn: Turn) -> Message:
        """Examples in, labels and scores out; raises as `predict`."""
        response = ClassificationResponse()
        self._examine(request, turn, "classify", response)
        return response

    def regress(self, request: Message, turn: Turn) -> Message:
        """Examples in, a number each out; raises as `predict`."""
        response = RegressionResponse()
        self._examine(request, turn, "regress", response)
        return response

    def _examine(self, request: Message, turn: Turn, method: Method, response: Message) -> None:
        begin_ns = perf_counter_ns()
        spec = spec_of(request)
        with leased(self._serving.registry, spec) as model, _Counted(self._serving, model, turn) as counted:
            signature = _example_signature(model, spec.signature_name, method)
            examples = read_examples(request.input)
            turn.check()
            parsed_ns = perf_counter_ns()
            outputs = run_examples(model, signature, examples)
            ran_ns = perf_counter_ns()
            _write_result(signature, outputs, len(examples), response.result)
            resolve(spec, model, spec.signature_name, response.model_spec)
            counted.add(len(examples), (begin_ns, parsed_ns, ran_ns))

    def multi_inference(self, request: Message, turn: Turn) -> Message:
        """Several classify and regress signatures of one model over the same examples; raises as `predict`."""
        tasks = list(request.tasks)
        if not tasks:
            raise RefusedError("ModelSpec has no name specified.")
        response = MultiInferenceResponse()
        with leased(self._serving.registry, tasks[0].model_spec) as model:
            signatures = _task_signatures(model, tasks)
            examples = read_examples(request.input)
            for task, signature in zip(tasks, signatures, strict=True):
                turn.check()
                outputs = run_examples(model, signature, examples)
                result = response.results.add()
                resolve(task.model_spec, model, task.model_spec.signature_name, result.model_spec)
                is_classify = signature.method == "classify"
                into = result.classification_result if is_classify else result.regression_result
                _write_result(signature, outputs, len(examples), into)
        return response

    def metadata(self, request: Message, turn: Turn) -> Message:  # noqa: ARG002 - an Answer
        """The signatures of a model; raises as `predict`."""
        spec = spec_of(request)
        if not request.metadata_field:
            raise RefusedError("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != SIGNATURE_DEF:
                raise RefusedError(f"Metadata field {field} is not supported")
        with leased(self._serving.registry, spec) as model:
            definitions = ParseDict({"signature_def": signature_defs(model.signatures)}, SignatureDefMap())
            response = GetModelMetadataResponse()
            resolve(spec, model, None, response.model_spec)
            response.metadata[SIGNATURE_DEF].Pack(definitions)
            return response


class _Counted:
    """Counts a call in the statistics of the model that answers it, as a failure where the block raises."""

    def __init__(self, serving: Serving, model: TensorModel, turn: Turn) -> None:
        self._counters = serving.statistics.of(model.name, model.version)
        self._arrived_ns = turn.arrived_ns

    def __enter__(self) -> _Counted:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._counters.add_failure(perf_counter_ns() - self._arrived_ns)

    def add(self, rows: int, marks: tuple[int, int, int]) -> None:
        """Count an answer; `marks` say when parsing began, when it ended and when the model had run."""
        begin_ns, parsed_ns, ran_ns = marks
        end_ns = perf_counter_ns()
        spent = Times(begin_ns - self._arrived_ns, parsed_ns - begin_ns, ran_ns - parsed_ns, end_ns - ran_ns)
        self._counters.add(rows, spent)


def run_examples(model: TensorModel, signature: Signature, examples: Sequence[Features]) -> Mapping[str, Tensor]:
    """The outputs of a classify or regress signature for examples.

    Raises:
        RequestError: the examples do not fit the signature.
    """
    return run_signature(model, signature, examples_to_inputs(signature, list(examples)))


def _check_input_names(signature: Signature, inputs: Mapping[str, Any]) -> None:
    """Refuse wrong names before any tensor is read."""
    specs = signature.inputs
    missing = [name for name, spec in specs.items() if name not in inputs and not spec.is_optional]
    if missing or any(name not in specs for name in inputs):
        raise InputNamesError(sent=list(inputs), expected=list(specs), missing=missing)


def _decoded(name: str, tensor: Message) -> Tensor:
    try:
        return decode_tensor(tensor)
    except RequestError as error:
        raise error.at(f"input {name!r}") from None


def _rows(inputs: Mapping[str, Tensor]) -> int:
    return max((tensor.shape[0] for tensor in inputs.values() if tensor.ndim), default=1)


def _example_signature(model: TensorModel, name: str, method: Method) -> Signature:
    """The signature of a classify or regress call."""
    try:
        signature = find_signature(model, name)
    except SignatureNotFoundError as error:
        raise RefusedError(f"No signature was found with the name: {error.signature}") from None
    if signature.method != method:
        raise RefusedError(
            f"Expected {_NOUNS[method]} signature method_name to be tensorflow/serving/{method}. "
            f"Was: tensorflow/serving/{signature.method}"
        )
    return signature


def _task_signatures(model: TensorModel, tasks: Sequence[Message]) -> list[Signature]:
    """The signatures of a multi-inference, each checked against its method."""
    found: list[Signature] = []
    for task in tasks:
        spec = task.model_spec
        if not spec.name:
            raise RefusedError("Found ModelSpec with an empty model name.")
        if spec.name != tasks[0].model_spec.name:
            raise RefusedError("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        name = spec.signature_name or DEFAULT_SIGNATURE
        if any(name == known.name for known in found):
            raise RefusedError(f"Duplicate evaluation of signature: {name}")
        if name not in model.signatures:
            raise RefusedError(f"Requested signature not found in model graph: {name}")
        method: Method
        match task.method_name:
            case "tensorflow/serving/classify":
                method = "classify"
            case "tensorflow/serving/regress":
                method = "regress"
            case _:
                text = f"Unsupported signature method_name: {task.method_name}"
                raise RefusedError(text, StatusCode.UNIMPLEMENTED)
        found.append(_example_signature(model, name, method))
    return found


def _write_result(signature: Signature, outputs: Mapping[str, Tensor], rows: int, into: Message) -> None:
    """The outputs of a classify or regress signature as a ClassificationResult or RegressionResult.

    Raises:
        RequestError: they do not have the shape of one.
    """
    if signature.method == "regress":
        for value in regressions(signature, outputs, rows).tolist():
            into.regressions.add(value=value)
        return
    scores, labels = classifications(signature, outputs, rows)
    texts = [[""] * scores.shape[1]] * len(scores) if labels is None else labels.tolist()
    for row, names in zip(scores.tolist(), texts, strict=True):
        classes = into.classifications.add().classes
        for score, name in zip(row, names, strict=True):
            classes.add(label=_text(name), score=score)


def _text(label: Any) -> str:
    return label.decode("utf-8", "replace") if isinstance(label, bytes) else str(label)
