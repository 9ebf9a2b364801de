"""ModelInfer and ModelStreamInfer, with the real tritonclient and with our own messages."""

from __future__ import annotations

import asyncio
import queue
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio

from recserve.wire.infer_tensor import NUMPY, decode_raw, encode_contents, encode_raw
from recserve.wire.open_inference import SERVICE, InferTensorContents, ModelInferRequest

CODE = grpc.StatusCode


@pytest.fixture
def client(served: Any) -> Any:
    with triton.InferenceServerClient(f"127.0.0.1:{served.server.port}") as made:
        yield made


def tensor(kind: Any, name: str, array: np.ndarray[Any, Any], datatype: str) -> Any:
    made = kind.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array)
    return made


def numbers(kind: Any) -> list[Any]:
    first = np.arange(32, dtype=np.int32).reshape(2, 16)
    return [tensor(kind, "INPUT0", first, "INT32"), tensor(kind, "INPUT1", np.ones_like(first), "INT32")]


def test_tritonclient_gets_its_answer(client: Any) -> None:
    result = client.infer("add_sub", numbers(triton), request_id="q1")
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), np.arange(32).reshape(2, 16) + 1)
    np.testing.assert_array_equal(result.as_numpy("OUTPUT1"), np.arange(32).reshape(2, 16) - 1)
    response = result.get_response()
    assert (response.id, response.model_name, response.model_version) == ("q1", "add_sub", "1")


def test_tritonclient_chooses_outputs_and_versions(client: Any) -> None:
    result = client.infer(
        "add_sub", numbers(triton), model_version="1", outputs=[triton.InferRequestedOutput("OUTPUT1")]
    )
    assert result.as_numpy("OUTPUT0") is None
    assert result.as_numpy("OUTPUT1") is not None


def test_every_datatype_goes_through_tritonclient(client: Any, served: Any) -> None:
    inputs, arrays = [], {}
    for spec in served.models["identity"].signatures["serving_default"].inputs.values():
        datatype = {"bfloat16": "BF16", "float16": "FP16", "float32": "FP32", "float64": "FP64", "string": "BYTES"}.get(
            spec.dtype, spec.dtype.upper()
        )
        if datatype == "BYTES":
            array = np.array([b"a", "ü".encode(), b""], object)
        else:
            array = np.array([0, 1, 1], NUMPY[datatype])
        arrays[spec.name.replace("in_", "out_")] = array
        inputs.append(tensor(triton, spec.name, array, datatype))
    result = client.infer("identity", inputs)
    for name, array in arrays.items():
        np.testing.assert_array_equal(result.as_numpy(name), array)


def test_tritonclient_of_asyncio_gets_its_answer(served: Any) -> None:
    async def infer() -> Any:
        async with triton_aio.InferenceServerClient(f"127.0.0.1:{served.server.port}") as client:
            return await client.infer("add_sub", numbers(triton_aio))

    assert asyncio.run(infer()).as_numpy("OUTPUT0")[0, 0] == 1


def test_a_stream_answers_each_request_in_order_and_goes_on_after_an_error(served: Any) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    with triton.InferenceServerClient(f"127.0.0.1:{served.server.port}") as client:
        client.start_stream(callback=lambda result, error: answers.put((result, error)))
        client.async_stream_infer("add_sub", numbers(triton), request_id="a")
        client.async_stream_infer("nope", numbers(triton), request_id="b")
        client.async_stream_infer("add_sub", numbers(triton), request_id="c", enable_empty_final_response=True)
        first, second, third = (answers.get(timeout=20) for _ in range(3))
        client.stop_stream()
    assert first[0].get_response().id == "a"
    assert "triton_final_response" not in first[0].get_response().parameters
    assert "Request for unknown model: 'nope' is not found" in str(second[1])
    assert third[0].get_response().id == "c"
    assert third[0].get_response().parameters["triton_final_response"].bool_param


def infer(model: str = "add_sub", version: str = "", **inputs: Any) -> Any:
    request = ModelInferRequest(model_name=model, model_version=version)
    for name, array in inputs.items():
        made = request.inputs.add(name=name, datatype="INT32", shape=array.shape)
        made.contents.CopyFrom(encode_contents(array))
    return request


ONES = np.ones((1, 16), np.int32)


def test_typed_contents_are_answered_raw(served: Any) -> None:
    answer = served.call(SERVICE, "ModelInfer", infer(INPUT0=ONES, INPUT1=ONES))
    assert [output.name for output in answer.outputs] == ["OUTPUT0", "OUTPUT1"]
    assert not any(output.HasField("contents") for output in answer.outputs)
    got = decode_raw(answer.raw_output_contents[0], "INT32", answer.outputs[0].shape)
    np.testing.assert_array_equal(got, ONES * 2)


def changed(change: Any, **inputs: Any) -> Any:
    request = infer(**(inputs or {"INPUT0": ONES, "INPUT1": ONES}))
    change(request)
    return request


def mix(request: Any) -> None:
    request.raw_input_contents.extend([encode_raw(ONES)] * 2)


def name_output(request: Any) -> None:
    request.outputs.add(name="OUTPUT7")


def repeat_output(request: Any) -> None:
    request.outputs.add(name="OUTPUT0")
    request.outputs.add(name="OUTPUT0")


def repeat_input(request: Any) -> None:
    request.inputs[1].name = "INPUT0"


def share(request: Any) -> None:
    request.inputs[0].parameters["shared_memory_region"].string_param = "r"


def classify(request: Any) -> None:
    request.outputs.add(name="OUTPUT0").parameters["classification"].int64_param = 1


def spoil_timeout(request: Any) -> None:
    request.parameters["timeout"].string_param = "soon"


def claim(request: Any) -> None:
    request.inputs[0].shape[:] = [2**40, 2**40]


def negate(request: Any) -> None:
    request.inputs[0].shape[:] = [-1, 16]


def rename_type(request: Any) -> None:
    request.inputs[0].datatype = "INT33"


def drop_raw(request: Any) -> None:
    request.raw_input_contents.append(b"")


@pytest.mark.parametrize(
    ("request_", "code", "text"),
    [
        (infer("nope"), CODE.NOT_FOUND, "Request for unknown model: 'nope' is not found"),
        (infer(version="9"), CODE.NOT_FOUND, "Request for unknown model: 'add_sub' version 9 is not found"),
        (infer(version="x"), CODE.INVALID_ARGUMENT, "specified version string 'x'"),
        (infer("rank"), CODE.INVALID_ARGUMENT, "takes no tensors"),
        (
            infer(INPUT0=ONES),
            CODE.INVALID_ARGUMENT,
            "expected 2 inputs but got 1 inputs for model 'add_sub'. Got input(s) ['INPUT0'], but missing required "
            "input(s) ['INPUT1']. Please provide all required input(s).",
        ),
        (infer(INPUT0=ONES, X=ONES), CODE.INVALID_ARGUMENT, "unexpected inference input 'X' for model 'add_sub'"),
        (
            infer(INPUT0=ONES[:, :8], INPUT1=ONES),
            CODE.INVALID_ARGUMENT,
            "unexpected shape for input 'INPUT0' for model 'add_sub'. Expected [-1,16], got [1,8]",
        ),
        (changed(mix), CODE.INVALID_ARGUMENT, "contents field must not be specified when using raw_input_contents"),
        (changed(drop_raw), CODE.INVALID_ARGUMENT, "expected raw_input_contents for all 2 inputs, but got 1 of them"),
        (changed(name_output), CODE.INVALID_ARGUMENT, "unexpected inference output 'OUTPUT7'"),
        (changed(repeat_output), CODE.INVALID_ARGUMENT, "output 'OUTPUT0' already exists in request"),
        (changed(repeat_input), CODE.INVALID_ARGUMENT, "input 'INPUT0' already exists in request"),
        (changed(share), CODE.UNIMPLEMENTED, "shared memory is not supported"),
        (changed(classify), CODE.UNIMPLEMENTED, "the classification extension is not supported"),
        (changed(spoil_timeout), CODE.INVALID_ARGUMENT, "parameter 'timeout' must be a whole number"),
        (changed(claim), CODE.INVALID_ARGUMENT, "more elements than fit 63 bits"),
        (changed(negate), CODE.INVALID_ARGUMENT, "negative axis"),
        (changed(rename_type), CODE.INVALID_ARGUMENT, "there is no datatype 'INT33'"),
    ],
)
def test_mistakes_have_codes_and_texts_that_clients_know(served: Any, request_: Any, code: Any, text: str) -> None:
    error = served.fails(SERVICE, "ModelInfer", request_)
    assert error.code() == code
    assert text in error.details()


def test_another_datatype_is_named(served: Any) -> None:
    request = infer(INPUT0=ONES, INPUT1=ONES)
    request.inputs[0].datatype = "FP32"
    request.inputs[0].contents.CopyFrom(InferTensorContents(fp32_contents=[1.0] * 16))
    error = served.fails(SERVICE, "ModelInfer", request)
    assert "inference input 'INPUT0' data-type is 'FP32', but model 'add_sub' expects 'INT32'" in error.details()


def test_a_request_that_waited_too_long_is_dropped(serving_of: Any, fakes: Any) -> None:
    from recserve.serving.grpc.oip_inference import InferenceService
    from recserve.serving.oip.inference import RequestExpiredError
    from recserve.serving.overload.turn import Turn

    serving = serving_of([fakes["add_sub"]()])
    turn = Turn()
    turn.arrived_ns -= 2_000_000
    request = infer(INPUT0=ONES, INPUT1=ONES)
    request.parameters["timeout"].int64_param = 1000
    with pytest.raises(RequestExpiredError, match="Request timeout expired"):
        InferenceService(serving).infer(request, turn)
    request.parameters["timeout"].uint64_param = 100_000_000
    assert InferenceService(serving).infer(request, turn).model_name == "add_sub"
