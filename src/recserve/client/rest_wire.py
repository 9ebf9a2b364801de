"""Calls over HTTP: TensorFlow Serving's JSON, Open Inference and ranking."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

import numpy as np

from recserve.client.calls import Answer, Call, Target
from recserve.client.failures import not_understood
from recserve.client.rest_inference import read_infer, write_infer
from recserve.client.rest_tensors import read_json, to_array, write_json
from recserve.client.results import Array, Prediction, Ranking, VersionStatus, VersionTuple
from recserve.signatures import Method, Signature, TensorSpec
from recserve.wire.tensor_proto import BY_NAME, CODE_NAMES

T = TypeVar("T")
_DTYPES = {CODE_NAMES[kind.code]: name for name, kind in BY_NAME.items()}
_JSON = {"Content-Type": "application/json"}


class RestWire:
    """Makes calls over HTTP."""

    def predict(
        self, target: Target, inputs: Mapping[str, Array], signature: str, outputs: Sequence[str]
    ) -> Call[Prediction]:
        """Predict in column form. The JSON cannot choose outputs: they are chosen from the answer."""
        document = {"inputs": dict(inputs)} | ({"signature_name": signature} if signature else {})

        def read(document: Any) -> Prediction:
            value = document["outputs"]
            is_named = isinstance(value, dict) and set(value) != {"b64"}
            named = value if is_named else {outputs[0] if len(outputs) == 1 else "outputs": value}
            chosen = outputs or list(named)
            return Prediction({name: to_array(named[name]) for name in chosen}, target.model, target.version)

        return _post(f"{_model_path(target)}:predict", document, read)

    def classify(
        self, target: Target, examples: Sequence[Mapping[str, Any]], signature: str, context: Mapping[str, Any] | None
    ) -> Call[list[list[tuple[str, float]]]]:
        """Classify examples."""
        document = _examples(examples, signature, context)
        return _post(
            f"{_model_path(target)}:classify",
            document,
            lambda answer: [[(str(label), float(score)) for label, score in row] for row in answer["results"]],
        )

    def regress(
        self, target: Target, examples: Sequence[Mapping[str, Any]], signature: str, context: Mapping[str, Any] | None
    ) -> Call[Array]:
        """Regress examples."""
        document = _examples(examples, signature, context)
        return _post(f"{_model_path(target)}:regress", document, lambda answer: np.array(answer["results"], np.float32))

    def status(self, target: Target) -> Call[list[VersionStatus]]:
        """The states of versions."""

        def read(document: Any) -> list[VersionStatus]:
            return [
                VersionStatus(
                    int(row["version"]),
                    row["state"],
                    row.get("status", {}).get("error_code", "OK"),
                    row.get("status", {}).get("error_message", ""),
                )
                for row in document["model_version_status"]
                # recserve's own page lists all of them whichever is asked for
                if target.version in {None, int(row["version"])}
            ]

        return _get(_model_path(target), read)

    def signatures(self, target: Target) -> Call[dict[str, Signature]]:
        """The signatures of a version."""

        def read(document: Any) -> dict[str, Signature]:
            definitions = document["metadata"]["signature_def"]["signature_def"]
            return {name: _signature(name, definition) for name, definition in definitions.items()}

        return _get(f"{_model_path(target)}/metadata", read)

    def infer(self, target: Target, inputs: Mapping[str, Array], outputs: Sequence[str]) -> Call[Prediction]:
        """Infer, binary in both directions."""
        body, headers = write_infer(inputs, outputs)
        version = "" if target.version is None else f"/versions/{target.version}"
        return Call(f"/v2/models/{quote(target.model, safe='')}{version}/infer", body, read_infer, headers=headers)

    def is_ready(self, model: str) -> Call[bool]:
        """Readiness; only the status tells."""
        path = f"/v2/models/{quote(model, safe='')}/ready" if model else "/v2/health/ready"
        return Call(path, b"", lambda _: True, method="GET")

    def rank(self, target: Target, request: Mapping[str, Any]) -> Call[Ranking]:
        """Rank; columns of candidates go as columns."""
        if target.label is not None:  # only the route of several models knows labels
            several = self.rank_by_each([target], request)
            return Call(several.path, several.body, lambda answer: several.read(answer)[0], headers=several.headers)
        chosen = request.get("outputs") or ()
        return _post(f"{_model_path(target)}:rank", _rank_document(request), lambda answer: _ranking(answer, chosen))

    def rank_by_each(self, targets: Sequence[Target], request: Mapping[str, Any]) -> Call[list[Ranking]]:
        """Rank by several models."""
        models = [
            {"name": target.model}
            | ({} if target.version is None else {"version": target.version})
            | ({} if target.label is None else {"label": target.label})
            for target in targets
        ]
        chosen = request.get("outputs") or ()
        return _post(
            "/v1/models:rank",
            _rank_document(request) | {"models": models},
            lambda answer: [_ranking(one, chosen) for one in answer["answers"]],
        )


def _rank_document(request: Mapping[str, Any]) -> dict[str, Any]:
    ids, columns = request["item_ids"], request.get("columns")
    document: dict[str, Any] = {"candidates": {"item_id": ids, **columns} if columns else ids}
    document |= {key: request[key] for key in ("user", "context", "items", "request_id") if request.get(key)}
    document |= {key: request[key] for key in ("top_k", "user_id") if request.get(key) is not None}
    return document | {key: True for key in ("timings", "explain") if request.get(key)}


def _post(path: str, document: Any, read: Callable[[Any], T]) -> Call[T]:
    return Call(path, write_json(document), _reader(path, read), headers=_JSON)


def _get(path: str, read: Callable[[Any], T]) -> Call[T]:
    return Call(path, b"", _reader(path, read), method="GET")


def _reader(path: str, read: Callable[[Any], T]) -> Callable[[Answer], T]:
    def checked(answer: Answer) -> T:
        document = read_json(answer.body, path)
        try:
            return read(document)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            problem = f"the answer is not understood: {type(error).__name__}: {error}"
            raise not_understood(path, problem) from None

    return checked


def _model_path(target: Target) -> str:
    path = f"/v1/models/{quote(target.model, safe='')}"
    if target.version is not None:
        return f"{path}/versions/{target.version}"
    return path if target.label is None else f"{path}/labels/{quote(target.label, safe='')}"


def _examples(
    examples: Sequence[Mapping[str, Any]], signature: str, context: Mapping[str, Any] | None
) -> dict[str, Any]:
    document: dict[str, Any] = {"examples": list(examples)}
    if signature:
        document["signature_name"] = signature
    return document if context is None else {**document, "context": context}


def _signature(name: str, definition: Mapping[str, Any]) -> Signature:
    method: Method = definition["method_name"].rsplit("/", 1)[-1]
    return Signature(name, _specs(definition["inputs"]), _specs(definition["outputs"]), method)


def _specs(infos: Mapping[str, Any]) -> dict[str, TensorSpec]:
    found = {}
    for name, info in infos.items():
        shape = info["tensor_shape"]
        sizes = tuple(None if int(dim["size"]) < 0 else int(dim["size"]) for dim in shape.get("dim", ()))
        found[name] = TensorSpec(
            name, _DTYPES[info["dtype"]], None if shape.get("unknown_rank") else sizes, info.get("name", "")
        )
    return found


def _ranking(document: Any, chosen: Sequence[str]) -> Ranking:
    outputs = {name: _floats(values) for name, values in document["outputs"].items()}
    model = document["model"]
    return Ranking(
        item_ids=document["item_ids"],
        scores=_floats(document["scores"]),
        outputs={name: outputs[name] for name in chosen} if chosen else outputs,
        version=VersionTuple(model["name"], model["version"], model["table_epoch"], model["item_epoch"]),
        request_id=document["request_id"],
        unknown_items=document["unknown_items"],
        missing_columns=document["missing_columns"],
        timings_us=document.get("timings_us", {}),
        is_user_found=document.get("user_found"),
        explanations=[(told["item_id"], told["lines"]) for told in document.get("explanations", ())],
    )


def _floats(values: Sequence[float | None]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """float32 of numbers; null, which JSON has for what is not finite, is NaN."""
    return np.array(values, np.float32)
