"""Which model a TensorFlow Serving request means, and errors in TensorFlow Serving's words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from grpc import StatusCode

from recserve.errors import RecserveError
from recserve.serving.grpc.failures import RefusedError
from recserve.serving.inference import tensor_model
from recserve.serving.refusals import (
    InputNamesError,
    LabelNotFoundError,
    ModelNotFoundError,
    OutputNamesError,
    SignatureNotFoundError,
)
from recserve.serving.registry import Registry
from recserve.serving.tfs.errors import to_wire
from recserve.signatures import DEFAULT_SIGNATURE, TensorModel
from recserve.wire.pool import Message


def tfs_words(error: RecserveError) -> tuple[StatusCode, str] | None:
    """Codes and texts of TensorFlow Serving, where they differ from recserve's own."""
    match error:
        case SignatureNotFoundError():
            return StatusCode.FAILED_PRECONDITION, f'Serving signature key "{error.signature}" not found.'
        case OutputNamesError():
            return StatusCode.INVALID_ARGUMENT, _output_names(error)
        case ModelNotFoundError() | LabelNotFoundError() | InputNamesError():
            wire = to_wire(error)  # the texts are those of REST
            return StatusCode[wire.code], wire.message
    return None


def _output_names(error: OutputNamesError) -> str:
    if error.is_repeated:
        return f"duplicate output tensor alias: {error.output}"
    known = ",".join(sorted(error.known))
    return f"output tensor alias not found in signature: {error.output} Outputs expected to be in the set {{{known}}}."


def spec_of(request: Message) -> Message:
    """The model spec of a request.

    Raises:
        RefusedError: it has none.
    """
    if not request.HasField("model_spec"):
        raise RefusedError("Missing ModelSpec")
    return request.model_spec


@contextmanager
def leased(registry: Registry, spec: Message) -> Iterator[TensorModel]:
    """The model that a spec names, which stays open inside the `with` block.

    Raises:
        RefusedError: the spec has no name.
        ModelNotFoundError, LabelNotFoundError, OverloadedError, WrongKindError: as `Registry.lease` and `tensor_model`.
    """
    if not spec.name:
        raise RefusedError("ModelSpec has no name specified.")
    choice = spec.WhichOneof("version_choice")
    version = spec.version.value if choice == "version" else None
    label = spec.version_label if choice == "version_label" else None
    with registry.lease(spec.name, version, label) as served:
        yield tensor_model(served)


def resolve(spec: Message, model: TensorModel, signature: str | None, into: Message) -> None:
    """Write what exactly answers into the spec of a response.

    Args:
        spec: of the request.
        model: that answers.
        signature: of the call; None where it has none.
        into: the spec of the response.
    """
    into.name = spec.name
    into.version.value = model.version
    if signature is not None:
        into.signature_name = signature or DEFAULT_SIGNATURE
