"""The gRPC port: its event loop, in a thread of its own, and its start and stop."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterable
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import Any, Final

import grpc
import uvloop

from recserve.errors import ConfigError
from recserve.serving.dialects import Serving
from recserve.serving.grpc.endpoints import Endpoint, Endpoints
from recserve.serving.grpc.guard import GuardOfPages
from recserve.serving.grpc.health import add_health_and_reflection
from recserve.serving.grpc.oip_inference import InferenceService
from recserve.serving.grpc.oip_models import ModelsService
from recserve.serving.grpc.ranking import RankingService
from recserve.serving.grpc.tfs_models import ModelService, ReloadConfig
from recserve.serving.grpc.tfs_prediction import PredictionService
from recserve.serving.security.tls import grpc_credentials

_log: Final = logging.getLogger("recserve.serving")
_START_TIMEOUT_S: Final = 10.0
_CLOSING_S: Final = 5.0
"""Seconds beyond the grace for gRPC to end its connections."""

INT32_MAX: Final = 2**31 - 1


@dataclass(frozen=True)
class GrpcOptions:
    """How the gRPC port answers.

    Attributes:
        max_message_bytes: of a request and of an answer; 1 to 2^31 - 1.
        as_content: answer TensorFlow tensors as `tensor_content`; see `PredictionService`.
        reload_config: takes a new configuration; see `ModelService`.
        shares_port: whether other processes may listen on the same port.
    """

    max_message_bytes: int = 64 << 20
    as_content: bool = False
    reload_config: ReloadConfig | None = None
    shares_port: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.max_message_bytes <= INT32_MAX:
            raise ConfigError(f"max_message_bytes is {self.max_message_bytes}", hint=f"It is 1 to {INT32_MAX}.")


class GrpcServer:
    """A listening gRPC port that answers every service.

    The event loop runs in a thread of its own, so that neither HTTP nor the caller's thread waits for it; the work is
    done on the rank threads that HTTP uses too.

    Args:
        serving: what every dialect shares.
        host: address to listen on.
        port: 0 for a free one.
        options: how to answer.

    Raises:
        ConfigError: the address cannot be listened on.
    """

    def __init__(self, serving: Serving, host: str, port: int, options: GrpcOptions | None = None) -> None:
        self._options = options or GrpcOptions()
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="recserve-grpc", daemon=True)
        self._thread.start()
        starting = asyncio.run_coroutine_threadsafe(self._start(serving, host, port), self._loop)
        try:
            self._server, self._port = starting.result(_START_TIMEOUT_S)
        except BaseException:
            self._end_loop()
            raise

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._port

    def stop(self, grace_s: float) -> None:
        """Take no more requests, and end after the running ones or after `grace_s` seconds."""
        if not self._thread.is_alive():
            return
        stopping = asyncio.run_coroutine_threadsafe(self._server.stop(grace_s), self._loop)
        try:
            stopping.result(grace_s + _CLOSING_S)
        except FutureTimeoutError:
            _log.warning("gRPC did not end within %g s", grace_s + _CLOSING_S)
        self._end_loop()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(_cancel_all(self._loop))
            self._loop.close()

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CLOSING_S)

    async def _start(self, serving: Serving, host: str, port: int) -> tuple[Any, int]:
        options, oversight = self._options, serving.oversight
        serving.crew.watch(self._loop)
        server = grpc.aio.server(
            interceptors=[GuardOfPages(oversight)] if oversight is not None and oversight.is_guarded else [],
            options=[
                ("grpc.max_receive_message_length", options.max_message_bytes),
                ("grpc.max_send_message_length", options.max_message_bytes),
                ("grpc.so_reuseport", int(options.shares_port)),
                # A client may ask for a sign of life this often without being cut off.
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
                ("grpc.keepalive_permit_without_calls", 1),
                # Connections that never become ones, and those whose client is gone without a word.
                ("grpc.server_handshake_timeout_ms", round(serving.limits.head_timeout_s * 1000)),
                ("grpc.keepalive_time_ms", 60_000),
                ("grpc.keepalive_timeout_ms", 20_000),
                ("grpc.max_metadata_size", serving.limits.max_head_bytes),
            ],
        )
        endpoints = build_endpoints(serving, options)
        server.add_generic_rpc_handlers((Endpoints(endpoints, serving.threads, serving.oversight),))
        add_health_and_reflection(server, services_of(endpoints), serving.readiness)
        where = f"{f'[{host}]' if ':' in host else host}:{port}"
        if not 0 <= port <= 65535:
            raise ConfigError(f"port {port} is out of range", where=where, hint="Give 1 to 65535, or 0 for a free one.")
        try:
            files = None if oversight is None else oversight.options.grpc_tls or oversight.options.tls
            if files is None:
                bound = server.add_insecure_port(where)
            else:
                bound = server.add_secure_port(where, grpc_credentials(files))
        except RuntimeError as error:
            raise ConfigError(
                f"cannot listen: {error}", code="cannot_listen", where=where, hint="Choose another host or port."
            ) from None
        await server.start()
        return server, int(bound)


def build_grpc(serving: Serving, host: str, port: int) -> GrpcServer:
    """The gRPC server of the dialects `grpc` and `oip-grpc`; it listens when this returns.

    Raises:
        ConfigError: the address cannot be listened on.
    """
    options = GrpcOptions(
        max_message_bytes=min(INT32_MAX, max(64 << 20, serving.limits.max_body_bytes)),
        as_content=serving.answers_tensor_content,
        reload_config=serving.reload_config,
        shares_port=serving.shares_ports,
    )
    return GrpcServer(serving, host, port, options)


def build_endpoints(serving: Serving, options: GrpcOptions) -> list[Endpoint]:
    """Every method of every service."""
    return [
        *PredictionService(serving, as_content=options.as_content).endpoints(),
        *ModelService(serving, options.reload_config).endpoints(),
        *InferenceService(serving).endpoints(),
        *ModelsService(serving).endpoints(),
        *RankingService(serving).endpoints(),
    ]


def services_of(endpoints: Iterable[Endpoint]) -> list[str]:
    """Full names of the services, each once."""
    return list(dict.fromkeys(endpoint.method.path.split("/")[1] for endpoint in endpoints))


async def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    """End what still waits, such as a watch of the health."""
    tasks = [task for task in asyncio.all_tasks(loop) if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
