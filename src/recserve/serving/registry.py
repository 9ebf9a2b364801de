"""Which model versions are served: name and version → ranker.

A request holds a lease on the version that answers it, so that a version is closed only after its last request.
All methods may be called from any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from recserve.errors import ConfigError, NotFoundError, OverloadedError, suggest
from recserve.serving.contract import RankerLike


@dataclass(eq=False)
class _Served:
    """A version that is served or drains."""

    ranker: RankerLike
    leases: int = 0
    is_withdrawn: bool = False
    is_closing: bool = False


@dataclass(frozen=True)
class ModelState:
    """One served version, as the model list shows it."""

    name: str
    version: int
    state: str
    """`ready`, or `draining` after it was withdrawn and before its last request has ended."""

    def as_json(self) -> dict[str, Any]:
        """The state as plain JSON."""
        return {"name": self.name, "version": self.version, "state": self.state}


@dataclass
class Registry:
    """The served versions, and the bundles that are still to come."""

    _models: dict[str, dict[int, _Served]] = field(default_factory=dict)
    _draining: list[_Served] = field(default_factory=list)
    _expected: list[str] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def expect(self, source: str) -> None:
        """Say that a bundle is going to be loaded: the registry is not ready before it is published."""
        with self._changed:
            self._expected.append(source)

    def publish(self, ranker: RankerLike, source: str | None = None) -> None:
        """Serve a ranker from now on. The highest version of a name answers requests that name no version.

        Args:
            ranker: loaded and warm.
            source: the `expect`ed bundle that it came from.

        Raises:
            ConfigError: this version of the model is served already.
        """
        with self._changed:
            versions = self._models.setdefault(ranker.name, {})
            if ranker.version in versions:
                raise ConfigError(
                    f"model {ranker.name!r} version {ranker.version} is served already",
                    where=source,
                    hint="Name each bundle once.",
                )
            versions[ranker.version] = _Served(ranker)
            self._models[ranker.name] = dict(sorted(versions.items()))  # the highest is last
            if source in self._expected:
                self._expected.remove(source)

    def withdraw(self, name: str, version: int) -> None:
        """Serve a version no longer; it is closed when its last request ends.

        Raises:
            NotFoundError: it is not served.
        """
        with self._changed:
            served = self._find(name, version)
            del self._models[name][version]
            if not self._models[name]:
                del self._models[name]
            served.is_withdrawn = True
            self._draining.append(served)
        self._close_if_free(served)

    @contextmanager
    def lease(self, name: str, version: int | None) -> Iterator[RankerLike]:
        """The ranker of a version (None: the highest), which stays open inside the `with` block.

        Raises:
            NotFoundError: there is no such model or version.
            OverloadedError: it may be among the bundles that are still loading.
        """
        with self._changed:
            served = self._find(name, version)
            served.leases += 1
        try:
            yield served.ranker
        finally:
            with self._changed:
                served.leases -= 1
            if served.is_withdrawn:
                self._close_if_free(served)

    def is_ready(self) -> bool:
        """Whether every expected bundle is served, and there is at least one."""
        with self._changed:
            return bool(self._models) and not self._expected

    def loading(self) -> list[str]:
        """The bundles that are expected and not yet served."""
        with self._changed:
            return list(self._expected)

    def states(self) -> list[ModelState]:
        """Every version that is served or drains, by name and version."""
        with self._changed:
            ready = [s for versions in self._models.values() for s in versions.values()]
            rows = [ModelState(s.ranker.name, s.ranker.version, "ready") for s in ready]
            rows += [ModelState(s.ranker.name, s.ranker.version, "draining") for s in self._draining]
        return sorted(rows, key=lambda row: (row.name, row.version))

    def close(self, timeout_s: float) -> bool:
        """Withdraw everything and wait until all is closed; False when requests still run after `timeout_s`."""
        with self._changed:
            served = [(name, version) for name, versions in self._models.items() for version in versions]
        for name, version in served:
            self.withdraw(name, version)
        deadline_s = monotonic() + timeout_s
        with self._changed:
            return self._changed.wait_for(lambda: not self._draining, max(0.0, deadline_s - monotonic()))

    def _find(self, name: str, version: int | None) -> _Served:
        versions = self._models.get(name)
        if versions is None:
            raise self._absent(f"no model {name!r}", suggest(name, self._models) or _listing("Models", self._models))
        served = versions[next(reversed(versions))] if version is None else versions.get(version)
        if served is None:
            raise self._absent(f"model {name!r} has no version {version}", _listing("Versions", versions))
        return served

    def _absent(self, problem: str, hint: str) -> NotFoundError | OverloadedError:
        if self._expected:
            return OverloadedError(
                f"{problem} yet",
                code="model_loading",
                hint=f"{len(self._expected)} bundles are still loading; try again later.",
            )
        return NotFoundError(problem, code="model_not_found", hint=hint)

    def _close_if_free(self, served: _Served) -> None:
        with self._changed:
            if served.leases or served.is_closing:
                return
            served.is_closing = True  # two threads may see the last lease end
        try:
            served.ranker.close()
        finally:
            with self._changed:
                self._draining.remove(served)
                self._changed.notify_all()


def _listing(what: str, known: dict[Any, Any]) -> str:
    return f"{what} served: {', '.join(map(repr, known)) or 'none'}."
