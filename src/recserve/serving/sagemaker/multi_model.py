"""SageMaker multi-model endpoints: models are loaded, listed, invoked and unloaded by request, in all workers."""

from __future__ import annotations

import asyncio
import errno
import logging
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

from recserve.errors import ConfigError, NotFoundError, RecserveError, RequestError
from recserve.serving.body import Receive, Scope, Send
from recserve.serving.dialects import App, Serving
from recserve.serving.http_answer import HttpAnswer, HttpRequest, json_answer, read_request, send_answer
from recserve.serving.json_document import read_json
from recserve.serving.refusals import MethodNotAllowedError
from recserve.serving.repository import is_version
from recserve.serving.sagemaker.environment import Platform
from recserve.serving.sagemaker.headers import ATTRIBUTES, TARGET_MODEL, echo_attributes, read_attributes
from recserve.serving.sagemaker.tensorflow_calls import answer_tensorflow, error_answer
from recserve.serving.status import as_recserve_error
from recserve.serving.workers.crew import CrewError
from recserve.serving.workers.orders import Order

_log: Final = logging.getLogger("recserve.serving")
_FORBIDDEN: Final = ("/dev", "/proc", "/sys")
LOAD: Final = "sagemaker load"
UNLOAD: Final = "sagemaker unload"
_EXHAUSTED: Final = "Memory exhausted"
PAGE_SIZE: Final = 100
"""Models that one page of the list has, where the caller asks for no other number."""


class AlreadyLoadedError(RequestError):
    """The model is loaded already."""

    default_code = "already_loaded"


class OutOfMemoryError(RecserveError):
    """There is no memory for the model; the platform unloads another one and tries again."""

    default_code = "out_of_memory"


def build_sagemaker_mme(serving: Serving) -> App:
    """The application of the dialect `sagemaker-mme`."""
    return MultiModelApp(serving)


@dataclass
class LoadedModels:
    """The models that requests loaded, with the URLs that they came from. All methods may be called from any thread."""

    serving: Serving
    platform: Platform
    _urls: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.serving.crew.answer(LOAD, lambda order: self._load(*order))
        self.serving.crew.answer(UNLOAD, self._unload)

    def load(self, name: str, url: str) -> None:
        """Load every version below a directory in every worker, all of them or none.

        Raises:
            AlreadyLoadedError: the name is taken.
            NotFoundError: there is no version of a model.
            RequestError: the path is outside the place of models, or a version cannot be opened.
            OutOfMemoryError: there is no memory left, here or in another worker.
            CrewError: another worker could not load it for another reason; it is loaded nowhere.
        """
        self._checked_path(url)
        crew = self.serving.crew
        try:
            crew.tell(Order(LOAD, (name, url), key=_key_of(name)))
        except CrewError as error:
            crew.tell(Order(UNLOAD, name, key=_key_of(name)))
            if _EXHAUSTED in error.problem:  # of what happens elsewhere only the text is known
                raise OutOfMemoryError(error.problem) from None
            raise

    def unload(self, name: str) -> None:
        """Serve the model no longer, in no worker; running requests end first.

        Raises:
            NotFoundError: it is not loaded.
            CrewError: some workers still serve it.
        """
        self.url(name)
        self.serving.crew.tell(Order(UNLOAD, name, key=_key_of(name)))

    def _load(self, name: str, url: str) -> None:
        base = self._checked_path(url)
        with self._lock:  # one load at a time: two of one name would both find it free
            if name in self._urls or name in self.serving.registry.names():
                raise AlreadyLoadedError(f"Model {name} is already loaded.")
            versions = [child for child in base.iterdir() if is_version(child)] if base.is_dir() else []
            if not versions:
                raise NotFoundError(f"Could not find valid base path {url} for servable {name}")
            self._load_versions(name, sorted(versions, key=lambda child: int(child.name)))
            self._urls[name] = url

    def _load_versions(self, name: str, versions: list[Path]) -> None:
        loaded: list[int] = []
        try:
            for directory in versions:
                model = self.serving.repository.load_version(directory, name=name)
                loaded.append(model.version)
        except Exception as caught:
            for version in loaded:
                self.serving.registry.withdraw(name, version)
            if isinstance(caught, MemoryError) or (isinstance(caught, OSError) and caught.errno == errno.ENOMEM):
                raise OutOfMemoryError(f"{_EXHAUSTED}: not enough memory to load model {name}") from None
            if isinstance(caught, ConfigError):
                raise RequestError(f"model {name} cannot be loaded: {caught}", code=caught.code) from None
            raise

    def _checked_path(self, url: str) -> Path:
        """The directory of a URL, which has to lie below /opt/ml."""
        path = self.platform.map_path(url)
        if any(path.is_relative_to(place) for place in _FORBIDDEN):
            raise RequestError(f"Invalid URL: {url}. 'url' cannot start with /dev/, /proc/, or /sys/.")
        if not path.is_absolute() or not path.is_relative_to(self.platform.root.absolute()):
            raise RequestError(f"Invalid URL: {url}. 'url' names a directory below /opt/ml/models.")
        return path

    def _unload(self, name: str) -> None:
        with self._lock:
            if self._urls.pop(name, None) is not None:
                self.serving.repository.withdraw(name)

    def url(self, name: str) -> str:
        """Where a model came from.

        Raises:
            NotFoundError: it is not loaded.
        """
        url = self._urls.get(name)
        if url is None:
            raise NotFoundError(f"Model {name} is not loaded yet.")
        return url

    def page(self, first: int, size: int) -> tuple[list[dict[str, str]], int | None]:
        """Models from the `first` one on, by name, and where the next page begins; None at the end."""
        with self._lock:
            everything = sorted(self._urls.items())
        models = [describe(name, url) for name, url in everything[first : first + size]]
        return models, first + size if first + size < len(everything) else None


def _key_of(name: str) -> str:
    return f"sagemaker {name}"


def describe(name: str, url: str) -> dict[str, str]:
    """A model as the lists of the platform show it."""
    return {"modelName": name, "modelUrl": url}


class MultiModelApp:
    """/ping, /models and what is below it."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._models = LoadedModels(serving, Platform(serving.environment))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request: HttpRequest | None = None
        try:
            request = await read_request(scope, receive, self._serving.limits)
            if request is None:  # nobody is there to answer
                return
            answer = await self._answer(request, scope["query_string"].decode("latin-1"))
        except Exception as caught:
            answer = _refuse(as_recserve_error(caught), caught, request)
        await send_answer(send, answer, has_body=scope["method"] != "HEAD")

    async def _answer(self, request: HttpRequest, query: str) -> HttpAnswer:
        head, *rest = request.path.strip("/").split("/")
        verb = request.method
        match [head, *rest]:
            case ["ping"]:
                _allow(verb, "GET")
                return HttpAnswer(200, content_type="")
            case ["invocations"]:
                _allow(verb, "POST")
                return await self._invoke(request, request.headers.get(TARGET_MODEL, ""))
            case ["models"] if verb == "POST":
                return await asyncio.to_thread(self._load, request)
            case ["models"]:
                _allow(verb, "GET", "POST")
                return self._list(query)
            case ["models", *parts, "invoke"] if parts and verb == "POST":
                return await self._invoke(request, "/".join(parts))
            case ["models", *parts] if verb == "DELETE":
                name = "/".join(parts)
                await asyncio.to_thread(self._models.unload, name)
                return json_answer({"success": f"Successfully unloaded model {name}."})
            case ["models", *parts]:
                _allow(verb, "GET", "DELETE")
                name = "/".join(parts)
                return json_answer(describe(name, self._models.url(name)))
        raise NotFoundError("Not Found", code="route_not_found")

    async def _invoke(self, request: HttpRequest, name: str) -> HttpAnswer:
        if not name:
            raise RequestError("Invocation request does not contain model name.")
        self._models.url(name)  # refuses one that is not loaded
        attributes = read_attributes(request.headers.get(ATTRIBUTES, ""))
        answer = await self._serving.threads.run(lambda: answer_tensorflow(self._serving, request, attributes, name))
        echoed = echo_attributes(request.headers)
        return HttpAnswer(answer.status, answer.body, answer.content_type, answer.headers + echoed)

    def _load(self, request: HttpRequest) -> HttpAnswer:
        document = read_json(request.body)
        given = document if isinstance(document, dict) else {}
        name, url = given.get("model_name"), given.get("url")
        if not (isinstance(name, str) and name and isinstance(url, str) and url):
            raise RequestError("the body is not {'model_name': ..., 'url': ...} with two texts")
        self._models.load(name, url)
        return json_answer({"success": f"Successfully loaded model {name}."})

    def _list(self, query: str) -> HttpAnswer:
        options = {key: values[-1] for key, values in parse_qs(query).items()}
        first = _number(options, "next_page_token", 0)
        models, following = self._models.page(first, _number(options, "limit", PAGE_SIZE) or PAGE_SIZE)
        document: dict[str, Any] = {"models": models}
        return json_answer(document if following is None else document | {"nextPageToken": str(following)})


def _number(options: dict[str, str], name: str, default: int) -> int:
    text = options.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise RequestError(f"{name} '{text[:40]}' is no number")
    return int(text)


def _allow(verb: str, *allowed: str) -> None:
    if verb not in allowed:
        raise MethodNotAllowedError("Method Not Allowed", allowed=", ".join(allowed))


def _refuse(error: RecserveError, caught: Exception, request: HttpRequest | None) -> HttpAnswer:
    if error is not caught:
        _log.exception("A request failed", exc_info=caught)
    answer = error_answer(error, request.headers if request else None)
    status = {AlreadyLoadedError: 409, OutOfMemoryError: 507}.get(type(error), answer.status)
    return HttpAnswer(status, answer.body, answer.content_type, answer.headers)
