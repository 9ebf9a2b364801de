"""One /invocations for the clients of SageMaker and of MLflow, whose dialects contradict one another.

SageMaker's is spoken where the platform's variables are set, MLflow's elsewhere. Two things need no choice: a body with
`dataframe_split` or `dataframe_records` is MLflow's, and CSV has a header row where the first row names an input of the
model, and none where all its cells are numbers. NumPy bodies, as SageMaker's own toolkit reads them, are taken as well.
"""

from __future__ import annotations

import csv
import re
from time import perf_counter_ns
from typing import Final

from recserve.errors import RecserveError, RequestError
from recserve.serving.body import Receive, Scope, Send
from recserve.serving.compression import inflate, read_coding
from recserve.serving.dialects import App, Serving
from recserve.serving.http_answer import HttpAnswer, HttpRequest, read_request, send_answer
from recserve.serving.inference import run_signature, tensor_model
from recserve.serving.mlflow.app import MlflowApp
from recserve.serving.mlflow.frame import Frame
from recserve.serving.mlflow.model_inputs import bind_inputs
from recserve.serving.mlflow.predictions import encode_predictions
from recserve.serving.oip.inference import default_signature
from recserve.serving.sagemaker.environment import Platform
from recserve.serving.sagemaker.headers import accepted_types, echo_attributes, media_type
from recserve.serving.sagemaker.numpy_bodies import NPY_TYPE, NPZ_TYPE, read_npy, read_npz, write_npy, write_npz
from recserve.serving.sagemaker.tensorflow_calls import error_answer
from recserve.serving.sagemaker.tfs import SageMakerTfsApp
from recserve.serving.statistics import Times
from recserve.serving.status import as_recserve_error

_DATAFRAME: Final = re.compile(rb'"dataframe_(?:split|records)"\s*:')
_NUMPY_TYPES: Final = (NPY_TYPE, NPZ_TYPE)


def build_invocations(serving: Serving) -> App:
    """The application of the dialect `invocations`."""
    return InvocationsApp(serving)


class InvocationsApp:
    """The routes of both; see the module for who answers what."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._mlflow = MlflowApp(serving)
        self._sagemaker = SageMakerTfsApp(serving)
        self._is_sagemaker = Platform(serving.environment).is_sagemaker

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        answer = await self._answer(scope, receive)
        if answer is not None:  # else nobody is there to answer
            await send_answer(send, answer, has_body=scope["method"] != "HEAD")

    async def _answer(self, scope: Scope, receive: Receive) -> HttpAnswer | None:
        if (scope["path"], scope["method"]) != ("/invocations", "POST"):
            is_own = scope["path"] == "/execution-parameters" or self._is_sagemaker
            own = self._sagemaker if is_own and scope["path"] not in ("/health", "/version") else self._mlflow
            return await own.answer_route(scope, receive)
        try:
            request = await read_request(scope, receive, self._serving.limits)
        except RecserveError as error:
            return error_answer(error)
        if request is None:
            return None
        kind = media_type(request.headers.get("content-type", ""))
        if kind in _NUMPY_TYPES:
            return await self._answer_numpy(request, kind)
        is_mlflow = await self._serving.threads.run(lambda: self._is_for_mlflow(request, kind))
        own = self._mlflow if is_mlflow else self._sagemaker
        return await own.answer_invocation(request)

    def _is_for_mlflow(self, request: HttpRequest, kind: str) -> bool:
        if kind == "text/csv":
            return self._has_header(request)
        return not self._is_sagemaker or _DATAFRAME.search(request.body) is not None

    def _has_header(self, request: HttpRequest) -> bool:
        """Whether the first row of CSV names an input of the model; where MLflow's dialect holds, any text will do."""
        try:
            first = request.body.lstrip().split(b"\n", 1)[0].decode()
            cells = next(csv.reader([first.strip()], strict=True), [])
            with self._serving.registry.lease(self._serving.default_model()) as leased:
                names = default_signature(tensor_model(leased)).inputs
        except (UnicodeDecodeError, csv.Error, RecserveError):  # whoever answers says what is wrong
            return not self._is_sagemaker
        is_text = not all(map(_is_number, cells))
        return any(cell.strip() in names for cell in cells) or (is_text and not self._is_sagemaker)

    async def _answer_numpy(self, request: HttpRequest, kind: str) -> HttpAnswer:
        arrived_ns = perf_counter_ns()
        try:
            answer = await self._serving.threads.run(lambda: self._run_numpy(request, kind, arrived_ns))
        except Exception as caught:
            return error_answer(as_recserve_error(caught), request.headers)
        return HttpAnswer(answer.status, answer.body, answer.content_type, echo_attributes(request.headers))

    def _run_numpy(self, request: HttpRequest, kind: str, arrived_ns: int) -> HttpAnswer:
        begin_ns = perf_counter_ns()
        limit = self._serving.limits.max_body_bytes
        body = inflate(request.body, read_coding(request.headers.get("content-encoding", "")), limit)
        with self._serving.registry.lease(self._serving.default_model()) as leased:
            model = tensor_model(leased)
            signature = default_signature(model)
            if kind == NPY_TYPE and len(signature.inputs) != 1:
                raise RequestError(f"the model has {len(signature.inputs)} inputs", hint="Send them as .npz.")
            columns = {next(iter(signature.inputs)): read_npy(body)} if kind == NPY_TYPE else read_npz(body, limit)
            inputs = bind_inputs(signature, Frame(columns, is_table=False))
            parsed_ns = perf_counter_ns()
            outputs = run_signature(model, signature, inputs)
            ran_ns = perf_counter_ns()
            wanted = next((k for k in accepted_types(request.headers.get("accept", "")) if k in _NUMPY_TYPES), "")
            if wanted == NPZ_TYPE or (wanted and len(outputs) > 1):
                answer = HttpAnswer(200, write_npz(outputs), NPZ_TYPE)
            elif wanted:
                answer = HttpAnswer(200, write_npy(next(iter(outputs.values()))), NPY_TYPE)
            else:
                answer = HttpAnswer(200, encode_predictions(outputs, is_table=False))
            rows = max((tensor.shape[0] for tensor in inputs.values() if tensor.ndim), default=1)
            spent = (begin_ns - arrived_ns, parsed_ns - begin_ns, ran_ns - parsed_ns, perf_counter_ns() - ran_ns)
            self._serving.statistics.of(model.name, model.version).add(rows, Times(*spent))
        return answer


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
