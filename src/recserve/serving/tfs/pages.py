"""Status and metadata of a model, as TensorFlow Serving gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from recserve.errors import RecserveError
from recserve.serving.inference import tensor_model
from recserve.serving.registry import ModelState, Registry
from recserve.serving.tfs.errors import WireError, to_wire
from recserve.serving.tfs.routes import Call
from recserve.signatures import Signature, TensorSpec

DTYPE_ENUMS: Final = {
    "float32": "DT_FLOAT",
    "float64": "DT_DOUBLE",
    "float16": "DT_HALF",
    "bfloat16": "DT_BFLOAT16",
    "bool": "DT_BOOL",
    "string": "DT_STRING",
    "complex64": "DT_COMPLEX64",
    "complex128": "DT_COMPLEX128",
    **{f"{sign}int{bits}": f"DT_{sign.upper()}INT{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
"""Dtype of `recserve.signatures` → name of TensorFlow's enumeration."""


def model_status(registry: Registry, name: str, version: int | None) -> bytes:
    """`{"model_version_status": [...]}`, highest version first; labels make no difference here.

    Raises:
        WireError: nothing is known of the model or version.
    """
    return orjson.dumps({"model_version_status": version_states(registry, name, version)}, option=orjson.OPT_INDENT_2)


def version_states(registry: Registry, name: str, version: int | None) -> list[dict[str, Any]]:
    """The states of a model's versions, or of one, as JSON.

    Raises:
        WireError: nothing is known of the model or version.
    """
    states = [state for state in registry.states(name) if version is None or state.version == version]
    if not states:
        what = "any versions" if version is None else f"version {version}"
        raise WireError(f"Could not find {what} of model {name}", "NOT_FOUND")
    return [
        {"version": str(state.version), "state": state.state, "status": _status(state)} for state in reversed(states)
    ]


def _status(state: ModelState) -> dict[str, str]:
    error: RecserveError | None = state.error
    if error is None:
        return {"error_code": "OK", "error_message": ""}
    return {"error_code": to_wire(error).code, "error_message": str(error)}


def model_metadata(registry: Registry, call: Call) -> bytes:
    """`{"model_spec": ..., "metadata": {"signature_def": ...}}` of the version that would answer.

    Raises:
        ModelNotFoundError, LabelNotFoundError, OverloadedError: as `Registry.lease`.
        WrongKindError: the model takes no tensors.
    """
    with registry.lease(call.model, call.version, call.label) as leased:
        model = tensor_model(leased)
        document = {
            "model_spec": {"name": model.name, "signature_name": "", "version": str(model.version)},
            "metadata": {"signature_def": {"signature_def": signature_defs(model.signatures)}},
        }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2)


def signature_defs(signatures: Mapping[str, Signature]) -> dict[str, Any]:
    """Signature name → its definition, as JSON of the message `SignatureDef`."""
    return {
        name: {
            "inputs": {key: _tensor_info(spec) for key, spec in signature.inputs.items()},
            "outputs": {key: _tensor_info(spec) for key, spec in signature.outputs.items()},
            "method_name": f"tensorflow/serving/{signature.method}",
            "defaults": {},
        }
        for name, signature in signatures.items()
    }


def _tensor_info(spec: TensorSpec) -> dict[str, Any]:
    tensor = spec.tensor_name or spec.name
    sizes = [{"size": str(-1 if size is None else size), "name": ""} for size in spec.shape or ()]
    return {
        "dtype": DTYPE_ENUMS[spec.dtype],
        "tensor_shape": {"dim": sizes, "unknown_rank": spec.shape is None},
        "name": tensor if ":" in tensor else f"{tensor}:0",
    }
