"""The protocols that a port can speak, by name: one row each, and what their builders get.

A builder is named by its module and function, so that a dialect that is not asked for is not imported. To add one,
write `def build_x(serving: Serving) -> App` (an ASGI application) and add its row to `DIALECTS`.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from recserve.errors import ConfigError, RequestError, suggest
from recserve.serving.statistics import Statistics
from recserve.serving.workers.crew import Crew

if TYPE_CHECKING:  # the command line reads the table for its help, and needs none of these
    from recserve.serving.messages import Limits
    from recserve.serving.metrics import RequestMetrics
    from recserve.serving.oversight import Oversight
    from recserve.serving.rank_threads import RankThreads
    from recserve.serving.registry import Registry
    from recserve.serving.repository import Repository
    from recserve.serving.service import RankService
    from recserve.serving.traffic.rollouts import Rollouts

_Map = MutableMapping[str, Any]
App = Callable[[_Map, Callable[[], Awaitable[_Map]], Callable[[_Map], Awaitable[None]]], Awaitable[None]]
"""An ASGI 3 application that is only given `http` connections."""

DEFAULT_DIALECT: Final = "recserve"


def _new_metrics() -> RequestMetrics:
    """Import late: the command's help names the dialects, and needs no NumPy."""
    from recserve.serving.metrics import RequestMetrics

    return RequestMetrics()


@dataclass(frozen=True)
class Serving:
    """What every dialect shares.

    Attributes:
        service: answers rank calls.
        registry: the served models.
        repository: where models are loaded from and unloaded.
        threads: where parsing, running and encoding go.
        limits: what one request may ask for.
        readiness: whether the process takes requests: every model is loaded, and it does not drain.
        statistics: what was answered so far, by model version.
        metrics: what Prometheus reads.
        oversight: observes and guards requests; None observes them into `metrics` alone.
        allows_cross_origin: whether web pages of other origins may call.
        answers_tensor_content: whether gRPC answers TensorFlow's tensors as `tensor_content`, not in typed fields.
        reload_config: takes the `ModelConfigList` of a reload request, see `grpc/tfs_models.py`; None where the models
            are fixed at start.
        rollouts: which versions share a model's calls; None where the process has none.
        crew: the workers that serve the same; of one where there is only this process.
        shares_ports: whether other processes listen on the same ports.
        model: the model of paths that name none; empty where the port was not given one.
        environment: environment variables, for the platforms that configure by them.
    """

    service: RankService
    registry: Registry
    repository: Repository
    threads: RankThreads
    limits: Limits
    readiness: Callable[[], bool]
    statistics: Statistics = field(default_factory=Statistics)
    metrics: RequestMetrics = field(default_factory=_new_metrics)
    oversight: Oversight | None = None
    allows_cross_origin: bool = False
    answers_tensor_content: bool = False
    reload_config: Callable[[Any], None] | None = None
    rollouts: Rollouts | None = None
    crew: Crew = field(default_factory=Crew)
    shares_ports: bool = False
    model: str = ""
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def default_model(self) -> str:
        """The model of paths that name none: the one given to the port, else the only one served.

        Raises:
            RequestError: none was given, and several models are served, or none.
        """
        if self.model:
            return self.model
        names = self.registry.names()
        if len(names) == 1:
            return names[0]
        served = ", ".join(map(repr, names)) or "none"
        raise RequestError(
            "it is not known which model answers",
            code="no_default_model",
            hint=f"Models served: {served}. Start the server with --dialect NAME:PORT=MODEL.",
        )


class Companion(Protocol):
    """A server of another transport beside HTTP, such as gRPC."""

    @property
    def port(self) -> int:
        """The port that it listens on."""

    def stop(self, grace_s: float) -> None:
        """Take no more requests, and end after the running ones or after `grace_s` seconds."""


@dataclass(frozen=True)
class Dialect:
    """One protocol.

    Attributes:
        summary: one line, for `--help`.
        port: the port that its clients expect.
        builder: `module:function`. For `http`, `(serving: Serving) -> App`; for `grpc`,
            `(serving: Serving, host: str, port: int) -> Companion`, which listens when it returns.
        starts_empty: whether a process that speaks it may start without a model, since its clients load them.
    """

    summary: str
    port: int
    builder: str
    transport: Literal["http", "grpc"] = "http"
    starts_empty: bool = False

    def load_builder(self) -> Callable[..., Any]:
        """Import the builder."""
        module, _, function = self.builder.partition(":")
        builder: Callable[..., Any] = getattr(importlib.import_module(module), function)
        return builder


_HERE: Final = "recserve.serving"

DIALECTS: Final[dict[str, Dialect]] = {
    "recserve": Dialect(
        "recserve's own :rank and pages, with TensorFlow Serving", 8501, f"{_HERE}.http:build_recserve"
    ),
    "tfs": Dialect("TensorFlow Serving REST, to the letter", 8501, f"{_HERE}.tfs.app:build_tfs"),
    "kserve-v1": Dialect("KServe V1", 8080, f"{_HERE}.kserve_v1:build_kserve_v1"),
    "vertex": Dialect("Vertex AI; routes and port from AIP_*", 8080, f"{_HERE}.vertex:build_vertex"),
    "h2o": Dialect("H2O Driverless AI, /model/score", 8080, f"{_HERE}.h2o:build_h2o"),
    "oip": Dialect("Open Inference Protocol (KServe V2, Triton) REST", 8000, f"{_HERE}.oip.app:build_oip"),
    "grpc": Dialect(
        "gRPC: TensorFlow Serving, Open Inference and ranking", 8500, f"{_HERE}.grpc.server:build_grpc", "grpc"
    ),
    "oip-grpc": Dialect("gRPC, the same on Triton's port", 8001, f"{_HERE}.grpc.server:build_grpc", "grpc"),
    "sagemaker-tfs": Dialect(
        "SageMaker, as its TensorFlow Serving container", 8080, f"{_HERE}.sagemaker.tfs:build_sagemaker_tfs"
    ),
    "sagemaker-triton": Dialect(
        "SageMaker, as its Triton container", 8080, f"{_HERE}.sagemaker.triton:build_sagemaker_triton"
    ),
    "sagemaker-mme": Dialect(
        "SageMaker multi-model endpoint",
        8080,
        f"{_HERE}.sagemaker.multi_model:build_sagemaker_mme",
        starts_empty=True,
    ),
    "mlflow": Dialect("MLflow scoring", 5000, f"{_HERE}.mlflow.app:build_mlflow"),
    "admin": Dialect("Rollouts, for `recserve rollout`; keep it inside", 8502, f"{_HERE}.traffic.admin:build_admin"),
    "invocations": Dialect(
        "/invocations of SageMaker and MLflow on one port", 8080, f"{_HERE}.sagemaker.invocations:build_invocations"
    ),
}


@dataclass(frozen=True)
class Port:
    """A port of the server.

    Attributes:
        dialect: a name of `DIALECTS`.
        number: 0 for a free one.
        model: the model of paths that name none; empty for the only one served.
    """

    dialect: str
    number: int
    model: str = ""

    @property
    def kind(self) -> Dialect:
        """The row of its dialect."""
        return DIALECTS[self.dialect]


def parse_port(text: str, environment: Mapping[str, str] = os.environ) -> Port:
    """Read `NAME[:PORT][=MODEL]`; without a port the usual one of the dialect.

    Raises:
        ConfigError: an unknown name, or a port that is no number.
    """
    rest, _, model = text.partition("=")
    name, colon, number = rest.partition(":")
    if name not in DIALECTS:
        hint = suggest(name, DIALECTS) or f"Dialects: {', '.join(DIALECTS)}."
        raise ConfigError(f"there is no dialect {name!r}", where=f"--dialect {text}", hint=hint)
    if colon and not (number.isascii() and number.isdigit() and len(number) <= 5):
        raise ConfigError(
            f"port {number!r} is no number", where=f"--dialect {text}", hint="Write NAME:PORT, such as tfs:8501."
        )
    if colon:
        return Port(name, int(number), model)
    given = environment.get("AIP_HTTP_PORT", "") if name == "vertex" else ""
    return Port(name, int(given) if given.isdigit() else DIALECTS[name].port, model)


def unserved_default(ports: Sequence[Port], served: Sequence[str]) -> ConfigError | None:
    """What is wrong with the first port whose model is not among those served; None where all are right.

    Args:
        ports: of the server.
        served: names of the models that it started with; where clients load models, they may load the missing one.
    """
    if any(port.kind.starts_empty for port in ports):
        return None
    for port in ports:
        if port.model and port.model not in served:
            listed = f"Models served: {', '.join(map(repr, served)) or 'none'}."
            return ConfigError(
                f"there is no model {port.model!r}",
                where=f"--dialect {port.dialect}:{port.number}={port.model}",
                hint=suggest(port.model, served) or listed,
            )
    return None
