"""A split network as files: one ONNX file a part, and what crosses between them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import orjson
import pydantic

from recserve.errors import BundleError, ConfigError
from recserve.network.draft import Change
from recserve.network.item_side import StorePlan
from recserve.network.model import TensorSpec
from recserve.network.split import Part, SplitNetwork, SplitReport
from recserve.network.unhandled import Unhandled
from recserve.rates import Rate

SPLIT_FILE: Final = "split.json"


class _Tensor(pydantic.BaseModel, extra="forbid", strict=True):
    name: str
    dtype: str
    dims: list[int | str | None]

    def spec(self) -> TensorSpec:
        return TensorSpec(self.name, self.dtype, tuple(self.dims))


class _Part(pydantic.BaseModel, extra="forbid", strict=True):
    inputs: list[_Tensor]
    outputs: list[_Tensor]


class _Report(pydantic.BaseModel, extra="forbid", strict=True):
    nodes: dict[str, int]
    flops: dict[str, int]
    flat_flops: int
    item_bytes: int
    changes: list[dict[str, str]]
    storing: dict[str, Any] | None = None
    unhandled: list[dict[str, Any]] = []


class _Document(pydantic.BaseModel, extra="forbid", strict=True):
    parts: dict[str, _Part]
    crossings: dict[str, str]
    report: _Report


def _tensors(specs: dict[str, TensorSpec]) -> list[dict[str, Any]]:
    return [{"name": spec.name, "dtype": spec.dtype, "dims": list(spec.dims)} for spec in specs.values()]


def save_split(split: SplitNetwork, folder: Path) -> None:
    """Write `<rate>.onnx` for each part, and split.json."""
    parts = {part.rate: part for part in (split.item, split.request, split.candidate) if part is not None}
    for rate, part in parts.items():
        (folder / f"{rate.value}.onnx").write_bytes(part.model)
    report = split.report
    document = {
        "parts": {
            rate.value: {"inputs": _tensors(part.inputs), "outputs": _tensors(part.outputs)}
            for rate, part in parts.items()
        },
        "crossings": {name: rate.value for name, rate in split.crossings.items()},
        "report": {
            "nodes": {rate.value: count for rate, count in report.nodes.items()},
            "flops": {rate.value: count for rate, count in report.flops.items()},
            "flat_flops": report.flat_flops,
            "item_bytes": report.item_bytes,
            "changes": [asdict(change) for change in report.changes],
            "storing": None if report.storing is None else report.storing.as_dict(),
            "unhandled": [node.as_dict() for node in report.unhandled],
        },
    }
    (folder / SPLIT_FILE).write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))


def load_split(folder: Path) -> SplitNetwork:
    """Read what `save_split` wrote.

    Raises:
        BundleError: a file is missing or not what it should be; names it.
    """
    path = folder / SPLIT_FILE
    try:
        document = _Document.model_validate(orjson.loads(path.read_bytes()))
        crossings = {name: Rate(rate) for name, rate in document.crossings.items()}
        parts = {Rate(name): _load_part(folder, Rate(name), part) for name, part in document.parts.items()}
        report = SplitReport(
            nodes={Rate(rate): count for rate, count in document.report.nodes.items()},
            flops={Rate(rate): count for rate, count in document.report.flops.items()},
            flat_flops=document.report.flat_flops,
            item_bytes=document.report.item_bytes,
            changes=tuple(Change(**change) for change in document.report.changes),
            storing=None if document.report.storing is None else StorePlan.from_dict(document.report.storing),
            unhandled=tuple(Unhandled.from_dict(node) for node in document.report.unhandled),
        )
        candidate = parts[Rate.CANDIDATE]
    except (OSError, ValueError, KeyError, TypeError, ConfigError) as error:
        raise BundleError(f"cannot be read: {error}", code="bad_split", where=str(path)) from error
    return SplitNetwork(parts.get(Rate.ITEM), parts.get(Rate.REQUEST), candidate, crossings, report)


def _load_part(folder: Path, rate: Rate, part: _Part) -> Part:
    return Part(
        rate=rate,
        model=(folder / f"{rate.value}.onnx").read_bytes(),
        inputs={tensor.name: tensor.spec() for tensor in part.inputs},
        outputs={tensor.name: tensor.spec() for tensor in part.outputs},
    )
