"""model.json: what the author of a plain model declares beside its graph.

    {
      "signatures": {
        "serving_default": {"inputs": {"x": "input_1"}, "outputs": {"y": {"tensor": "dense", "shape": [null, 1]}}},
        "by_class": {"method": "classify", "inputs": {"x": "input_1"}, "outputs": {"scores": "probabilities"},
                     "class_labels": ["car", "bike"]}
      },
      "any_signature": "serving_default",
      "version_labels": ["stable"],
      "engine": "onnxruntime",
      "precision": "fp32"
    }

Without the file, or without `signatures`, one `serving_default` takes and gives what the graph does, under its names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import pydantic

from recserve.errors import ConfigError, suggest
from recserve.signatures import DEFAULT_SIGNATURE, DTYPES, Method

DECLARATION_FILE: Final = "model.json"
MAX_BYTES: Final = 16 << 20
"""Bytes of a model.json."""


class TensorEntry(pydantic.BaseModel, extra="forbid", strict=True, frozen=True):
    """An input or output of a signature.

    Attributes:
        tensor: what the graph calls it; the name of the entry if empty.
        dtype: what callers send or get, where that differs from the graph's: values are converted. A complex dtype
            stands for a graph tensor of floats with one more axis of size 2, for real and imaginary part, as the ONNX
            operators for Fourier transforms have it.
        shape: what callers are told, where that differs from the graph's; null where a size varies.
    """

    tensor: str = ""
    dtype: str | None = None
    shape: list[int | None] | None = None

    @pydantic.field_validator("dtype")
    @classmethod
    def _is_dtype(cls, dtype: str | None) -> str | None:
        if dtype is not None and dtype not in DTYPES:
            raise ValueError(f"there is no dtype {dtype!r}. {suggest(dtype, DTYPES) or f'It is one of {DTYPES}.'}")
        return dtype


class SignatureEntry(pydantic.BaseModel, extra="forbid", strict=True, frozen=True):
    """One way to call the model.

    Attributes:
        method: `classify` needs an output `scores`, `regress` one named `outputs`.
        inputs: name → tensor of the graph; if left out, all that the graph takes.
        outputs: name → tensor of the graph; if left out, all that the graph gives.
        class_labels: of `classify`, one for each column of `scores`; they become the output `classes`.
        graph: the file of this signature's graph in the version's directory, where it is not `model.onnx`; of the
            engine `tensorflow`, the SavedModel's signature, where it has another name.
    """

    method: Method = "predict"
    inputs: dict[str, str | TensorEntry] | None = None
    outputs: dict[str, str | TensorEntry] | None = None
    class_labels: list[str] | None = None
    graph: str = ""

    @pydantic.field_validator("graph")
    @classmethod
    def _is_beside(cls, graph: str) -> str:
        if "/" in graph or "\\" in graph or graph in {".", ".."}:
            raise ValueError(f"the graph {graph!r} stands outside the version's directory")
        return graph

    @pydantic.model_validator(mode="after")
    def _fits_its_method(self) -> SignatureEntry:
        needed: dict[Method, Literal["scores", "outputs"]] = {"classify": "scores", "regress": "outputs"}
        name = needed.get(self.method)
        if name is not None and name not in (self.outputs or {}):
            raise ValueError(f'a {self.method} signature names its output {name!r} under "outputs"')
        if self.class_labels is not None and (self.method != "classify" or "classes" in (self.outputs or {})):
            raise ValueError("class_labels go with a classify signature that has no output 'classes' of its own")
        return self


class Declaration(pydantic.BaseModel, extra="forbid", strict=True, frozen=True):
    """The whole file.

    Attributes:
        signatures: by name; if empty, one `serving_default` of the graph's own names.
        any_signature: the signature that answers to names which are not listed; null to refuse them.
        version_labels: labels that stand for this version from its publication on.
        engine: what runs the model: `onnxruntime` and `openvino` the graphs in `*.onnx`, `tensorflow` the SavedModel in
            the directory `saved_model` (or the version's directory itself), for ops that ONNX lacks; TensorFlow must be
            installed. `openvino` prepares code for each shape that it meets, which takes milliseconds.
        precision: `fp32`; or `bf16` for products in bfloat16 with sums in float32, which `openvino` alone has: answers
            then differ from the graph's by about 0.4 % of each product.
    """

    signatures: dict[str, SignatureEntry] = {}
    any_signature: str | None = None
    version_labels: list[str] = []
    engine: Literal["onnxruntime", "openvino", "tensorflow"] = "onnxruntime"
    precision: Literal["fp32", "bf16"] = "fp32"

    @pydantic.model_validator(mode="after")
    def _has_precision(self) -> Declaration:
        if self.precision != "fp32" and self.engine != "openvino":
            raise ValueError(f"engine '{self.engine}' does not compute in {self.precision}; the engine 'openvino' does")
        return self

    def entries(self) -> dict[str, SignatureEntry]:
        """The signatures, with the one that is there without any."""
        return self.signatures or {DEFAULT_SIGNATURE: SignatureEntry()}


def load_declaration(directory: Path) -> Declaration:
    """Read a model's model.json; what holds without it where there is none.

    Raises:
        ConfigError: it cannot be read, is no JSON, or declares something unknown or contradictory.
    """
    path = directory / DECLARATION_FILE
    if not path.exists():
        return Declaration()
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise ConfigError(f"the file has {size} bytes, more than {MAX_BYTES}", where=str(path))
        declaration = Declaration.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"the file cannot be read: {error.strerror}", where=str(path)) from error
    except pydantic.ValidationError as error:
        deepest = max(error.errors(), key=lambda found: len(found["loc"]))  # of a text or an entry, the entry
        place = ".".join(str(part) for part in deepest["loc"] if part != TensorEntry.__name__)
        raise ConfigError(deepest["msg"], where=f"{path}: {place}" if place else str(path)) from None
    fallback = declaration.any_signature
    if fallback is not None and fallback not in declaration.entries():
        raise ConfigError(
            f"any_signature names no signature: {fallback!r}",
            where=str(path),
            hint=suggest(fallback, declaration.entries()),
        )
    return declaration
