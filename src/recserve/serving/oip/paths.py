"""What a URL of the protocol asks for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from recserve.errors import RequestError

_MODEL: Final = re.compile(
    r"/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?"
    r"(?:/(?P<verb>infer|ready|stats|config|trace/setting))?"
)
_REPOSITORY: Final = re.compile(
    r"/v2/repository(?:/(?P<repository>[^/]+))?/(?:(?P<index>index)|models/(?P<model>[^/]+)/(?P<verb>load|unload))"
)
_MEMORY: Final = re.compile(r"/v2/(?:system|cuda)sharedmemory(?:/region/[^/]+)?/(?P<verb>status|register|unregister)")
_FIXED: Final = {
    "/v2": "server",
    "/v2/": "server",
    "/v2/health/live": "live",
    "/v2/health/ready": "ready",
    "/v2/models/stats": "stats",
    "/v2/trace/setting": "trace",
    "/v2/logging": "logging",
}
_VERBS: Final = {
    None: "model",
    "infer": "infer",
    "ready": "model_ready",
    "stats": "stats",
    "config": "config",
    "trace/setting": "trace",
}

METHODS: Final = {
    "infer": ("POST",),
    "index": ("POST",),
    "load": ("POST",),
    "unload": ("POST",),
    "trace": ("GET", "POST"),
    "logging": ("GET", "POST"),
    "memory_status": ("GET",),
    "memory_change": ("POST",),
}
"""Action → its HTTP methods; GET for those not listed."""


@dataclass(frozen=True)
class Target:
    """What is asked for.

    Attributes:
        action: `infer`, `model`, `live`, ...; a key of the application's table of answers.
        model: its name, or empty.
        version: as the URL has it, or empty.
    """

    action: str
    model: str = ""
    version: str = ""

    def version_number(self) -> int | None:
        """The version; None where the URL names none.

        Raises:
            RequestError: it is no number above 0.
        """
        if not self.version:
            return None
        problem = f"failed to get model version from specified version string '{self.version[:80]}'"
        if not re.fullmatch(r"-?[0-9]{1,19}", self.version, re.ASCII) or abs(int(self.version)) >= 1 << 63:
            raise RequestError(f"{problem} (details: not an integer), version should be an integral value > 0")
        if int(self.version) <= 0:
            raise RequestError(
                f"invalid model version specified '{self.version}', version should be an integral value > 0"
            )
        return int(self.version)


@lru_cache(maxsize=1024)
def parse_path(path: str) -> Target | None:
    """What a path asks for; None for one that the protocol does not have."""
    if path in _FIXED:
        return Target(_FIXED[path])
    if found := _MODEL.fullmatch(path):
        return Target(_VERBS[found["verb"]], found["model"], found["version"] or "")
    if found := _REPOSITORY.fullmatch(path):
        return Target(found["verb"] or "index", found["model"] or "")
    if found := _MEMORY.fullmatch(path):
        return Target("memory_status" if found["verb"] == "status" else "memory_change")
    return None
