"""Paths and verbs of TensorFlow Serving's REST interface."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, Literal, NamedTuple
from urllib.parse import unquote

from recserve.serving.tfs.errors import WireError

Verb = Literal["predict", "classify", "regress", "status", "metadata"]

_WHICH: Final = r"(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_POST: Final = re.compile(rf"(?i:/v1/models)/(?P<name>[^/:]+)(?i:{_WHICH}):(?P<verb>(?i:classify|regress|predict))")
_GET: Final = re.compile(rf"(?i:/v1/models)(?:/(?P<name>[^/:]+))?(?i:{_WHICH})(?:/(?P<verb>(?i:metadata)))?")
_PREFIX: Final = re.compile(r"/v1/.*|/v1/models", re.IGNORECASE | re.DOTALL)
_VERBS: Final[dict[str, Verb]] = {
    "predict": "predict",
    "classify": "classify",
    "regress": "regress",
    "metadata": "metadata",
}
_MAX_VERSION: Final = (1 << 63) - 1


class Call(NamedTuple):
    """What a request asks of which model.

    Attributes:
        model: its name.
        version: None for the highest, or for that of the label.
        label: None for none.
        verb: what to do.
    """

    model: str
    version: int | None
    label: str | None
    verb: Verb


@lru_cache(maxsize=1024)
def parse_route(method: str, target: str) -> Call | WireError | None:
    """What a request line asks for.

    Args:
        method: `POST`, `GET` or another.
        target: path and query as they came, percent-encoded.

    Returns:
        The call; the error that answers the request; or None for a path that is not under `/v1/`.
    """
    if not _PREFIX.fullmatch(target):
        return None
    patterns = {"POST": _POST, "GET": _GET}
    match = patterns[method].fullmatch(target) if method in patterns else None
    if match is None or (method == "POST" and match["verb"] not in _VERBS):  # that verb has capitals
        return WireError(f"Malformed request: {method} {target}")
    version = int(match["version"]) if match["version"] else None
    if version is not None and version > _MAX_VERSION:
        return WireError(f"Failed to convert version: {match['version']} to numeric.")
    if match["name"] is None:
        return WireError("Missing model name in request.")
    verb: Verb = _VERBS.get(match["verb"] or "", "status")
    label = None if match["label"] is None else unquote(match["label"])
    return Call(unquote(match["name"]), version, label, verb)
