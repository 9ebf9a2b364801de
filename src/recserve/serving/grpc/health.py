"""grpc.health.v1 under qualified and TensorFlow-style names, and reflection from the private pool."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Final

import grpc
from google.protobuf import descriptor_pool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from recserve.wire.pool import descriptor_set

HEALTH: Final = "grpc.health.v1.Health"
WATCH_INTERVAL_S: Final = 0.2
"""Seconds between two looks at the readiness for those who watch it."""


class HealthService(health_pb2_grpc.HealthServicer):  # type: ignore[misc] # grpc is untyped
    """Serving while the process takes requests; for every service at once, since they share the models.

    Args:
        services: full names; each is also known by its last part, as TensorFlow Serving has it.
        readiness: whether the process takes requests.
    """

    def __init__(self, services: Iterable[str], readiness: Callable[[], bool]) -> None:
        self._names = {"", *services} | {name.rsplit(".", 1)[-1] for name in services}
        self._readiness = readiness
        self._watchers = 0
        self._looking: asyncio.Task[None] | None = None
        self._is_ready = False
        """What those who watch were told last."""
        self._changed = asyncio.Event()

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        """The state now; NOT_FOUND for an unknown service."""
        if request.service not in self._names:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no service {request.service!r}")
        return health_pb2.HealthCheckResponse(status=self._state(request.service, self._readiness()))

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: ARG002, N802 - gRPC's name
        """The state now and at each change. All who watch share one look at it, so that many cost what one does."""
        if self._looking is None:
            self._is_ready = self._readiness()
            self._looking = asyncio.create_task(self._look())
        self._watchers += 1
        last = None
        try:
            while True:
                changed, state = self._changed, self._state(request.service, self._is_ready)
                if state != last:  # an unknown service stays one
                    yield health_pb2.HealthCheckResponse(status=state)
                    last = state
                await changed.wait()
        finally:
            self._watchers -= 1
            if self._watchers == 0 and self._looking is not None:
                self._looking.cancel()
                self._looking = None

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            if (is_ready := self._readiness()) != self._is_ready:
                self._is_ready = is_ready
                self._changed.set()
                self._changed = asyncio.Event()

    def _state(self, service: str, is_ready: bool) -> int:
        states = health_pb2.HealthCheckResponse
        if service not in self._names:
            return int(states.SERVICE_UNKNOWN)
        return int(states.SERVING if is_ready else states.NOT_SERVING)


def add_health_and_reflection(server: Any, services: Iterable[str], readiness: Callable[[], bool]) -> None:
    """Add both services to a gRPC server that answers `services`."""
    names = list(services)
    health_pb2_grpc.add_HealthServicer_to_server(HealthService(names, readiness), server)
    # The two services of gRPC itself are described in the process-wide pool; reflection looks into one pool only.
    described = descriptor_pool.DescriptorPool()
    own = (health_pb2.DESCRIPTOR.serialized_pb, reflection_pb2.DESCRIPTOR.serialized_pb)
    for content in (*descriptor_set(), *own):
        described.AddSerializedFile(content)
    reflection.enable_server_reflection([*names, HEALTH, reflection.SERVICE_NAME], server, pool=described)
