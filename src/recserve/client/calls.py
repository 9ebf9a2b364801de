"""A call before it is sent, and what sends it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from recserve.client.results import Array, Prediction, Ranking, VersionStatus
from recserve.signatures import Signature

T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    """What came back: the body, and of HTTP the headers with names in lower case."""

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Call(Generic[T]):
    """One call.

    Attributes:
        path: of HTTP's URL, or of gRPC's method.
        body: the request.
        read: answer → result; raises CallFailedError where it is not understood.
        method: HTTP's.
        headers: of HTTP.
    """

    path: str
    body: bytes
    read: Callable[[Answer], T]
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """The model that a call is for: its highest version, a version, or what a label stands for."""

    model: str
    version: int | None = None
    label: str | None = None


class Wire(Protocol):
    """Makes calls of one transport."""

    def predict(
        self, target: Target, inputs: Mapping[str, Array], signature: str, outputs: Sequence[str]
    ) -> Call[Prediction]:
        """TensorFlow Serving's predict."""

    def classify(
        self, target: Target, examples: Sequence[Mapping[str, Any]], signature: str, context: Mapping[str, Any] | None
    ) -> Call[list[list[tuple[str, float]]]]:
        """TensorFlow Serving's classify."""

    def regress(
        self, target: Target, examples: Sequence[Mapping[str, Any]], signature: str, context: Mapping[str, Any] | None
    ) -> Call[Array]:
        """TensorFlow Serving's regress."""

    def status(self, target: Target) -> Call[list[VersionStatus]]:
        """TensorFlow Serving's model status."""

    def signatures(self, target: Target) -> Call[dict[str, Signature]]:
        """TensorFlow Serving's metadata."""

    def infer(self, target: Target, inputs: Mapping[str, Array], outputs: Sequence[str]) -> Call[Prediction]:
        """Open Inference."""

    def is_ready(self, model: str) -> Call[bool]:
        """Open Inference's readiness, of the server or of a model."""

    def rank(self, target: Target, request: Mapping[str, Any]) -> Call[Ranking]:
        """Recserve's own ranking; `request` has the fields of `Client.rank`."""

    def rank_by_each(self, targets: Sequence[Target], request: Mapping[str, Any]) -> Call[list[Ranking]]:
        """Ranking by several models."""


class Transport(Protocol):
    """Sends calls, blocking."""

    def send(self, call: Call[Any], timeout_s: float) -> Answer:
        """The answer, or CallFailedError."""

    def close(self) -> None:
        """End the connections."""


class AsyncTransport(Protocol):
    """Sends calls on asyncio."""

    async def send(self, call: Call[Any], timeout_s: float) -> Answer:
        """The answer, or CallFailedError."""

    async def close(self) -> None:
        """End the connections."""
