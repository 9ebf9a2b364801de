"""Where models come from: directories, opened and published, and found again when they are unloaded and asked for."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Final

from recserve.errors import ConfigError, InvariantError, NotFoundError, RecserveError, suggest
from recserve.serving import observation
from recserve.serving.contract import OpenModel, ServedModel
from recserve.serving.refusals import ModelNotFoundError
from recserve.serving.registry import Registry
from recserve.serving.workers.crew import Crew
from recserve.serving.workers.orders import Order

LOAD: Final = "load"
UNLOAD: Final = "unload"

_log: Final = logging.getLogger("recserve.serving")


@dataclass
class Repository:
    """The directories of the models that a process may serve. All methods may be called from any thread.

    `load` and `unload` are for callers, and reach every worker; the other methods change this process alone.

    Attributes:
        registry: where opened models are published.
        open_model: opens the directory of a version.
        prepare: called with each opened model and its directory before it is served, such as to warm it up; what it
            raises fails the load.
        crew: the workers that load and unload what this one does by request.
    """

    registry: Registry
    open_model: OpenModel
    prepare: Callable[[ServedModel, Path], None] | None = None
    crew: Crew = field(default_factory=Crew)
    _bases: dict[str, Path] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.crew.answer(LOAD, lambda order: self._load_as_told(*order))
        self.crew.answer(UNLOAD, self.withdraw)

    def know(self, directory: str | Path) -> None:
        """Remember where the versions of a model stand, from the directory of one version."""
        base = Path(directory).absolute().parent
        with self._lock:
            self._bases[base.name] = base

    def known(self) -> dict[str, Path]:
        """Model name → directory of its versions, of all that were ever known."""
        with self._lock:
            return dict(self._bases)

    def load(self, name: str, *, replaces: bool = False) -> ServedModel:
        """Open the highest version of a known model and serve it, in every worker.

        Args:
            name: of the model.
            replaces: whether it may take the place of the same version, once it is open.

        Returns:
            The model as this process has published it.

        Raises:
            NotFoundError: the name is not known.
            ConfigError: there is no version, it cannot be opened, or it is served already (code `version_served`).
            CrewError: it is served here, and not by every worker.
        """
        with self._lock:
            base = self._bases.get(name)
            names = list(self._bases)
        if base is None:
            hint = suggest(name, names) or "Name a model that the server was started with."
            raise NotFoundError(f"no model {name!r} in the repository", code="model_not_found", hint=hint)
        order = Order(LOAD, (str(highest_version(base)), replaces), key=_key_of(name))
        model: ServedModel = self.crew.tell(order)
        return model

    def unload(self, name: str) -> None:
        """Serve no version of a model any longer, in no worker; running requests end first.

        Raises:
            NotFoundError: none is served.
            CrewError: it is no longer served here, and by some workers still is.
        """
        observation.check_model(name)
        if not self.registry.is_served(name):
            with self.registry.lease(name):  # tells what there is
                pass
        self.crew.tell(Order(UNLOAD, name, key=_key_of(name)))

    def load_version(
        self, directory: str | Path, source: str | None = None, name: str | None = None, *, replaces: bool = False
    ) -> ServedModel:
        """Open the directory of one version and serve it; on failure the version is listed as ended, with the reason.

        Args:
            directory: `<base>/<name>/<version>`.
            source: the `expect`ed directory that it is, as it was named there.
            name: serve it under this name; it is else that of the directory.
            replaces: whether it may take the place of the same version.

        Raises:
            ConfigError: it cannot be opened, or is served already (code `version_served`).
        """
        folder = Path(directory)
        key = version_key(folder)
        began_s = monotonic()
        if key is not None:
            self.registry.begin(name or key[0], key[1])
        try:
            model = self.open_model(str(directory)) if name is None else self.open_model(str(directory), name)
            try:
                if name is not None and model.name != name:
                    raise ConfigError(
                        f"the version is of model {model.name!r}, and is to be served as {name!r}",
                        code="other_model",
                        where=str(directory),
                        hint="Serve it under its own name.",
                    )
                if self.prepare is not None:
                    self.prepare(model, folder)
                self.registry.publish(model, source, replaces=replaces)
                for label in getattr(model, "version_labels", ()):
                    self.registry.set_label(model.name, label, model.version)
            except Exception:
                model.close()
                raise
        except Exception as caught:
            error = caught if isinstance(caught, RecserveError) else _foreign(caught)
            if key is not None:
                self.registry.fail(name or key[0], key[1], error, source)
            raise
        if key is not None and (model.name, model.version) != (name or key[0], key[1]):
            self.registry.discard(name or key[0], key[1])  # the directory has another name than the model in it
        self.know(folder)
        took_s = monotonic() - began_s
        _log.info("Model %r version %d is served, after %.1f s, from %s", model.name, model.version, took_s, directory)
        return model

    def withdraw(self, name: str) -> None:
        """Serve no version of a model any longer in this process; running requests end first."""
        for state in self.registry.states(name):
            if state.state == "AVAILABLE":
                with suppress(ModelNotFoundError):  # the lifecycle withdraws it this moment
                    self.registry.withdraw(name, state.version)

    def _load_as_told(self, directory: str, replaces: bool) -> ServedModel | None:
        key = version_key(Path(directory))
        if self.crew.is_catching_up and key is not None and self.registry.is_available(*key):
            return None  # this process is new, and so is what it has loaded
        return self.load_version(directory, replaces=replaces)


def _key_of(name: str) -> str:
    """A model that was loaded and then unloaded needs no loading by new workers."""
    return f"model {name}"


def version_key(directory: Path) -> tuple[str, int] | None:
    """(name, version) that a directory `<base>/<name>/<version>` stands for, or None where its name is no number."""
    folder = directory.absolute()
    if not is_version(folder):
        return None
    return folder.parent.name, int(folder.name)


def is_version(directory: Path) -> bool:
    """Whether the directory's name is the number of a version; leading zeros are fine."""
    return directory.name.isascii() and directory.name.isdigit() and int(directory.name) < 1 << 63


def highest_version(base: Path) -> Path:
    """The directory of the highest version below `<base>/<name>`.

    Raises:
        ConfigError: there is no directory, or none below it has a number for a name.
    """
    versions = [child for child in base.iterdir() if is_version(child) and child.is_dir()] if base.is_dir() else []
    if not versions:
        raise ConfigError("there is no version", where=str(base), hint="Put the model into <name>/<version>/.")
    return max(versions, key=lambda child: int(child.name))


def find_versions(path: str | Path) -> list[Path]:
    """The directories of versions that a path means: itself, the highest version in it, or that of each model in it.

    Raises:
        ConfigError: there is no such directory, or no version in it.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise ConfigError(
            "there is no such directory", where=str(path), hint="Give <base>/<name>/<version>, such as models/rank/7."
        )
    children = sorted(child for child in folder.iterdir() if child.is_dir())
    if any(is_version(child) for child in children):
        return [highest_version(folder)]
    models = [child for child in children if any(is_version(inner) for inner in child.iterdir() if inner.is_dir())]
    return [highest_version(model) for model in models] if models else [folder]


def _foreign(caught: Exception) -> RecserveError:
    return InvariantError(f"the model could not be loaded: {type(caught).__name__}: {caught}")
