"""The answer to a call: body in, body out. It runs on a rank thread."""

from __future__ import annotations

from typing import Final

from recserve.serving.dialects import Serving
from recserve.serving.examples import classifications, examples_to_inputs, regressions
from recserve.serving.inference import find_signature, run_signature, tensor_model
from recserve.serving.tfs.documents import Document, LiftedDocument, read_document, read_lifted
from recserve.serving.tfs.errors import WireError
from recserve.serving.tfs.examples_in import read_examples
from recserve.serving.tfs.pages import model_metadata, model_status
from recserve.serving.tfs.routes import Call
from recserve.serving.tfs.tensors_in import read_inputs, take_inputs
from recserve.serving.tfs.tensors_out import write_classifications, write_columns, write_regressions, write_rows
from recserve.serving.tfs.values import show
from recserve.signatures import Signature, Tensor

_WORDS: Final = {"classify": "classification", "regress": "regression"}


def answer(serving: Serving, call: Call, body: bytes) -> bytes:
    """The JSON of the answer.

    Raises:
        WireError, RecserveError: the request cannot be answered; `errors.error_answer` words it.
    """
    match call.verb:
        case "status":
            return model_status(serving.registry, call.model, call.version)
        case "metadata":
            return model_metadata(serving.registry, call)
        case "predict":
            return predict(serving, call, body)
    return _over_examples(serving, call, read_document(body))


def predict(serving: Serving, call: Call, body: bytes) -> bytes:
    """Answer a predict call on rows or columns."""
    document = read_lifted(body) or read_document(body)
    name = _signature_name(document)
    with serving.registry.lease(call.model, call.version, call.label) as leased:
        model = tensor_model(leased)
        signature = find_signature(model, name)
        if not signature.inputs:
            raise WireError(f"Failed to get input map for signature: {name or 'DEFAULT'}")
        inputs, are_rows = _inputs(document, body, signature)
        outputs = run_signature(model, signature, inputs)
    return write_rows(outputs) if are_rows else write_columns(outputs)


def _inputs(document: Document | LiftedDocument, body: bytes, signature: Signature) -> tuple[dict[str, Tensor], bool]:
    if isinstance(document, LiftedDocument):
        taken = take_inputs(document, signature.inputs)
        if taken is not None:
            return taken
        document = read_document(body)
    return read_inputs(document, signature.inputs)


def _over_examples(serving: Serving, call: Call, document: Document) -> bytes:
    name = _signature_name(document)
    examples = read_examples(document)
    with serving.registry.lease(call.model, call.version, call.label) as leased:
        model = tensor_model(leased)
        signature = find_signature(model, name)
        if signature.method != call.verb:
            raise WireError(
                f"Expected {_WORDS[call.verb]} signature method_name to be tensorflow/serving/{call.verb}. "
                f"Was: tensorflow/serving/{signature.method}"
            )
        outputs = run_signature(model, signature, examples_to_inputs(signature, examples))
    if call.verb == "regress":
        return write_regressions(regressions(signature, outputs, len(examples)))
    return write_classifications(*classifications(signature, outputs, len(examples)))


def _signature_name(document: Document | LiftedDocument) -> str:
    name = document.members.get("signature_name", "")
    if not isinstance(name, str):
        shown = show(document.members)
        raise WireError(f"JSON Value: {shown} not formatted correctly. 'signature_name' key must be a string value.")
    return name
