"""A scored model behind the protocols: named tensors in, named tensors out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from recserve.errors import RequestError
from recserve.importers.model import assemble
from recserve.scored_model.stored import StoredModel
from recserve.scored_model.tensors import input_specs, output_specs, texts_tensor, to_columns, to_tensor
from recserve.scoring.split import can_fail
from recserve.signatures import DEFAULT_SIGNATURE, Signature, Tensor

ERROR_OUTPUTS: Final = ("error", "recserve_error")


class ScoredModel:
    """A version of a scored model; a `recserve.signatures.TensorModel`. Threads may call `run` at once.

    Where rows of the model can fail (PMML: an invalid value in a field that says so), there is one more output,
    `error`: why the row has no answer, or the empty text. The outputs of such a row are missing; the other rows are
    scored.

    Args:
        stored: what its directory holds.
        name: of the model, where that is not the directory's.
    """

    def __init__(self, stored: StoredModel, name: str | None = None) -> None:
        self.directory: Final[Path] = stored.directory
        self.version_labels: tuple[str, ...] = ()
        self.stored: Final = stored
        self._model = stored.model
        self._name, self._version = name or stored.manifest.name, stored.manifest.version
        graph = self._model.program.graph
        fails = can_fail(graph)
        names = {output.name for output in self._model.specs}
        is_safe = not any(fails[number] for number in (*graph.outputs.values(), *graph.guards))
        self._error = None if is_safe else next(name for name in _error_names() if name not in names)
        self._signature = Signature(
            DEFAULT_SIGNATURE, input_specs(self._model.inputs), output_specs(self._model.specs, self._error)
        )
        self._keeps_empty = "" in self._model.program.compiled.texts.known

    @property
    def name(self) -> str:
        """Name of the model, as the URL has it."""
        return self._name

    @property
    def version(self) -> int:
        """Version of the model."""
        return self._version

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """The only one, `serving_default`."""
        return {DEFAULT_SIGNATURE: self._signature}

    def warm(self) -> None:
        """Score a row, so that no request meets a kernel for the first time."""
        self._model.program.warm()
        self._model.program.run({}, rows=1)

    def run(
        self, signature: str, inputs: Mapping[str, Tensor], outputs: Sequence[str] | None = None
    ) -> dict[str, Tensor]:
        """Score rows.

        Args:
            signature: `serving_default`.
            inputs: tensor [rows] or [rows, 1] by input name, of the declared dtype; strings are objects of `bytes`.
            outputs: the names to give; None for all, in the model's order.

        Raises:
            RequestError: no input, other shapes, unequal lengths, or bytes that are no UTF-8.
        """
        if signature != DEFAULT_SIGNATURE:
            raise RequestError(f"there is no signature {signature!r}", hint=f"There is {DEFAULT_SIGNATURE!r}")
        columns, rows = to_columns(inputs, keeps_empty=self._keeps_empty)
        scores = self._model.program.run(columns, rows=rows)
        given: dict[str, Tensor] = {}
        for spec in self._model.specs:
            if outputs is None or spec.name in outputs:
                given[spec.name] = to_tensor(spec, assemble(spec, scores.outputs))
        if self._error is not None and (outputs is None or self._error in outputs):
            given[self._error] = (
                texts_tensor([scores.errors.get(row) for row in range(rows)])
                if scores.errors
                else (np.full(rows, b"", object))
            )
        return given if outputs is None else {name: given[name] for name in outputs}

    def describe(self) -> dict[str, Any]:
        """Inputs, outputs and what the importer read, as plain JSON."""
        manifest = self.stored.manifest
        return {
            "name": self.name,
            "version": self.version,
            "inputs": manifest.inputs,
            "outputs": {
                spec.name: {"dtype": spec.dtype, "shape": spec.shape} for spec in self._signature.outputs.values()
            },
            "report": manifest.report,
            "recserve_version": manifest.recserve_version,
        }

    def close(self) -> None:
        """Nothing is held that the last reference would not give back."""


def _error_names() -> Any:
    yield from ERROR_OUTPUTS
    name = ERROR_OUTPUTS[-1]
    while True:
        name += "_"
        yield name
