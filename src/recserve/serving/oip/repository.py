"""The model repository extension: which models there are, and loading and unloading them by request."""

from __future__ import annotations

from typing import Any, Final

from recserve.errors import ConfigError, NotFoundError, RequestError
from recserve.serving.json_document import read_json
from recserve.serving.refusals import UnsupportedError
from recserve.serving.registry import Registry, State
from recserve.serving.repository import Repository

_STATES: Final[dict[State, str]] = {
    "START": "LOADING",
    "LOADING": "LOADING",
    "AVAILABLE": "READY",
    "UNLOADING": "UNLOADING",
    "END": "UNAVAILABLE",
}


def index_models(registry: Registry, repository: Repository, body: bytes) -> list[dict[str, str]]:
    """Every version that is or was served, and the bare names of models that never were.

    Args:
        registry: the served models.
        repository: the models that could be.
        body: empty, or `{"ready": bool}`; true lists what is ready only.

    Raises:
        RequestError: the body is something else.
    """
    document = _document(body)
    only_ready = document.get("ready", False)
    if not isinstance(only_ready, bool):
        raise RequestError("Invalid value for 'ready': expected a boolean")
    rows: list[dict[str, str]] = []
    for row in registry.states():
        state = _STATES[row.state]
        reason = "" if row.state != "END" else str(row.error or "unloaded")
        if state == "READY" or not only_ready:
            rows.append({"name": row.name, "version": str(row.version), "state": state, "reason": reason})
    listed = {row["name"] for row in rows}
    bare = [] if only_ready else [{"name": name} for name in sorted(repository.known()) if name not in listed]
    return rows + bare


def load_model(repository: Repository, name: str, body: bytes) -> None:
    """Load the highest version of a model; one that is loaded already is loaded anew.

    Raises:
        NotFoundError: there is no such model.
        RequestError: the body is wrong, or the model cannot be opened; what was served goes on being served.
        UnsupportedError: the request brings a configuration or files of its own.
    """
    for parameter, value in _parameters(body).items():
        if parameter != "config" and not parameter.startswith("file:"):
            raise RequestError(f"unexpected parameter '{parameter}' for loading model '{name}'")
        if not isinstance(value, str):
            raise RequestError(f"Unable to parse '{parameter}': attempt to access JSON non-string as string")
        raise UnsupportedError(
            f"loading model '{name}' with '{parameter}' is not supported",
            hint="Put the files into the model's directory.",
        )
    try:
        repository.load(name, replaces=True)
    except NotFoundError as error:
        raise NotFoundError(
            f"failed to load '{name}', failed to poll from model repository", code=error.code, hint=error.hint
        ) from None
    except ConfigError as error:
        raise RequestError(f"load failed for model '{name}': {error}", code=error.code) from None


def unload_model(registry: Registry, repository: Repository, name: str, body: bytes) -> None:
    """Serve no version of a model any longer; nothing happens where it is known and not served.

    Raises:
        NotFoundError: there is no such model.
        RequestError: the body is wrong.
    """
    dependents = _parameters(body).get("unload_dependents", False)
    if not isinstance(dependents, bool):
        raise RequestError("Unable to parse 'unload_dependents': attempt to access JSON non-boolean as boolean")
    if name in registry.names():
        repository.unload(name)
    elif name not in repository.known() and not registry.states(name):
        raise NotFoundError(f"failed to unload '{name}', it is not in the model repository")


def _parameters(body: bytes) -> dict[str, Any]:
    parameters = _document(body).get("parameters", {})
    if not isinstance(parameters, dict):
        raise RequestError("Unable to parse 'parameters': attempt to access JSON non-object as object")
    return parameters


def _document(body: bytes) -> dict[str, Any]:
    if not body.strip():
        return {}
    document = read_json(body)
    if not isinstance(document, dict):
        raise RequestError("attempt to access JSON non-object as object")
    return document
