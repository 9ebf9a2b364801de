"""The routes of kept users: put, read and forget one, or put many at once."""

from __future__ import annotations

import logging
from typing import Any, Final
from urllib.parse import unquote

import orjson

from recserve.errors import NotFoundError, RecserveError, RequestError
from recserve.serving.body import Receive, Scope, Send, read_body
from recserve.serving.candidates import json_type
from recserve.serving.dialects import Serving
from recserve.serving.http_answer import HttpAnswer, json_answer, send_answer
from recserve.serving.messages import decode_json
from recserve.serving.refusals import MethodNotAllowedError
from recserve.serving.status import error_body, headers_of, logged_error, status_of
from recserve.serving.users import UserStore, no_users

USERS: Final = "/v1/users"
_UPSERT: Final = f"{USERS}:upsert"
_log: Final = logging.getLogger("recserve.serving")


class UserPages:
    """`/v1/users/{id}` and `/v1/users:upsert`, as an ASGI 3 application. Ids here are texts.

    Args:
        serving: what every dialect shares; its service knows the users.
    """

    def __init__(self, serving: Serving) -> None:
        self._serving = serving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            answer = await self._answer(scope, receive)
        except Exception as caught:
            answer = _refuse(logged_error(caught, _log, "A request to %s failed", scope["path"]))
        if answer is not None:
            await send_answer(send, answer)

    async def _answer(self, scope: Scope, receive: Receive) -> HttpAnswer | None:
        path = scope["raw_path"].decode("latin-1")
        method: str = scope["method"]
        users = self._serving.service.users
        user_id = unquote(path.removeprefix(f"{USERS}/"))
        if path != _UPSERT and (not path.startswith(f"{USERS}/") or not user_id):
            hint = f"Routes: {USERS}/{{id}}, POST {_UPSERT}."
            raise NotFoundError("no such route", code="route_not_found", where=path, hint=hint)
        allowed = ("POST",) if path == _UPSERT else ("GET", "PUT", "DELETE")
        if method not in allowed:
            raise MethodNotAllowedError(f"{method} is not for this route", allowed=", ".join(allowed), where=path)
        if users is None:
            raise no_users()
        kept = users
        body = await read_body(scope, receive, self._serving.limits)
        if body is None:
            return None
        content = body
        if method == "POST":
            return await self._serving.threads.run(lambda: _upsert(kept, content))
        return await self._serving.threads.run(lambda: _one(kept, method, user_id, content))


def _upsert(users: UserStore, body: bytes) -> HttpAnswer:
    document = decode_json(body)
    found = document.get("users") if isinstance(document, dict) else None
    if not isinstance(found, dict) or len(document) != 1:
        raise RequestError("expected an object with 'users'", where="$", hint='Give {"users": {"id": {...}}}.')
    users.upsert({user_id: _columns(columns, f"$.users[{user_id!r}]") for user_id, columns in found.items()})
    return json_answer({"upserted": len(found)})


def _one(users: UserStore, method: str, user_id: str, body: bytes) -> HttpAnswer:
    if method == "PUT":
        users.upsert({user_id: _columns(decode_json(body), "$")})
        return json_answer({"upserted": 1})
    if method == "DELETE":
        return json_answer({"deleted": int(users.delete(user_id))})
    columns = users.get(user_id)
    if columns is None:
        raise NotFoundError(f"there is no user {user_id[:80]!r}", code="user_not_found")
    return HttpAnswer(200, orjson.dumps(columns))


def _columns(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RequestError(f"expected an object, got {json_type(value)}", where=where, hint='Give {"column": value}.')
    return value


def _refuse(error: RecserveError) -> HttpAnswer:
    headers = tuple((name.decode(), value.decode()) for name, value in headers_of(error))
    return HttpAnswer(status_of(error), error_body(error), headers=headers)
