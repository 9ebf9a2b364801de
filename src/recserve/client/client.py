"""The client: the same methods over HTTP and gRPC, blocking and on asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from time import monotonic
from types import TracebackType
from typing import Any, Final, TypeVar

import numpy as np

from recserve.client.calls import AsyncTransport, Call, Target, Transport, Wire
from recserve.client.failures import CallFailedError
from recserve.client.results import Array, Prediction, Ranking, VersionStatus
from recserve.client.retries import Retries
from recserve.errors import ConfigError, RequestError, suggest
from recserve.signatures import Signature

T = TypeVar("T")
Tensors = Mapping[str, Any]
"""Tensor by input name; what is no array becomes one, by NumPy's rules."""

SCHEMES: Final = ("http", "https", "grpc", "grpcs")
_NOT_READY: Final = frozenset({"INVALID_ARGUMENT", "NOT_FOUND", "UNAVAILABLE"})


class _Calls:
    """Makes the calls that both clients send."""

    def __init__(self, url: str, timeout_s: float, retries: Retries | None) -> None:
        scheme = url.partition("://")[0]
        if scheme not in SCHEMES:
            raise ConfigError(f"{url!r} is no server's URL", hint=f"It begins with {'://, '.join(SCHEMES)}://.")
        if not timeout_s > 0:
            raise ConfigError(f"timeout_s is {timeout_s}", hint="It is above 0.")
        self._is_grpc = scheme.startswith("grpc")
        self._wire: Wire = _wire(self._is_grpc)
        self._timeout_s = timeout_s
        self._retries = retries or Retries()

    def _predict(
        self, target: Target, inputs: Tensors, signature: str, outputs: Sequence[str] | None
    ) -> Call[Prediction]:
        return self._wire.predict(target, _arrays(inputs), signature, outputs or ())

    def _infer(self, target: Target, inputs: Tensors, outputs: Sequence[str] | None) -> Call[Prediction]:
        if target.label is not None:
            raise RequestError("Open Inference knows no labels", hint="Give a version.")
        return self._wire.infer(target, _arrays(inputs), outputs or ())

    def _budget(self, timeout_s: float | None) -> float:
        return monotonic() + (self._timeout_s if timeout_s is None else timeout_s)


def _wire(is_grpc: bool) -> Wire:
    # Each brings its libraries along; only the one that is asked for is loaded.
    if is_grpc:
        from recserve.client.grpc_wire import GrpcWire

        return GrpcWire()
    from recserve.client.rest_wire import RestWire

    return RestWire()


def _arrays(tensors: Tensors) -> dict[str, Array]:
    return {name: np.asarray(tensor) for name, tensor in tensors.items()}


def _is_absent(error: CallFailedError) -> bool:
    """Whether an error says that nothing is ready, and not that nobody is there."""
    return error.status in _NOT_READY and error.code != "no_answer"


class Client(_Calls):
    """Calls a server and waits. Threads may share it. Ends its connections at `close` or as a context manager.

    Args:
        url: `http://host:port`, `https://...`, `grpc://host:port` or `grpcs://...`.
        timeout_s: of a call with all its attempts, where it names none of its own.
        retries: when and how often a call is sent again.
        headers: sent with every call, as metadata on gRPC.
        tls: an `ssl.SSLContext` for https, or `grpc.ChannelCredentials` for grpcs; the system's certificates if None.

    Every method takes `timeout_s` and raises `CallFailedError`.

    Raises:
        ConfigError: the URL or the timeout is none.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 10.0,
        retries: Retries | None = None,
        headers: Mapping[str, str] | None = None,
        tls: Any = None,
    ) -> None:
        super().__init__(url, timeout_s, retries)
        self._transport: Transport
        if self._is_grpc:
            from recserve.client.grpc_transport import GrpcTransport

            self._transport = GrpcTransport(url, headers or {}, tls)
        else:
            from recserve.client.http_transport import HttpTransport

            self._transport = HttpTransport(url, headers or {}, tls)

    def predict(
        self,
        model: str,
        inputs: Tensors,
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = "",
        outputs: Sequence[str] | None = None,
        timeout_s: float | None = None,
    ) -> Prediction:
        """TensorFlow Serving's predict: named tensors in, named tensors out."""
        return self._send(self._predict(Target(model, version, label), inputs, signature, outputs), timeout_s)

    def classify(
        self,
        model: str,
        examples: Sequence[Mapping[str, Any]],
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = "",
        context: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> list[list[tuple[str, float]]]:
        """TensorFlow Serving's classify: (label, score) pairs of each example."""
        return self._send(self._wire.classify(Target(model, version, label), examples, signature, context), timeout_s)

    def regress(
        self,
        model: str,
        examples: Sequence[Mapping[str, Any]],
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = "",
        context: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> Array:
        """TensorFlow Serving's regress: float32, a value an example."""
        return self._send(self._wire.regress(Target(model, version, label), examples, signature, context), timeout_s)

    def status(self, model: str, *, version: int | None = None, timeout_s: float | None = None) -> list[VersionStatus]:
        """The states of a model's versions, or of one; highest version first."""
        return self._send(self._wire.status(Target(model, version)), timeout_s)

    def signatures(
        self, model: str, *, version: int | None = None, label: str | None = None, timeout_s: float | None = None
    ) -> dict[str, Signature]:
        """The signatures of a version, as its metadata tells them."""
        return self._send(self._wire.signatures(Target(model, version, label)), timeout_s)

    def infer(
        self,
        model: str,
        inputs: Tensors,
        *,
        version: int | None = None,
        outputs: Sequence[str] | None = None,
        timeout_s: float | None = None,
    ) -> Prediction:
        """Open Inference: named tensors in, named tensors out, binary both ways."""
        return self._send(self._infer(Target(model, version), inputs, outputs), timeout_s)

    def is_ready(self, model: str = "", *, timeout_s: float | None = None) -> bool:
        """Open Inference's readiness of the server, or of a model; a server that is not there raises."""
        try:
            return self._send(self._wire.is_ready(model), timeout_s, Retries(1))
        except CallFailedError as error:
            if _is_absent(error):
                return False
            raise

    def rank(
        self,
        model: str,
        item_ids: Sequence[str] | Sequence[int] | Array,
        *,
        user: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
        columns: Mapping[str, Any] | None = None,
        items: Mapping[Any, Mapping[str, Any]] | None = None,
        top_k: int | None = None,
        outputs: Sequence[str] | None = None,
        request_id: str | None = None,
        timings: bool = False,
        user_id: str | int | None = None,
        explain: bool = False,
        version: int | None = None,
        label: str | None = None,
        timeout_s: float | None = None,
    ) -> Ranking:
        """Rank candidates for a user.

        Args:
            model: its name.
            item_ids: the candidates, all texts or all integers.
            user: column → value: text, number, truth, list, or map of them.
            context: the same of the request's own columns.
            columns: column → a value for each candidate.
            items: id → columns, of candidates that the server's store lacks.
            top_k: how many to return; all if None.
            outputs: which outputs to return; all if None.
            request_id: returned and logged.
            timings: whether to tell the stages' times.
            user_id: of a user that the server keeps, whose columns those of `user` go before.
            explain: whether to tell the features of the best candidates as text, and the stage times.
            version: the version that answers; the highest if None.
            label: the label of the version that answers, instead.
            timeout_s: of the call with all its attempts.
        """
        request = _rank_request(
            item_ids,
            user=user,
            context=context,
            columns=columns,
            items=items,
            top_k=top_k,
            outputs=outputs,
            request_id=request_id,
            timings=timings,
            user_id=user_id,
            explain=explain,
        )
        return self._send(self._wire.rank(Target(model, version, label), request), timeout_s)

    def rank_by_each(
        self,
        models: Sequence[str | Target],
        item_ids: Sequence[str] | Sequence[int] | Array,
        *,
        timeout_s: float | None = None,
        **fields: Any,
    ) -> list[Ranking]:
        """Rank candidates with each of several models; all answer, or none.

        Args:
            models: 1 to 16, by name, or as `Target` with a version or a label.
            item_ids: the candidates.
            timeout_s: of the call with all its attempts.
            **fields: the others of `rank`, but for its `outputs`, `version` and `label`.

        Raises:
            RequestError: there is no such field.
        """
        targets = [Target(model) if isinstance(model, str) else model for model in models]
        request = _rank_request(item_ids, **_checked_fields(fields))
        return self._send(self._wire.rank_by_each(targets, request), timeout_s)

    def close(self) -> None:
        """End the connections."""
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, call: Call[T], timeout_s: float | None, retries: Retries | None = None) -> T:
        until_s = self._budget(timeout_s)
        attempt = 0
        while True:
            attempt += 1
            try:
                return call.read(self._transport.send(call, max(until_s - monotonic(), 1e-3)))
            except CallFailedError as error:
                wait_s = (retries or self._retries).wait_s(attempt, error, until_s - monotonic())
                if wait_s is None:
                    raise
            time.sleep(wait_s)


class AsyncClient(_Calls):
    """`Client` on asyncio: the same arguments and methods, to be awaited, on one event loop."""

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 10.0,
        retries: Retries | None = None,
        headers: Mapping[str, str] | None = None,
        tls: Any = None,
    ) -> None:
        super().__init__(url, timeout_s, retries)
        self._transport: AsyncTransport
        if self._is_grpc:
            from recserve.client.grpc_transport import AsyncGrpcTransport

            self._transport = AsyncGrpcTransport(url, headers or {}, tls)
        else:
            from recserve.client.http_streams import HttpStreams

            self._transport = HttpStreams(url, headers or {}, tls)

    async def predict(
        self,
        model: str,
        inputs: Tensors,
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = "",
        outputs: Sequence[str] | None = None,
        timeout_s: float | None = None,
    ) -> Prediction:
        """As `Client.predict`."""
        return await self._send(self._predict(Target(model, version, label), inputs, signature, outputs), timeout_s)

    async def classify(
        self,
        model: str,
        examples: Sequence[Mapping[str, Any]],
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = "",
        context: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> list[list[tuple[str, float]]]:
        """As `Client.classify`."""
        call = self._wire.classify(Target(model, version, label), examples, signature, context)
        return await self._send(call, timeout_s)

    async def regress(
        self,
        model: str,
        examples: Sequence[Mapping[str, Any]],
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = "",
        context: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> Array:
        """As `Client.regress`."""
        call = self._wire.regress(Target(model, version, label), examples, signature, context)
        return await self._send(call, timeout_s)

    async def status(
        self, model: str, *, version: int | None = None, timeout_s: float | None = None
    ) -> list[VersionStatus]:
        """As `Client.status`."""
        return await self._send(self._wire.status(Target(model, version)), timeout_s)

    async def signatures(
        self, model: str, *, version: int | None = None, label: str | None = None, timeout_s: float | None = None
    ) -> dict[str, Signature]:
        """As `Client.signatures`."""
        return await self._send(self._wire.signatures(Target(model, version, label)), timeout_s)

    async def infer(
        self,
        model: str,
        inputs: Tensors,
        *,
        version: int | None = None,
        outputs: Sequence[str] | None = None,
        timeout_s: float | None = None,
    ) -> Prediction:
        """As `Client.infer`."""
        return await self._send(self._infer(Target(model, version), inputs, outputs), timeout_s)

    async def is_ready(self, model: str = "", *, timeout_s: float | None = None) -> bool:
        """As `Client.is_ready`."""
        try:
            return await self._send(self._wire.is_ready(model), timeout_s, Retries(1))
        except CallFailedError as error:
            if _is_absent(error):
                return False
            raise

    async def rank(
        self,
        model: str,
        item_ids: Sequence[str] | Sequence[int] | Array,
        *,
        user: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
        columns: Mapping[str, Any] | None = None,
        items: Mapping[Any, Mapping[str, Any]] | None = None,
        top_k: int | None = None,
        outputs: Sequence[str] | None = None,
        request_id: str | None = None,
        timings: bool = False,
        user_id: str | int | None = None,
        explain: bool = False,
        version: int | None = None,
        label: str | None = None,
        timeout_s: float | None = None,
    ) -> Ranking:
        """As `Client.rank`."""
        request = _rank_request(
            item_ids,
            user=user,
            context=context,
            columns=columns,
            items=items,
            top_k=top_k,
            outputs=outputs,
            request_id=request_id,
            timings=timings,
            user_id=user_id,
            explain=explain,
        )
        return await self._send(self._wire.rank(Target(model, version, label), request), timeout_s)

    async def rank_by_each(
        self,
        models: Sequence[str | Target],
        item_ids: Sequence[str] | Sequence[int] | Array,
        *,
        timeout_s: float | None = None,
        **fields: Any,
    ) -> list[Ranking]:
        """As `Client.rank_by_each`."""
        targets = [Target(model) if isinstance(model, str) else model for model in models]
        request = _rank_request(item_ids, **_checked_fields(fields))
        return await self._send(self._wire.rank_by_each(targets, request), timeout_s)

    async def close(self) -> None:
        """End the connections."""
        await self._transport.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _send(self, call: Call[T], timeout_s: float | None, retries: Retries | None = None) -> T:
        until_s = self._budget(timeout_s)
        attempt = 0
        while True:
            attempt += 1
            try:
                return call.read(await self._transport.send(call, max(until_s - monotonic(), 1e-3)))
            except CallFailedError as error:
                wait_s = (retries or self._retries).wait_s(attempt, error, until_s - monotonic())
                if wait_s is None:
                    raise
            await asyncio.sleep(wait_s)


def _rank_request(item_ids: Any, **fields: Any) -> dict[str, Any]:
    """The fields of a rank call, as the wires take them."""
    ids = item_ids.tolist() if isinstance(item_ids, np.ndarray) and item_ids.dtype.kind not in "iu" else item_ids
    return {"item_ids": ids if isinstance(ids, np.ndarray) else list(ids), **fields}


_RANK_FIELDS: Final = ("user", "context", "columns", "items", "top_k", "request_id", "timings", "user_id", "explain")


def _checked_fields(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    for name in fields:
        if name not in _RANK_FIELDS:
            hint = suggest(name, _RANK_FIELDS) or f"There are {', '.join(_RANK_FIELDS)}."
            raise RequestError(f"there is no field {name!r}", where="rank_by_each", hint=hint)
    return fields
