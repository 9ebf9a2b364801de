"""The routes to look at rollouts and to change them. They have a port of their own, which stays inside.

GET    /rollouts                        every rollout
GET    /rollouts/{model}                one, with what was seen of its versions
PUT    /rollouts/{model}                set it; the body is the rollout
POST   /rollouts/{model}/promote        make the canary the stable version
POST   /rollouts/{model}/roll_back      give all users the stable version
DELETE /rollouts/{model}                end it: the highest version answers
GET    /versions                        every version and its state
"""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from recserve.errors import ConfigError, RecserveError
from recserve.serving.dialects import App, Serving
from recserve.serving.status import OK, as_recserve_error, error_body, headers_of, status_of
from recserve.serving.traffic.rollout import read_rollout
from recserve.serving.traffic.rollouts import Rollouts

CONFLICT = 409
_MAX_BODY_BYTES = 1 << 20


def build_admin(serving: Serving) -> App:
    """The application of the dialect `admin`.

    Raises:
        ConfigError: the process has no rollouts.
    """
    if serving.rollouts is None:
        raise ConfigError("this process has no rollouts", where="--dialect admin")
    routes = _Routes(serving, serving.rollouts)
    app: Any = Starlette(
        routes=[
            Route("/rollouts", routes.every),
            Route("/rollouts/{name}", routes.one, methods=["GET", "PUT", "DELETE"]),
            Route("/rollouts/{name}/{verb}", routes.end, methods=["POST"]),
            Route("/versions", routes.versions),
        ],
        exception_handlers={RecserveError: _answer_error, Exception: _answer_error},
    )
    return app  # type: ignore[no-any-return] # Starlette is an ASGI application


class _Routes:
    """Endpoints. A change may wait for versions to load, so that it runs on a thread."""

    def __init__(self, serving: Serving, rollouts: Rollouts) -> None:
        self._registry = serving.registry
        self._rollouts = rollouts

    async def every(self, _: Request) -> Response:
        return _json({name: self._rollouts.describe(name) for name in self._rollouts.names()})

    async def one(self, request: Request) -> Response:
        name = request.path_params["name"]
        if request.method == "PUT":
            body = b""
            async for part in request.stream():
                body += part
                if len(body) > _MAX_BODY_BYTES:
                    raise ConfigError("the body is too long", where=request.url.path)
            try:
                document = orjson.loads(body)
            except orjson.JSONDecodeError as error:
                raise ConfigError(f"the body is no JSON: {error}", where=request.url.path) from None
            rollout = read_rollout(document, f"rollout of model {name!r}")
            await asyncio.to_thread(self._rollouts.set, name, rollout)
        elif request.method == "DELETE":
            await asyncio.to_thread(self._rollouts.clear, name)
            return _json({})
        return _json(self._rollouts.describe(name))

    async def end(self, request: Request) -> Response:
        name, verb = request.path_params["name"], request.path_params["verb"]
        actions = {"promote": self._rollouts.promote, "roll_back": self._rollouts.roll_back}
        if verb not in actions:
            raise HTTPException(404)
        await asyncio.to_thread(actions[verb], name)
        return _json(self._rollouts.describe(name))

    async def versions(self, _: Request) -> Response:
        states = self._registry.states()
        rows = [s.as_json() | {"error": None if s.error is None else str(s.error)} for s in states]
        labels = {name: self._registry.labels(name) for name in self._registry.names()}
        return _json({"versions": rows, "labels": labels})


def _json(document: Any, status: int = OK) -> Response:
    return Response(orjson.dumps(document), status, media_type="application/json")


def _answer_error(_: Request, caught: Exception) -> Response:
    error = as_recserve_error(caught)
    status = status_of(error)
    if isinstance(error, ConfigError):  # of the caller here, not of who started the server
        status = CONFLICT if error.code in ("version_not_served", "no_canary") else 400
    headers = {name.decode(): value.decode() for name, value in headers_of(error)}
    return Response(error_body(error), status, headers, media_type="application/json")
