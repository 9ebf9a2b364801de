"""A model whose calls are batched: for the calls of a signature in which every tensor has the batch's axis.

Axes: rows of a call (the first axis of each tensor), rows of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recserve.errors import RequestError
from recserve.serving.batching.queue import BatchQueue
from recserve.signatures import Signature, Tensor, TensorModel

Tensors = Mapping[str, Tensor]


class BatchedModel:
    """A `TensorModel` around another one. Calls that cannot share a batch run by themselves.

    Args:
        model: that runs the batches.
        batches: where calls wait; shared with other models.
    """

    def __init__(self, model: TensorModel, batches: BatchQueue) -> None:
        self._model = model
        self._batches = batches
        self._alone: set[str] = {name for name, signature in model.signatures.items() if not _may_batch(signature)}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Those of the model."""
        return self._model.signatures

    def run(
        self, signature: str, inputs: Mapping[str, Tensor], outputs: Sequence[str] | None = None
    ) -> dict[str, Tensor]:
        """As the model's own `run`.

        Raises:
            OverloadedError: too many batches wait.
            RequestError: the model refuses the tensors.
        """
        parameters = self._batches.parameters
        rows = _rows_of(inputs)
        is_large = rows is not None and rows > parameters.rows
        if rows is None or rows == 0 or signature in self._alone or is_large:
            if is_large and parameters.enable_large_batch_splitting and signature not in self._alone:
                return self._run_in_parts(signature, inputs, outputs, rows or 0)
            if is_large and signature not in self._alone:
                raise RequestError(
                    f"Task size {rows} is larger than maximum input batch size {parameters.max_batch_size}",
                    code="batch_too_large",
                )
            return self._model.run(signature, inputs, outputs)
        return self._submit(signature, inputs, outputs, rows)

    def _run_in_parts(
        self, signature: str, inputs: Tensors, outputs: Sequence[str] | None, rows: int
    ) -> dict[str, Tensor]:
        size = self._batches.parameters.rows
        parts = [
            self._submit(signature, {n: t[at : at + size] for n, t in inputs.items()}, outputs, min(size, rows - at))
            for at in range(0, rows, size)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _submit(self, signature: str, inputs: Tensors, outputs: Sequence[str] | None, rows: int) -> dict[str, Tensor]:
        pads = self._batches.parameters.pad_variable_length_inputs
        shapes = tuple(sorted((n, t.dtype.str, t.ndim if pads else t.shape[1:]) for n, t in inputs.items()))
        wanted = None if outputs is None else tuple(outputs)
        key = (id(self._model), signature, wanted, shapes)
        answer: dict[str, Tensor] = self._batches.submit(
            key, inputs, rows, lambda tasks: self._run_batch(signature, tasks, wanted)
        )
        return answer

    def _run_batch(self, signature: str, tasks: list[Tensors], outputs: Sequence[str] | None) -> list[Any]:
        """The outputs of each task, or its error."""
        counts = [_rows_of(task) or 0 for task in tasks]
        self._batches.metrics.ran(self._model.name, counts, self._batches.parameters.padded(sum(counts)))
        if len(tasks) > 1 or self._batches.parameters.allowed_batch_sizes:
            try:
                return self._run_together(signature, tasks, outputs)
            except RequestError:  # of one task or of all: each gets its own answer below
                pass
        return [self._run_alone(signature, task, outputs) for task in tasks]

    def _run_alone(self, signature: str, task: Tensors, outputs: Sequence[str] | None) -> Any:
        try:
            return self._model.run(signature, task, outputs)
        except Exception as error:  # it is raised where the call waits
            return error

    def _run_together(self, signature: str, tasks: list[Tensors], outputs: Sequence[str] | None) -> list[Any]:
        counts = [_rows_of(task) or 0 for task in tasks]
        rows = sum(counts)
        size = self._batches.parameters.padded(rows)
        joined = {name: _join([task[name] for task in tasks], size - rows) for name in tasks[0]}
        answers = self._model.run(signature, joined, outputs)
        if any(answer.ndim == 0 or len(answer) != size for answer in answers.values()):
            self._alone.add(signature)  # an output lacks the batch's axis
            raise RequestError("an output has no rows")
        ends = np.cumsum(counts).tolist()
        return [
            {name: answer[end - count : end] for name, answer in answers.items()}
            for count, end in zip(counts, ends, strict=True)
        ]


def _may_batch(signature: Signature) -> bool:
    """Whether every tensor has a first axis of any size, as far as the signature tells."""
    shapes = [spec.shape for side in (signature.inputs, signature.outputs) for spec in side.values()]
    return bool(signature.inputs) and all(shape is None or (len(shape) > 0 and shape[0] is None) for shape in shapes)


def _rows_of(inputs: Tensors) -> int | None:
    """Rows of all tensors; None where they differ or have none."""
    counts = {len(tensor) if tensor.ndim else None for tensor in inputs.values()}
    return counts.pop() if len(counts) == 1 else None


def _join(tensors: list[Tensor], missing: int) -> Tensor:
    """One tensor of all rows, and `missing` more like the last one; other axes are filled up to their largest."""
    if len({tensor.shape[1:] for tensor in tensors}) > 1:
        inner = np.max([tensor.shape[1:] for tensor in tensors], axis=0)
        tensors = [_pad(tensor, inner.tolist()) for tensor in tensors]
    if missing:
        tensors = [*tensors, np.repeat(tensors[-1][-1:], missing, axis=0)]
    joined: Tensor = np.concatenate(tensors) if len(tensors) > 1 else tensors[0]
    return joined


def _pad(tensor: Tensor, inner: list[int]) -> Tensor:
    if tensor.size == 0:
        return np.zeros((len(tensor), *inner), tensor.dtype)
    padded: Tensor = np.full((len(tensor), *inner), tensor.flat[0], tensor.dtype)
    padded[tuple(slice(0, size) for size in tensor.shape)] = tensor
    return padded
