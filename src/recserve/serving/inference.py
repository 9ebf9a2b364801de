"""Tensors in, tensors out: what every protocol but ranking calls.

Checks names and dtypes against the signature with errors that carry the facts and know no protocol; each protocol words
them its own way. Shapes are the model's business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Final

import numpy as np

from recserve.serving import observation
from recserve.serving.refusals import (
    InputNamesError,
    InputTypeError,
    OutputNamesError,
    SignatureNotFoundError,
    WrongKindError,
)
from recserve.serving.registry import Registry
from recserve.signatures import DEFAULT_SIGNATURE, DTYPES, Signature, Tensor, TensorModel, numpy_dtype

_NUMPY_DTYPES: Final = {name: numpy_dtype(name) for name in DTYPES}
_NAMES: Final = {dtype: name for name, dtype in _NUMPY_DTYPES.items()}


@dataclass(frozen=True)
class Inference:
    """What a model answered.

    Attributes:
        model, version: what exactly answered.
        signature: the one that was called.
        outputs: tensor by output name, in the order asked for.
    """

    model: str
    version: int
    signature: Signature
    outputs: Mapping[str, Tensor]


def infer(
    registry: Registry,
    name: str,
    inputs: Mapping[str, Tensor],
    *,
    version: int | None = None,
    label: str | None = None,
    signature: str = "",
    outputs: Sequence[str] | None = None,
) -> Inference:
    """Call a signature of a served model.

    A protocol that must know the signature before it can read the inputs takes the lease itself and calls
    `tensor_model`, `find_signature` and `run_signature` one after the other.

    Args:
        registry: the served models.
        name: of the model.
        inputs: tensor by input name.
        version: which version; None for the highest, or for that of the label.
        label: which label, in place of a version.
        signature: its name; empty for `serving_default`.
        outputs: names of the outputs to compute; None or empty for all.

    Raises:
        ModelNotFoundError, LabelNotFoundError, OverloadedError: as `Registry.lease`.
        WrongKindError, SignatureNotFoundError, InputNamesError, InputTypeError, OutputNamesError: the call does not fit
            the model.
        RequestError: the model refuses the values or shapes.
    """
    with registry.lease(name, version, label) as served:
        model = tensor_model(served)
        found = find_signature(model, signature)
        return Inference(model.name, model.version, found, run_signature(model, found, inputs, outputs))


def tensor_model(served: object) -> TensorModel:
    """The leased model, if it takes tensors.

    Raises:
        WrongKindError: it ranks only.
    """
    if not hasattr(served, "signatures"):
        name = getattr(served, "name", "")
        raise WrongKindError(f"model {name!r} takes no tensors", hint=f"Ask it with /v1/models/{name}:rank.")
    model: TensorModel = served  # type: ignore[assignment] # it has signatures, so it is one
    return model


def find_signature(model: TensorModel, name: str = "") -> Signature:
    """The signature of that name; `serving_default` for the empty name. A model may answer to names it does not list.

    Raises:
        SignatureNotFoundError: there is none.
    """
    wanted = name or DEFAULT_SIGNATURE
    try:
        return model.signatures[wanted]
    except KeyError:
        known = list(model.signatures)
        raise SignatureNotFoundError(
            f"model {model.name!r} version {model.version} has no signature {wanted!r}",
            signature=wanted,
            known=known,
            hint=f"Signatures: {', '.join(map(repr, known))}.",
        ) from None


def run_signature(
    model: TensorModel, signature: Signature, inputs: Mapping[str, Tensor], outputs: Sequence[str] | None = None
) -> dict[str, Tensor]:
    """Check the inputs and run the model.

    Raises:
        InputNamesError, InputTypeError, OutputNamesError: the call does not fit the signature.
        RequestError: the model refuses the values or shapes.
    """
    check_inputs(signature, inputs)
    if outputs:
        check_outputs(signature, outputs)
    began_ns = perf_counter_ns()
    found = model.run(signature.name, inputs, outputs or None)
    observation.note_run(model.name, model.version, signature.name, began_ns)
    return found


def check_inputs(signature: Signature, inputs: Mapping[str, Tensor]) -> None:
    """Refuse unknown, missing or wrongly typed inputs.

    Raises:
        InputNamesError: a name is unknown, or one that is not optional is missing.
        InputTypeError: a tensor has another dtype.
    """
    specs = signature.inputs
    if inputs.keys() != specs.keys():
        missing = [name for name, spec in specs.items() if name not in inputs and not spec.is_optional]
        if missing or not inputs.keys() <= specs.keys():
            raise InputNamesError(sent=list(inputs), expected=list(specs), missing=missing)
    for name, tensor in inputs.items():
        if tensor.dtype != _NUMPY_DTYPES[specs[name].dtype]:
            raise InputTypeError(name=name, expected=specs[name].dtype, got=dtype_name(tensor.dtype))


def check_outputs(signature: Signature, outputs: Sequence[str]) -> None:
    """Refuse outputs that the signature lacks, or that are asked for twice.

    Raises:
        OutputNamesError: the first such name.
    """
    seen: set[str] = set()
    for name in outputs:
        if name not in signature.outputs or name in seen:
            raise OutputNamesError(output=name, known=list(signature.outputs), is_repeated=name in seen)
        seen.add(name)


def dtype_name(dtype: np.dtype[np.generic]) -> str:
    """Name of a tensor's dtype, as `recserve.signatures.DTYPES` has it; NumPy's own for another one."""
    return _NAMES.get(dtype) or str(dtype)
