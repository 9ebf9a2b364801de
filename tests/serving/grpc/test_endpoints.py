"""How calls get to rank threads and back: deadlines, cancellation, overload, and bytes that are no messages."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recserve.serving.grpc.endpoints import Endpoint, work
from recserve.serving.grpc.failures import RefusedError, no_words
from recserve.serving.grpc.server import GrpcServer
from recserve.serving.overload.turn import CallCancelledError, DeadlineExceededError, Turn
from recserve.wire.open_inference import SERVICE as OIP
from recserve.wire.pool import methods_of
from recserve.wire.ranking import SERVICE as RANKING
from recserve.wire.tensor_proto import encode_tensor
from recserve.wire.tensorflow_serving import MODEL_SERVICE, PREDICTION_SERVICE, PredictRequest

CODE = grpc.StatusCode
PREDICT = f"/{PREDICTION_SERVICE}/Predict"
METHODS = [m for s in (PREDICTION_SERVICE, MODEL_SERVICE, OIP, RANKING) for m in methods_of(s).values()]


def predict(model: str) -> bytes:
    request = PredictRequest()
    request.model_spec.name = model
    request.inputs["x"].CopyFrom(encode_tensor(np.array([1.0], np.float32)))
    content: bytes = request.SerializeToString()
    return content


@pytest.fixture
def narrow(serving_of: Any, fakes: Any) -> Iterator[tuple[Any, Any]]:
    """A slow model behind one thread and one place in the queue: (model, call of Predict)."""
    model = fakes["slow"]()
    serving = serving_of([model, fakes["half_plus_two"]()], threads=1, max_waiting=1)
    server = GrpcServer(serving, "127.0.0.1", 0)
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield model, channel.unary_unary(PREDICT)
    model.gate.set()
    server.stop(5)
    assert serving.threads.close(5)


def test_a_deadline_in_the_queue_ends_the_call_and_its_work_is_dropped(narrow: tuple[Any, Any]) -> None:
    model, call = narrow
    running = call.future(predict("slow"), timeout=20)
    assert model.entered.wait(10)
    with pytest.raises(grpc.RpcError) as caught:
        call(predict("half_plus_two"), timeout=0.2)
    assert caught.value.code() == CODE.DEADLINE_EXCEEDED
    model.gate.set()
    running.result()
    call(predict("half_plus_two"), timeout=20)  # the dropped call holds no place
    assert model.runs == 1


def test_a_cancelled_call_in_the_queue_never_runs(narrow: tuple[Any, Any]) -> None:
    model, call = narrow
    running = call.future(predict("slow"), timeout=20)
    assert model.entered.wait(10)
    waiting = call.future(predict("slow"), timeout=20)
    threading.Event().wait(0.2)
    waiting.cancel()
    threading.Event().wait(0.2)
    model.gate.set()
    running.result()
    call(predict("half_plus_two"), timeout=20)
    assert model.runs == 1


def test_a_full_queue_is_resource_exhausted_and_says_when_to_come_again(narrow: tuple[Any, Any]) -> None:
    model, call = narrow
    calls = [call.future(predict("slow"), timeout=20)]
    assert model.entered.wait(10)
    calls += [call.future(predict("slow"), timeout=20) for _ in range(6)]
    refused = next(c for c in calls[1:] if wait_for_refusal(c))
    assert refused.code() == CODE.RESOURCE_EXHAUSTED
    assert dict(refused.trailing_metadata())["retry-after"] == "1"
    model.gate.set()
    codes = [c.code() for c in calls]
    assert codes.count(CODE.OK) + codes.count(CODE.RESOURCE_EXHAUSTED) == 7


def wait_for_refusal(call: Any) -> bool:
    try:
        return call.exception(timeout=1) is not None
    except grpc.FutureTimeoutError:
        return False


def test_work_is_checked_before_it_is_read_and_after_it_is_done() -> None:
    method = methods_of(PREDICTION_SERVICE)["Predict"]
    turn = Turn()

    def answer(_: Any, turn: Turn) -> Any:
        turn.cancel()
        return method.response()

    endpoint = Endpoint(method, answer, no_words)
    with pytest.raises(DeadlineExceededError):
        work(endpoint, b"\xff", Turn(0))
    with pytest.raises(RefusedError, match=r"1 bytes are no tensorflow\.serving\.PredictRequest"):
        work(endpoint, b"\xff", turn)
    with pytest.raises(CallCancelledError):
        work(endpoint, b"", turn)


def test_an_unknown_method_is_unimplemented(served: Any) -> None:
    for path in ("/tensorflow.serving.SessionService/SessionRun", "/inference.GRPCInferenceService/Nope"):
        with pytest.raises(grpc.RpcError) as caught:
            served.raw(path, b"")
        assert caught.value.code() == CODE.UNIMPLEMENTED


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.sampled_from([m for m in METHODS if not m.takes_stream]), st.binary(max_size=80))
def test_any_bytes_are_answered_or_refused(served: Any, method: Any, body: bytes) -> None:
    try:
        method.response.FromString(served.raw(method.path, body))
    except grpc.RpcError as error:
        allowed = {CODE.INVALID_ARGUMENT, CODE.NOT_FOUND, CODE.UNIMPLEMENTED, CODE.FAILED_PRECONDITION}
        assert error.code() in allowed, (error.code(), error.details())  # noqa: PT017


GOOD = {
    PREDICT: predict("half_plus_two"),
    f"/{RANKING}/Rank": methods_of(RANKING)["Rank"].request(model="rank").SerializeToString(),
}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.sampled_from(sorted(GOOD)), st.integers(0, 200), st.integers(0, 255), st.booleans())
def test_damaged_requests_are_answered_or_refused(served: Any, path: str, place: int, byte: int, is_cut: bool) -> None:
    body = bytearray(GOOD[path])
    at = place % len(body)
    body[at] = byte
    try:
        served.raw(path, bytes(body[:at] if is_cut else body))
    except grpc.RpcError as error:
        allowed = {CODE.INVALID_ARGUMENT, CODE.NOT_FOUND, CODE.FAILED_PRECONDITION}
        assert error.code() in allowed, (error.code(), error.details())  # noqa: PT017


def test_a_stream_refuses_bytes_and_goes_on(served: Any) -> None:
    method = methods_of(OIP)["ModelStreamInfer"]
    answers = served.channel.stream_stream(method.path, response_deserializer=method.response.FromString)(
        iter([b"\xff", b""]), timeout=20
    )
    first, second = list(answers)
    assert "1 bytes are no inference.ModelInferRequest" in first.error_message
    assert "Request for unknown model: ''" in second.error_message
