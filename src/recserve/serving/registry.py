"""Which model versions are served: name and version → model, the labels that stand for versions, and their states.

A request holds a lease on the version that answers it, so that a version is closed only after its last request. A
version that was unloaded, or that could not be loaded, stays in the list of states as `END`.
All methods may be called from any thread.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final, Literal, Protocol

from recserve.errors import ConfigError, NotFoundError, OverloadedError, RecserveError, suggest
from recserve.serving import observation
from recserve.serving.contract import ServedModel
from recserve.serving.refusals import LabelNotFoundError, ModelNotFoundError

State = Literal["START", "LOADING", "AVAILABLE", "UNLOADING", "END"]

MAX_ENDED: Final = 64
"""Ended versions that a model's list of states keeps; the lowest are forgotten first."""

_log: Final = logging.getLogger("recserve.serving")


class Route(Protocol):
    """Where the calls of a model go while several versions share them."""

    def choose(self, name: str, user_id: str | None) -> int | None:
        """The version that answers a call that names none; None for the highest one."""

    def observe(self, name: str, version: int, model: ServedModel, *, was_chosen: bool) -> Any:
        """The model, or a stand-in for it that sees the calls. `was_chosen` tells that the call named no version."""


_OWN_WORDS: Final[dict[State, str]] = {
    "START": "waiting",
    "LOADING": "loading",
    "AVAILABLE": "ready",
    "UNLOADING": "draining",
    "END": "ended",
}


@dataclass(eq=False)
class _Version:
    """A version from its announcement to its end."""

    name: str
    version: int
    state: State = "START"
    error: RecserveError | None = None
    model: ServedModel | None = None
    leases: int = 0
    is_closing: bool = False


@dataclass(frozen=True)
class ModelState:
    """One version, as the lists of models show it.

    Attributes:
        state: `START` (announced), `LOADING`, `AVAILABLE`, `UNLOADING` (withdrawn, its last requests run) or `END`.
        error: why it could not be loaded; None where nothing went wrong.
    """

    name: str
    version: int
    state: State
    error: RecserveError | None = None

    def as_json(self) -> dict[str, Any]:
        """The state as plain JSON, in recserve's own words."""
        return {"name": self.name, "version": self.version, "state": _OWN_WORDS[self.state]}


@dataclass
class Registry:
    """The served versions, and the bundles that are still to come."""

    _available: dict[str, dict[int, _Version]] = field(default_factory=dict)
    _versions: dict[str, dict[int, _Version]] = field(default_factory=dict)
    _draining: list[_Version] = field(default_factory=list)
    _labels: dict[str, dict[str, int]] = field(default_factory=dict)
    _expected: list[str] = field(default_factory=list)
    close_with: Callable[[Callable[[], None]], None] = field(default=lambda close: close())
    """Runs what closes a model; as it is, on the thread whose request was the last."""
    route: Route | None = None
    """Splits the calls that name no version; None sends all of them to the highest."""
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def expect(self, source: str, name: str | None = None, version: int | None = None) -> None:
        """Say that a bundle is going to be loaded: the registry is not ready before it is published or has failed.

        Args:
            source: its directory.
            name: of the model in it, where that is known; it is then listed as `START`.
            version: of that model.
        """
        with self._changed:
            self._expected.append(source)
            if name is not None and version is not None:
                self._announce(name, version, "START")

    def expect_no_longer(self, source: str) -> None:
        """Take an `expect` back; nothing happens where there is none."""
        with self._changed:
            if source in self._expected:
                self._expected.remove(source)

    def begin(self, name: str, version: int) -> None:
        """List a version as `LOADING`; one that is served stays as it is."""
        with self._changed:
            self._announce(name, version, "LOADING")

    def fail(self, name: str, version: int, error: RecserveError, source: str | None = None) -> None:
        """List a version that could not be loaded as `END`, with the reason; one that is served stays as it is."""
        with self._changed:
            self._announce(name, version, "END")
            record = self._versions[name][version]
            if record.state == "END":
                record.error = error
            if source in self._expected:
                self._expected.remove(source)

    def discard(self, name: str, version: int) -> None:
        """Forget a version that is announced and turned out to be none; one that is served stays as it is."""
        with self._changed:
            record = self._versions.get(name, {}).get(version)
            if record is not None and record.model is None:
                del self._versions[name][version]
                if not self._versions[name]:
                    del self._versions[name]

    def publish(self, model: ServedModel, source: str | None = None, *, replaces: bool = False) -> None:
        """Serve a model from now on. The highest version of a name answers requests that name no version.

        Args:
            model: loaded and warm.
            source: the `expect`ed bundle that it came from.
            replaces: whether it may take the place of the same version, which then ends after its last request.

        Raises:
            ConfigError: this version of the model is served already, and may not be replaced.
        """
        with self._changed:
            old = self._available.get(model.name, {}).get(model.version)
            if old is not None and not replaces:
                raise ConfigError(
                    f"model {model.name!r} version {model.version} is served already",
                    code="version_served",
                    where=source,
                    hint="Name each bundle once.",
                )
            record = _Version(model.name, model.version, "AVAILABLE", model=model)
            self._versions.setdefault(model.name, {})[model.version] = record
            versions = {**self._available.get(model.name, {}), model.version: record}
            self._available[model.name] = dict(sorted(versions.items()))  # the highest is last
            if source in self._expected:
                self._expected.remove(source)
            if old is not None:
                old.state = "UNLOADING"
                self._draining.append(old)
        if old is not None:
            self._close_if_free(old)

    def withdraw(self, name: str, version: int) -> None:
        """Serve a version no longer; it is closed when its last request ends, and its labels go with it.

        Raises:
            ModelNotFoundError: it is not served.
        """
        with self._changed:
            record = self._find(name, version)
            del self._available[name][version]
            if not self._available[name]:
                del self._available[name]
            self._labels[name] = {k: v for k, v in self._labels.get(name, {}).items() if v != version}
            record.state = "UNLOADING"
            self._draining.append(record)
        _log.info("Model %r version %d is served no longer", name, version)
        self._close_if_free(record)

    def set_label(self, name: str, label: str, version: int, *, must_be_served: bool = True) -> None:
        """Let a label stand for a version of a model from now on, whatever it stood for before.

        Raises:
            ModelNotFoundError: the version is not served, and must be.
        """
        with self._changed:
            if must_be_served:
                self._find(name, version)
            labels = self._labels.setdefault(name, {})
            is_moved = labels.get(label) != version
            labels[label] = version
        if is_moved:
            _log.info("Label %r of model %r stands for version %d", label, name, version)

    def remove_label(self, name: str, label: str) -> None:
        """Forget a label; nothing happens where there is none."""
        with self._changed:
            self._labels.get(name, {}).pop(label, None)

    def labels(self, name: str) -> dict[str, int]:
        """Label → version of a model; empty for an unknown model."""
        with self._changed:
            return dict(self._labels.get(name, {}))

    def lease(
        self, name: str, version: int | None = None, label: str | None = None, user_id: str | None = None
    ) -> AbstractContextManager[Any]:
        """The model of a version or label, which stays open inside the `with` block.

        Where neither is given, it is the version that the rollout of the model chooses for the user, else the highest.
        It is a `RankerLike`, a `TensorModel` or both; what only one of them has is asked of it with care.

        Raises, at the beginning of the block:
            ModelNotFoundError: there is no such model or version.
            LabelNotFoundError: the model is served, and has no such label.
            OverloadedError: it may be among the bundles that are still loading.
            ForbiddenError: the caller of the current request may not ask this model.
        """
        return _Lease(self, name, version, label, user_id)

    def _take(self, name: str, version: int | None, label: str | None, user_id: str | None) -> tuple[_Version, Any]:
        observation.check_model(name)
        was_chosen = version is None and label is None
        chosen = self.route.choose(name, user_id) if self.route is not None and was_chosen else None
        with self._changed:
            if chosen is not None and chosen in self._available.get(name, {}):
                version = chosen  # one that is not there (yet) leaves its calls to the highest
            record = self._find(name, version if label is None else self._labelled(name, label))
            record.leases += 1
            model = record.model
        if self.route is not None and model is not None:
            model = self.route.observe(name, record.version, model, was_chosen=was_chosen)
        return record, model

    def _give_back(self, record: _Version) -> None:
        with self._changed:
            record.leases -= 1
            is_over = record.state == "UNLOADING" and not record.leases
        if is_over:
            self._close_if_free(record)

    def is_available(self, name: str, version: int) -> bool:
        """Whether this version of the model is served."""
        return version in self._available.get(name, {})

    def is_ready(self) -> bool:
        """Whether every expected bundle is served, and there is at least one."""
        with self._changed:
            return bool(self._available) and not self._expected

    def loading(self) -> list[str]:
        """The bundles that are expected and not yet served."""
        with self._changed:
            return list(self._expected)

    def is_served(self, name: str) -> bool:
        """Whether a version of the model is served."""
        return name in self._available

    def names(self) -> list[str]:
        """Names of the models of which a version is served, sorted."""
        with self._changed:
            return sorted(self._available)

    def states(self, name: str | None = None) -> list[ModelState]:
        """Every version that was ever announced or served, of one model or of all, by name and version."""
        with self._changed:
            models = self._versions if name is None else {name: self._versions.get(name, {})}
            rows = [ModelState(r.name, r.version, r.state, r.error) for m in models.values() for r in m.values()]
        return sorted(rows, key=lambda row: (row.name, row.version))

    def close(self, timeout_s: float) -> bool:
        """Withdraw everything and wait until all is closed; False when requests still run after `timeout_s`."""
        with self._changed:
            served = [(name, version) for name, versions in self._available.items() for version in versions]
        for name, version in served:
            self.withdraw(name, version)
        deadline_s = monotonic() + timeout_s
        with self._changed:
            return self._changed.wait_for(lambda: not self._draining, max(0.0, deadline_s - monotonic()))

    def _announce(self, name: str, version: int, state: State) -> None:
        versions = self._versions.setdefault(name, {})
        record = versions.get(version)
        if record is None or record.state not in ("AVAILABLE", "UNLOADING"):
            versions[version] = _Version(name, version, state)
        self._forget_ended(name)

    def _forget_ended(self, name: str) -> None:
        versions = self._versions[name]
        ended = sorted(version for version, record in versions.items() if record.state == "END")
        for version in ended[:-MAX_ENDED]:
            del versions[version]

    def _labelled(self, name: str, label: str) -> int:
        labels = self._labels.get(name, {})
        if label not in labels:
            self._find(name, None)  # an unknown model is told before its label
            hint = suggest(label, labels) or _listing("Labels", labels)
            raise LabelNotFoundError(f"model {name!r} has no label {label!r}", model=name, label=label, hint=hint)
        return labels[label]

    def _find(self, name: str, version: int | None) -> _Version:
        versions = self._available.get(name)
        if versions is None:
            hint = suggest(name, self._available) or _listing("Models", self._available)
            raise self._absent(f"no model {name!r}", name, version, hint)
        record = versions[next(reversed(versions))] if version is None else versions.get(version)
        if record is None:
            problem = f"model {name!r} has no version {version}"
            raise self._absent(problem, name, version, _listing("Versions", versions))
        return record

    def _absent(self, problem: str, name: str, version: int | None, hint: str) -> NotFoundError | OverloadedError:
        if self._expected:
            return OverloadedError(
                f"{problem} yet",
                code="model_loading",
                hint=f"{len(self._expected)} bundles are still loading; try again later.",
            )
        return ModelNotFoundError(problem, model=name, version=version, hint=hint)

    def _close_if_free(self, record: _Version) -> None:
        with self._changed:
            if record.leases or record.is_closing or record.model is None:
                return
            record.is_closing = True  # two threads may see the last lease end
        self.close_with(lambda: self._close(record))

    def _close(self, record: _Version) -> None:
        try:
            if record.model is not None:
                record.model.close()
        finally:
            with self._changed:
                record.state, record.model = "END", None
                self._draining.remove(record)
                if record.name in self._versions:
                    self._forget_ended(record.name)
                self._changed.notify_all()


class _Lease:
    """See `Registry.lease`. It keeps no model: the block's caller may keep it for longer."""

    __slots__ = ("_asked", "_record", "_registry")

    def __init__(self, registry: Registry, *asked: Any) -> None:
        self._registry, self._asked = registry, asked
        self._record: _Version | None = None

    def __enter__(self) -> Any:
        self._record, model = self._registry._take(*self._asked)
        return model

    def __exit__(self, *_: object) -> None:
        if self._record is not None:
            self._registry._give_back(self._record)


def _listing(what: str, known: dict[Any, Any]) -> str:
    return f"{what} served: {', '.join(map(repr, known)) or 'none'}."
