"""What else runs a flat network: other engines on tiled inputs, as far as they are installed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import torch

from network_subjects import Array, Feeds, Subject
from network_tensorflow import TensorFlow
from recserve.network import session_openvino
from recserve.network.session import Session

Run = Callable[[], dict[str, Array]]
BASE: Final = "flat onnxruntime fp32"


class Eager:
    """A PyTorch module on tensors that share memory with the feeds."""

    def __init__(self, module: Any, feeds: Feeds) -> None:
        self._module = module
        self._tensors = {name: torch.from_numpy(array.copy()) for name, array in feeds.items()}

    def __call__(self) -> dict[str, Array]:
        """The outputs."""
        with torch.inference_mode():
            return {name: out.numpy() for name, out in self._module(self._tensors).items()}


class Loaded:
    """An engine that takes feeds, bound to some."""

    def __init__(self, run: Callable[[Mapping[str, Array]], dict[str, Array]], feeds: Feeds) -> None:
        self._run, self._feeds = run, feeds

    def __call__(self) -> dict[str, Array]:
        """The outputs."""
        return self._run(self._feeds)


def flat_variants(
    subject: Subject, feeds: Feeds, *, compiles: bool, tensorflow: tuple[Path, Path] | None = None
) -> dict[str, Run]:
    """{variant: run}, the base first.

    Args:
        subject: the network.
        feeds: of the flat network, N rows each.
        compiles: also what needs a C++ compiler and time: torch.compile and AOTInductor.
        tensorflow: a Python that has TensorFlow, and an empty folder; None: it is left out.
    """
    model = subject.flat.to_bytes()
    variants: dict[str, Run] = {BASE: Loaded(Session(model).run, feeds)}
    variants["flat torch fp32"] = Eager(subject.module, feeds)
    if compiles:
        variants["flat torch.compile fp32"] = Eager(torch.compile(subject.module), feeds)
        variants["flat AOTInductor fp32"] = Eager(_ahead_of_time(subject.module, feeds), feeds)
    if tensorflow is not None:
        variants["flat tensorflow fp32"] = TensorFlow(tensorflow[0], model, feeds, tensorflow[1])
    for precision in ("fp32", "bf16"):
        if session_openvino.computes_in(precision):
            loaded = session_openvino.OpenVinoSession(model, precision)
            variants[f"flat openvino {precision}"] = Loaded(loaded.run, feeds)
    return variants


def _ahead_of_time(module: torch.nn.Module, feeds: Feeds) -> Any:
    """A module as compiled C++ for exactly these shapes, which is the best case for it."""
    tensors = {name: torch.from_numpy(array.copy()) for name, array in feeds.items()}
    with torch.no_grad():
        program = torch.export.export(module, (tensors,))
        with tempfile.TemporaryDirectory() as folder:
            package = torch._inductor.aoti_compile_and_package(program, package_path=str(Path(folder) / "net.pt2"))
            return torch._inductor.aoti_load_package(package)
