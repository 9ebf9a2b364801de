"""What runs the graphs of a plain model: ONNX Runtime, OpenVINO, or TensorFlow for ops that ONNX lacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from recserve.errors import ConfigError
from recserve.network.session import Session, Slot
from recserve.plain_model.declared import Declaration, SignatureEntry
from recserve.signatures import Tensor

MODEL_FILE: Final = "model.onnx"
SAVED_MODEL: Final = "saved_model"
"""Directory of a version that holds a SavedModel."""


class Engine(Protocol):
    """A loaded graph. Calls from several threads are safe."""

    @property
    def takes_bytes(self) -> bool:
        """Whether its strings are `bytes`; they are `str` otherwise."""

    def slots(self) -> tuple[tuple[Slot, ...], tuple[Slot, ...]]:
        """Its inputs and outputs."""

    def compute(self, feeds: Mapping[str, Tensor], names: Sequence[str]) -> list[Tensor]:
        """Outputs by name; a RequestError where it refuses the tensors."""


class OnnxGraph:
    """A graph in ONNX Runtime."""

    takes_bytes = False

    def __init__(self, path: Path, threads: int) -> None:
        session = Session(path, threads)
        self.slots, self.compute = session.slots, session.compute


class OpenVinoGraph:
    """A graph in OpenVINO."""

    takes_bytes = False

    def __init__(self, path: Path, precision: str, threads: int) -> None:
        from recserve.network.session_openvino import OpenVinoSession

        session = OpenVinoSession.of_file(path, precision, threads)
        self.slots, self.compute = session.slots, session.compute


Opener = Callable[[str, SignatureEntry], Engine]
"""(signature, its entry) → the engine that runs it."""


def has_plain_model(directory: str | Path) -> bool:
    """Whether a version's directory holds a plain model: a graph, or a SavedModel."""
    folder = Path(directory)
    return (folder / MODEL_FILE).exists() or find_saved_model(folder) is not None


def find_saved_model(folder: Path) -> Path | None:
    """The SavedModel of a version: in `saved_model/` or in the directory itself, or None."""
    for place in (folder / SAVED_MODEL, folder):
        if any((place / file).is_file() for file in ("saved_model.pb", "saved_model.pbtxt")):
            return place
    return None


def find_opener(folder: Path, declaration: Declaration, threads: int) -> Opener:
    """What opens the graphs of a version. Signatures that name one graph share it.

    Raises:
        ConfigError: the directory lacks the graph or SavedModel, or TensorFlow is asked for and not installed.
    """
    if declaration.engine == "tensorflow":
        place = find_saved_model(folder)
        if place is None:
            raise ConfigError(
                "there is no SavedModel",
                where=str(folder),
                hint=f"The engine 'tensorflow' of model.json runs the one in {SAVED_MODEL}/",
            )
        from recserve.importers.savedmodel.runtime import SavedModel

        saved = SavedModel(place, threads)
        return lambda key, entry: saved.signature(entry.graph or key)
    opened: dict[str, Engine] = {}

    def open_graph(_: str, entry: SignatureEntry) -> Engine:
        name = entry.graph or MODEL_FILE
        if name not in opened:
            path = folder / name
            if not path.is_file():
                raise ConfigError(f"there is no {name}", where=str(folder), hint="Export the model to ONNX into it.")
            if declaration.engine == "openvino":
                opened[name] = OpenVinoGraph(path, declaration.precision, threads)
            else:
                opened[name] = OnnxGraph(path, threads)
        return opened[name]

    return open_graph
