"""The server and its models, described as the protocol and Triton's tools want it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version as package_version
from typing import Any, Final

from recserve.serving.oip.datatypes import config_type_of, datatype_of
from recserve.serving.oip.inference import default_signature
from recserve.serving.oip.shapes import is_batching, shape_list
from recserve.serving.registry import Registry
from recserve.signatures import TensorModel, TensorSpec

EXTENSIONS: Final = (
    "model_repository",
    "model_repository(unload_dependents)",
    "model_configuration",
    "binary_tensor_data",
    "parameters",
    "statistics",
)

MAX_BATCH_SIZE: Final = 1 << 20
"""What a model configuration tells of models that batch; the size of a body is the real limit."""


def describe_server() -> dict[str, Any]:
    """Name, version and extensions."""
    return {"name": "recserve", "version": package_version("recserve"), "extensions": list(EXTENSIONS)}


def describe_model(model: TensorModel, registry: Registry) -> dict[str, Any]:
    """Versions that are served, and the tensors of the version at hand."""
    signature = default_signature(model)
    versions = [str(row.version) for row in registry.states(model.name) if row.state == "AVAILABLE"]
    return {
        "name": model.name,
        "versions": versions,
        "platform": "recserve",
        "inputs": _tensors(signature.inputs),
        "outputs": _tensors(signature.outputs),
    }


def _tensors(specs: Mapping[str, TensorSpec]) -> list[dict[str, Any]]:
    return [
        {"name": spec.name, "datatype": datatype_of(spec.dtype), "shape": shape_list(spec)} for spec in specs.values()
    ]


def describe_config(model: TensorModel) -> dict[str, Any]:
    """Triton's model configuration, as far as it means something here; tools read batching and tensors from it."""
    signature = default_signature(model)
    batches = is_batching(signature)
    return {
        "name": model.name,
        "platform": "recserve",
        "backend": "recserve",
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": MAX_BATCH_SIZE if batches else 0,
        "input": [
            _config_tensor(spec, batches) | {"format": "FORMAT_NONE", "optional": spec.is_optional}
            for spec in signature.inputs.values()
        ],
        "output": [_config_tensor(spec, batches) for spec in signature.outputs.values()],
    }


def _config_tensor(spec: TensorSpec, batches: bool) -> dict[str, Any]:
    """A tensor without its batch axis; Triton has no empty `dims`, and reshapes one element instead."""
    dims = shape_list(spec)[1:] if batches else shape_list(spec)
    tensor: dict[str, Any] = {"name": spec.name, "data_type": config_type_of(spec.dtype), "dims": dims or [1]}
    return tensor if dims else tensor | {"reshape": {"shape": []}}
