"""Requests that a version answers before anybody else's: engines allocate, kernels compile and pages come in.

Three kinds: TensorFlow Serving's file `assets.extra/tf_serving_warmup_requests` of a version; rank requests that were
recorded while serving; and for a plain model without either, tensors of zeros.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import numpy as np

from recserve.errors import ConfigError, RecserveError, RequestError
from recserve.serving.contract import Candidates, ServedModel
from recserve.serving.examples import examples_to_inputs
from recserve.serving.inference import find_signature, run_signature
from recserve.serving.lifecycle.tfrecord import read_tfrecords
from recserve.signatures import Signature, Tensor, TensorModel, TensorSpec, numpy_dtype

REQUESTS_FILE: Final = Path("assets.extra", "tf_serving_warmup_requests")
MAX_RECORDS: Final = 1000
"""Records of a file that are answered."""
MAX_DRAWN: Final = 1 << 20
"""Elements of a drawn tensor."""

_log: Final = logging.getLogger("recserve.serving")


@dataclass(frozen=True)
class RecordedCall:
    """A rank request that was served once; the fields are those of `RankerLike.rank`."""

    model: str
    user: Mapping[str, Any]
    context: Mapping[str, Any] | None
    candidates: Candidates
    items: Mapping[Any, Mapping[str, Any]] | None = None


@dataclass(frozen=True)
class WarmUp:
    """Warms a version up; a `Repository.prepare`.

    Attributes:
        times: how often each request is answered.
        recorded: rank requests, of any model.
        observe: told the version's directory, a canonical code and microseconds.
    """

    times: int = 1
    recorded: Sequence[RecordedCall] = ()
    observe: Callable[[str, str, float], None] | None = None

    def __call__(self, model: ServedModel, directory: Path) -> None:
        """Answer the requests.

        Raises:
            ConfigError: a request of the version's own file cannot be read, or is refused by the model.
        """
        begin_s = perf_counter()
        code = "OK"
        try:
            self._warm(model, directory)
        except RecserveError:
            code = "INVALID_ARGUMENT"
            raise
        except Exception:
            code = "INTERNAL"
            raise
        finally:
            if self.observe is not None:
                self.observe(str(directory), code, (perf_counter() - begin_s) * 1e6)

    def _warm(self, model: ServedModel, directory: Path) -> None:
        path = directory / REQUESTS_FILE
        if path.is_file() and hasattr(model, "signatures"):
            for number, content in enumerate(islice(read_tfrecords(path), MAX_RECORDS)):
                self._answer_log(model, content, f"{path}: record {number}")
        elif hasattr(model, "signatures") and not hasattr(model, "rank"):
            warm_drawn(model)
        if hasattr(model, "rank"):
            self._replay(model)

    def _answer_log(self, model: Any, content: bytes, where: str) -> None:
        from google.protobuf.message import DecodeError

        from recserve.wire.tensorflow_serving import PredictionLog

        try:
            log = PredictionLog.FromString(content)
            for _ in range(self.times):
                answer_log(model, log)
        except DecodeError as error:
            raise ConfigError("is no PredictionLog", code="bad_warm_up", where=where) from error
        except RequestError as error:
            hint = "The version must answer its own warm-up requests; write them anew."
            raise ConfigError(f"is refused: {error}", code="bad_warm_up", where=where, hint=hint) from error

    def _replay(self, ranker: Any) -> None:
        """Rank what was recorded of the model; a new version may refuse what an old one took."""
        refused = 0
        calls = [call for call in self.recorded if call.model == ranker.name][:MAX_RECORDS]
        for call in calls * self.times:
            try:
                ranker.rank(call.user, call.context, call.candidates, items=call.items)
            except RequestError:
                refused += 1
        if refused:
            _log.warning("%d of %d recorded requests were refused by %r", refused, len(calls) * self.times, ranker.name)


def answer_log(model: TensorModel, log: Any) -> None:
    """Answer one `tensorflow.serving.PredictionLog`.

    Raises:
        RequestError: the model has no such signature, or refuses the tensors or examples.
    """
    from recserve.wire.examples import read_examples
    from recserve.wire.tensor_proto import decode_tensor

    match log.WhichOneof("log_type"):
        case "predict_log":
            request = log.predict_log.request
            signature = find_signature(model, request.model_spec.signature_name)
            inputs = {name: decode_tensor(tensor) for name, tensor in request.inputs.items()}
            run_signature(model, signature, inputs, list(request.output_filter))
        case "classify_log" | "regress_log" as kind:
            request = getattr(log, kind).request
            signature = find_signature(model, request.model_spec.signature_name)
            run_signature(model, signature, examples_to_inputs(signature, read_examples(request.input)))
        case "multi_inference_log":
            request = log.multi_inference_log.request
            examples = read_examples(request.input)
            for task in request.tasks:
                signature = find_signature(model, task.model_spec.signature_name)
                run_signature(model, signature, examples_to_inputs(signature, examples))
        case _:
            raise RequestError("the log holds no request")


def warm_drawn(model: Any) -> None:
    """Run every signature once with zeros of the least shape; what the model refuses of them is no fault of it."""
    for signature in model.signatures.values():
        inputs = _draw(signature)
        if inputs is None:
            continue
        try:
            model.run(signature.name, inputs)
        except RecserveError as error:
            _log.debug("Drawn tensors do not warm %r up: %s", signature.name, error)


def _draw(signature: Signature) -> dict[str, Tensor] | None:
    """Zeros for each input; None where a shape is not known or large."""
    inputs: dict[str, Tensor] = {}
    for name, spec in signature.inputs.items():
        if spec.is_optional:
            continue
        shape = _least_shape(spec)
        if shape is None:
            return None
        dtype = numpy_dtype(spec.dtype)
        inputs[name] = np.full(shape, b"", object) if spec.dtype == "string" else np.zeros(shape, dtype)
    return inputs


def _least_shape(spec: TensorSpec) -> tuple[int, ...] | None:
    if spec.shape is None:
        return None
    shape = tuple(1 if size is None else size for size in spec.shape)
    return shape if math.prod(shape) <= MAX_DRAWN else None
