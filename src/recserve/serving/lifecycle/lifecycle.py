"""Watches base directories, and makes what is served follow them.

One thread looks, decides and hands out work; loading and closing have threads of their own. A configuration is replaced
as a whole: where a part of it cannot be served, all of it is taken back.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from recserve.errors import ConfigError, RecserveError
from recserve.serving.lifecycle.config_store import ConfigStore
from recserve.serving.lifecycle.freed_memory import return_freed_memory
from recserve.serving.lifecycle.loading import LoadingThreads
from recserve.serving.lifecycle.model_config import ModelConfig, read_configs
from recserve.serving.lifecycle.options import LifecycleOptions
from recserve.serving.lifecycle.remote import open_base
from recserve.serving.lifecycle.watched import Watched
from recserve.serving.refusals import ModelNotFoundError
from recserve.serving.repository import Repository
from recserve.serving.workers.crew import Crew, CrewError
from recserve.serving.workers.orders import Order

TICK_S: Final = 0.1
"""Seconds between looks at what changed in memory."""

CONFIG: Final = "config"

_log: Final = logging.getLogger("recserve.serving")


class Lifecycle:
    """The versions of a process. All methods may be called from any thread.

    Args:
        repository: opens and publishes.
        options: what is served, and how it changes.
        held: model → versions that a rollout needs, whatever the policy says.
        crew: the workers that take a configuration that comes by request here.

    Raises:
        ConfigError: the config file cannot be read, two models have one name, or a base cannot be watched.
    """

    def __init__(
        self,
        repository: Repository,
        options: LifecycleOptions,
        held: Callable[[str], frozenset[int]] = lambda _: frozenset(),
        crew: Crew | None = None,
    ) -> None:
        self._crew = crew or Crew()
        self._crew.answer(CONFIG, self.apply)
        self._repository = repository
        self._registry = repository.registry
        self._options = options
        self._held = held
        self._store = ConfigStore(options)
        self._changed = threading.Condition(threading.RLock())
        self._applying = threading.Lock()
        self._stopping = threading.Event()
        self._labels_done: dict[str, dict[str, int]] = {}
        self._models = {config.name: self._watch(config) for config in _unique(self._store.initial())}
        for watched in self._models.values():
            self._registry.expect(watched.config.base)
        self._threads: list[threading.Thread] = []
        self._loading: LoadingThreads | None = None
        self._closing: LoadingThreads | None = None

    def start(self) -> None:
        """Begin to watch and load, in threads of its own."""
        options = self._options
        self._loading = LoadingThreads(options.load_threads, is_nice=options.is_nice)
        self._closing = closing = LoadingThreads(options.unload_threads, name="recserve-unload")
        self._registry.close_with = lambda close: closing.submit(lambda: _close_and_trim(close))
        self._threads = [threading.Thread(target=self._watch_bases, name="recserve-watch", daemon=True)]
        if self._store.is_polled:
            self._threads.append(threading.Thread(target=self._watch_config, name="recserve-config", daemon=True))
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float) -> None:
        """Change nothing any more. A load that runs is left alone; what it opened is not served."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(timeout_s)
        self._registry.close_with = lambda close: close()
        if self._closing is not None:
            self._closing.stop(timeout_s)

    def is_ready(self) -> bool:
        """Whether a version of every model is served."""
        with self._changed:
            return bool(self._models) and all(self._registry.is_served(name) for name in self._models)

    def wait_until_ready(self, timeout_s: float | None = None) -> bool:
        """Wait until `is_ready`; False where it is not in time, or the lifecycle is stopped."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopping.is_set() or self.is_ready(), timeout_s)
            return self.is_ready()

    def wait_until_settled(self, timeout_s: float | None = None) -> bool:
        """Wait until every wanted version is loaded or has failed; False where they are not in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._are_settled(list(self._models)), timeout_s)

    def models(self) -> list[ModelConfig]:
        """The configuration."""
        with self._changed:
            return [watched.config for watched in self._models.values()]

    def may_come(self, name: str, version: int, since_s: float) -> bool:
        """Whether a version that is wanted since then and is not served yet may still be.

        It may where its base directory was not looked at since, and else where it is there and its load has not failed.
        """
        with self._changed:
            watched = self._models.get(name)
            if watched is None or watched.looked_s is None:
                return watched is not None
            if watched.looked_s < since_s and self._options.poll_s > 0:
                return True
            return version in (watched.found or {}) and version not in watched.failures

    def reload_config(self, message: Any) -> None:
        """Take a checked `tensorflow.serving.ModelConfigList` in every worker, and keep it for the next start.

        Raises:
            ConfigError: as `apply`, in this worker or in another one. All serve what they served before.
        """
        before = self.models()
        try:
            self._crew.tell(_order(read_configs(message)))
        except CrewError as error:
            self._crew.tell(_order(before))
            raise ConfigError(error.problem, code="model_not_served", hint="The old configuration stays.") from None
        self._store.save(message)

    def apply(self, configs: Sequence[ModelConfig]) -> None:
        """Serve other models from now on: new ones are loaded first, then labels move, then absent ones go.

        Raises:
            ConfigError: a model is named twice, none of its versions can be served, or a label names a version that is
                not. What was served before goes on being served, and nothing else is.
        """
        wanted = {config.name: config for config in _unique(configs)}
        with self._applying:
            before = {config.name: config for config in self.models()}
            added = {name: self._watch(config) for name, config in wanted.items() if name not in before}
            bases = {
                name: self._watch(config).base
                for name, config in wanted.items()
                if name in before and config.base != before[name].base
            }
            try:
                with self._changed:
                    self._models |= added
                    for name in wanted.keys() & before.keys():
                        self._set_config(self._models[name], replace(wanted[name], labels=before[name].labels), bases)
                self._wait_settled(wanted, added)
                with self._changed:
                    self._check_labels(wanted, before)
                    for name, config in wanted.items():
                        self._models[name].config = config
                        self._set_labels(name)
                    for name in before.keys() - wanted.keys():
                        self._remove(name)
                _log.info("A new configuration is served: %s", ", ".join(wanted) or "no model")
            except BaseException:
                with self._changed:
                    for name in added:
                        self._remove(name)
                    old_bases = {name: self._watch(before[name]).base for name in bases}
                    for name in wanted.keys() & before.keys():
                        self._set_config(self._models[name], before[name], old_bases)
                raise

    # --- Configurations -------------------------------------------------------------------------------------------

    def _watch(self, config: ModelConfig) -> Watched:
        return Watched(config, open_base(config.base, self._options.arrival, self._options.cache_dir))

    def _set_config(self, watched: Watched, config: ModelConfig, bases: dict[str, Any]) -> None:
        watched.config = config
        if config.name in bases:
            watched.base = bases[config.name]
        watched.looked_s = None
        self._changed.notify_all()

    def _wait_settled(self, wanted: dict[str, ModelConfig], added: dict[str, Watched]) -> None:
        """Wait until everything wanted is loaded or has failed.

        Raises:
            ConfigError: it takes too long, or nothing of a new model can be served.
        """
        with self._changed:
            self._changed.notify_all()
            is_settled = self._changed.wait_for(lambda: self._are_settled(wanted), self._options.config_wait_s)
            for name, watched in added.items():
                if watched.served():
                    continue
                reasons = [str(state.error) for state in self._registry.states(name) if state.error is not None]
                place = f"model {name!r}: {watched.config.base}"
                if not reasons and not is_settled:
                    reasons = [f"nothing was loaded within {self._options.config_wait_s:g} s"]
                raise ConfigError(
                    f"no version can be served: {reasons[-1] if reasons else 'there is none'}",
                    code="model_not_served",
                    where=place,
                    hint="The old configuration stays.",
                )

    def _are_settled(self, names: Iterable[str]) -> bool:
        return self._stopping.is_set() or all(
            watched.is_settled(not watched.decide(self._options, self._held).load)
            for watched in map(self._models.__getitem__, names)
        )

    def _check_labels(self, wanted: dict[str, ModelConfig], before: dict[str, ModelConfig]) -> None:
        if self._options.allows_unavailable_labels:
            return
        for name, config in wanted.items():
            old = before[name].labels if name in before else {}
            for label, version in config.labels.items():
                if old.get(label) != version and not self._registry.is_available(name, version):
                    raise ConfigError(
                        f"Request to assign label to version {version} of model {name}, which is not currently "
                        "available for inference",
                        code="label_unavailable",
                        where=f"label {label!r}",
                    )

    def _remove(self, name: str) -> None:
        watched = self._models.pop(name)
        watched.is_removed = True
        self._registry.expect_no_longer(watched.config.base)
        for label in self._labels_done.pop(name, {}):
            self._registry.remove_label(name, label)
        for version in watched.served():
            self._withdraw(name, version)
        self._changed.notify_all()

    def _set_labels(self, name: str) -> None:
        """Let the labels of a model stand for what its configuration says, as far as that is served."""
        wanted = self._models[name].config.labels
        done = self._labels_done.setdefault(name, {})
        for label in done.keys() - wanted.keys():
            self._registry.remove_label(name, label)
        standing = self._registry.labels(name)
        for label, version in wanted.items():
            is_served = self._registry.is_available(name, version)
            if standing.get(label) != version and (is_served or self._options.allows_unavailable_labels):
                self._registry.set_label(name, label, version, must_be_served=False)
        self._labels_done[name] = dict(wanted)

    def _watch_config(self) -> None:
        while not self._stopping.wait(self._store.poll_s):
            try:
                configs = self._store.changed()
                if configs is not None:
                    self.apply(configs)
            except RecserveError as error:
                _log.error("The new configuration is not served, the old one is: %s", error)
            except Exception:
                _log.exception("The configuration could not be looked at")

    # --- Versions -------------------------------------------------------------------------------------------------

    def _watch_bases(self) -> None:
        while not self._stopping.is_set():
            try:
                self.tick()
            except Exception:
                _log.exception("The base directories could not be looked at")
            with self._changed:
                self._changed.wait(TICK_S)

    def tick(self) -> None:
        """Look at what is due, and hand out what there is to do. One thread at a time calls it."""
        with self._changed:
            models = list(self._models.values())
        for watched in models:
            if self._stopping.is_set():
                return
            if watched.is_due(time.monotonic(), self._options):
                base = watched.base
                seen = watched.look()
                with self._changed:
                    if watched.base is base:
                        watched.take(seen, time.monotonic())
                        self._tell_want(watched)
            with self._changed:
                if not watched.is_removed:
                    self._advance(watched)
                self._changed.notify_all()

    def _advance(self, watched: Watched) -> None:
        """Begin what is to be done with one model."""
        name = watched.config.name
        watched.sync(self._registry, time.monotonic())
        todo = watched.decide(self._options, self._held)
        for version in todo.unload:
            watched.progress[version] = "unloading"
            self._withdraw(name, version)
        for version in todo.load:
            watched.progress[version] = "loading"
            place = watched.places[version] = (watched.found or {})[version]
            self._submit(watched, version, place)
        is_idle = watched.looked_s is not None and not any(p == "loading" for p in watched.progress.values())
        if is_idle:
            self._registry.expect_no_longer(watched.config.base)
        self._set_labels(name)

    def _tell_want(self, watched: Watched) -> None:
        """Log what keeps the model from versions, when that changes."""
        want = watched.want()
        if want and want != watched.told:
            _log.warning("Model %r: %s", watched.config.name, want)
        watched.told = want

    def _submit(self, watched: Watched, version: int, place: str) -> None:
        self._registry.begin(watched.config.name, version)
        if self._loading is None:
            self._load(watched, version, place)
        else:
            self._loading.submit(lambda: self._load(watched, version, place))

    def _load(self, watched: Watched, version: int, place: str) -> None:
        """Load a version; on a loading thread."""
        name, source = watched.config.name, watched.config.base
        if self._stopping.is_set() or watched.is_removed:
            self._registry.discard(name, version)
            return
        try:
            self._repository.load_version(watched.base.fetch(place), source, name)
            error = None
        except Exception as caught:
            error = caught
        if error is not None:
            return_freed_memory()
        with self._changed:
            if error is None:
                watched.progress[version] = "available"
                watched.failures.pop(version, None)
                if watched.is_removed or self._stopping.is_set():
                    self._withdraw(name, version)
            else:
                self._note_failure(watched, version, error)
            self._changed.notify_all()

    def _note_failure(self, watched: Watched, version: int, error: Exception) -> None:
        failure = watched.fail(version, self._options, time.monotonic())
        wait_s = None if failure.retry_at_s is None else failure.retry_at_s - time.monotonic()
        again = "when its files change" if wait_s is None else f"in {max(0.0, wait_s):.0f} s"
        name = watched.config.name
        served = ", ".join(map(str, sorted(watched.served()))) or "none"
        _log.error(
            "Model %r version %d cannot be loaded (try %d; again %s; served: %s): %s",
            *(name, version, failure.tries, again, served, error),
            exc_info=None if isinstance(error, RecserveError) else error,
        )

    def _withdraw(self, name: str, version: int) -> None:
        try:
            self._registry.withdraw(name, version)
        except ModelNotFoundError:  # a caller has unloaded it this moment
            return


def _order(configs: Sequence[ModelConfig]) -> Order:
    """To serve these models; a view of labels is no content that another process could read."""
    return Order(CONFIG, [replace(config, labels=dict(config.labels)) for config in configs])


def _close_and_trim(close: Callable[[], None]) -> None:
    try:
        close()
    finally:
        return_freed_memory()


def _unique(configs: Sequence[ModelConfig]) -> Sequence[ModelConfig]:
    seen: set[str] = set()
    for config in configs:
        if config.name in seen:
            raise ConfigError(f"Illegal to list model {config.name} multiple times in config list")
        seen.add(config.name)
    return configs
