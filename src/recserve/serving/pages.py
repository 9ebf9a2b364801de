"""The routes beside ranking: health, readiness, version and the models' metadata, on Starlette."""

from __future__ import annotations

import platform
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, Final

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from recserve.errors import NotFoundError, RecserveError
from recserve.serving.refusals import MethodNotAllowedError
from recserve.serving.registry import ModelState, Registry
from recserve.serving.status import NOT_READY, OK, as_recserve_error, error_body, headers_of, status_of
from recserve.serving.tfs.pages import version_states

Readiness = Callable[[], bool]
"""Whether the process takes requests: every model is loaded, and it does not drain."""

_ROUTES: Final = (
    "/v1/models, /v1/models/{name}, /v1/models/{name}/versions/{version}, POST /v1/models/{name}:rank, "
    "/healthz, /readyz, /version"
)


def build_pages(registry: Registry, readiness: Readiness) -> Starlette:
    """The application of all routes but the rank route."""
    pages = _Pages(registry, readiness)
    return Starlette(
        routes=[
            Route("/healthz", pages.health),
            Route("/readyz", pages.ready),
            Route("/version", pages.version),
            Route("/v1/models", pages.models),
            Route("/v1/models/{name}", pages.model),
            Route("/v1/models/{name}/versions/{version:int}", pages.model),
        ],
        exception_handlers={HTTPException: _refuse_route, RecserveError: _answer_error, Exception: _answer_error},
    )


class _Pages:
    """Endpoints. Those that only read memory are coroutines; the one that asks a ranker runs on a thread."""

    def __init__(self, registry: Registry, readiness: Readiness) -> None:
        self._registry = registry
        self._readiness = readiness

    async def health(self, _: Request) -> Response:
        return _json({"status": "live"})

    async def ready(self, _: Request) -> Response:
        ready = self._readiness()
        models = [state.as_json() for state in _present(self._registry)]
        document = {"status": "ready" if ready else "not ready", "models": models, "loading": self._registry.loading()}
        return _json(document, OK if ready else NOT_READY)

    async def version(self, _: Request) -> Response:
        return _json({"recserve": version("recserve"), "python": platform.python_version()})

    async def models(self, _: Request) -> Response:
        models = [state.as_json() for state in _present(self._registry)]
        return _json({"models": models, "loading": self._registry.loading()})

    def model(self, request: Request) -> Response:
        name = request.path_params["name"]
        with self._registry.lease(name, request.path_params.get("version")) as ranker:
            document: dict[str, Any] = {"name": ranker.name, "version": ranker.version}
            document["versions"] = [
                {"version": state.version, "state": state.as_json()["state"]}
                for state in _present(self._registry, name)
            ]
            document["ready"] = True
            document["model_version_status"] = version_states(self._registry, name, None)
            document["describe"] = ranker.describe()
        return _json(document)


def _present(registry: Registry, name: str | None = None) -> list[ModelState]:
    """The versions that take requests or drain; loading ones are listed by their directories."""
    return [state for state in registry.states(name) if state.state in ("AVAILABLE", "UNLOADING")]


def _json(document: Any, status: int = OK) -> Response:
    content = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(content, status, media_type="application/json")


def _refuse_route(request: Request, error: Exception) -> Response:
    """Starlette's own refusals, in our form."""
    path = request.url.path
    allowed = (getattr(error, "headers", None) or {}).get("Allow")
    if allowed:
        return _answer_error(
            request, MethodNotAllowedError(f"{request.method} is not for this route", allowed=allowed, where=path)
        )
    return _answer_error(
        request, NotFoundError("no such route", code="route_not_found", where=path, hint=f"Routes: {_ROUTES}.")
    )


def _answer_error(_: Request, caught: Exception) -> Response:
    error = as_recserve_error(caught)
    headers = {name.decode(): value.decode() for name, value in headers_of(error)}
    return Response(error_body(error), status_of(error), headers, media_type="application/json")
