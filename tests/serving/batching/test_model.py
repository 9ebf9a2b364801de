from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recserve.errors import RequestError
from recserve.serving.batching.model import BatchedModel
from recserve.serving.batching.parameters import BatchingParameters
from recserve.serving.batching.queue import BatchQueue
from recserve.signatures import Signature, Tensor, TensorSpec


class Rows:
    """Gives the sum of each row, or the number of rows under `whole`; refuses negative numbers."""

    name, version = "rows", 1

    def __init__(self) -> None:
        x = TensorSpec("x", "float32", (None, None), "x")
        y = TensorSpec("y", "float32", None, "y")
        fixed = TensorSpec("x", "float32", (2, 2), "x")
        self.signatures = {
            name: Signature(name, {"x": spec}, {"y": y}, "predict")
            for name, spec in (("sum", x), ("whole", x), ("fixed", fixed))
        }
        self.sizes: list[int] = []

    def run(
        self, signature: str, inputs: Mapping[str, Tensor], outputs: Sequence[str] | None = None
    ) -> dict[str, Tensor]:
        del outputs
        x = np.asarray(inputs["x"])
        self.sizes.append(len(x) if x.ndim else 0)
        if (x < 0).any():
            raise RequestError("negative")
        return {"y": np.float32(len(x)) if signature == "whole" else x.sum(axis=tuple(range(1, x.ndim)))}  # type: ignore[dict-item]

    def close(self) -> None:
        pass


def ask_all(model: Any, tensors: list[Tensor], signature: str = "sum") -> list[Any]:
    results: list[Any] = [None] * len(tensors)

    def one(number: int) -> None:
        try:
            results[number] = model.run(signature, {"x": tensors[number]})["y"]
        except Exception as error:
            results[number] = error

    threads = [threading.Thread(target=one, args=(number,)) for number in range(len(tensors))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return results


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3)), min_size=1, max_size=8), st.booleans(), st.booleans())
def test_batched_answers_are_those_of_calls_by_themselves(
    shapes: list[tuple[int, int]], pads: bool, has_sizes: bool
) -> None:
    allowed = (4, 8) if has_sizes else ()
    parameters = BatchingParameters(8, 0.005, 100, 2, allowed, pad_variable_length_inputs=pads)
    batches, inner = BatchQueue(parameters), Rows()
    rng = np.random.default_rng(len(shapes))
    tensors = [rng.integers(0, 9, shape).astype(np.float32) for shape in shapes]
    if pads:  # what is filled up counts in a sum: the first value is 0 here
        for tensor in tensors:
            tensor.flat[0] = 0
    results = ask_all(BatchedModel(inner, batches), tensors)
    for tensor, result in zip(tensors, results, strict=True):
        np.testing.assert_array_equal(result, tensor.sum(axis=1))
    assert not has_sizes or set(inner.sizes) <= set(allowed)
    batches.close()


def test_calls_share_a_batch_and_one_that_is_wrong_spoils_no_other() -> None:
    batches, inner = BatchQueue(BatchingParameters(4, 30.0, 10, 1)), Rows()
    model = BatchedModel(inner, batches)
    good = [np.ones((1, 2), np.float32)] * 4
    assert [result.tolist() for result in ask_all(model, good)] == [[2.0]] * 4
    assert inner.sizes == [4]
    results = ask_all(model, [*good[:3], -good[0]])
    assert [str(result) for result in results] == ["[2.]", "[2.]", "[2.]", "negative"]
    batches.close()


def test_what_cannot_share_a_batch_runs_by_itself() -> None:
    batches, inner = BatchQueue(BatchingParameters(4, 0.0, 10, 1)), Rows()
    model = BatchedModel(inner, batches)
    assert model.run("fixed", {"x": np.ones((2, 2), np.float32)})["y"].tolist() == [2, 2]
    assert model.run("sum", {"x": np.array(3, np.float32)})["y"] == 3
    assert ask_all(model, [np.ones((2, 1), np.float32)] * 2, "whole") == [2.0, 2.0]
    assert (model.name, model.version) == ("rows", 1)
    batches.close()


def test_large_calls_are_refused_or_cut_up() -> None:
    inner = Rows()
    batches = BatchQueue(BatchingParameters(4, 0.0, 10, 1))
    with pytest.raises(RequestError, match="Task size 9 is larger than maximum input batch size 4"):
        BatchedModel(inner, batches).run("sum", {"x": np.ones((9, 1), np.float32)})
    batches.close()
    splitting = BatchingParameters(16, 0.0, 10, 1, enable_large_batch_splitting=True, max_execution_batch_size=4)
    batches = BatchQueue(splitting)
    tensor = np.arange(9, dtype=np.float32).reshape(9, 1)
    assert BatchedModel(inner, batches).run("sum", {"x": tensor})["y"].tolist() == list(range(9))
    assert inner.sizes == [4, 4, 1]
    batches.close()


def test_a_signature_with_an_output_of_fixed_length_is_not_batched() -> None:
    inner = Rows()
    x, y = TensorSpec("x", "float32", (None, 1), "x"), TensorSpec("y", "float32", (4,), "y")
    inner.signatures["sum"] = Signature("sum", {"x": x}, {"y": y}, "predict")
    batches = BatchQueue(BatchingParameters(4, 0.005, 10, 1))
    assert [len(result) for result in ask_all(BatchedModel(inner, batches), [np.ones((2, 1), np.float32)] * 2)] == [
        2,
        2,
    ]
    assert inner.sizes == [2, 2]
    batches.close()
