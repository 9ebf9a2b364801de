"""Writes small graphs by hand, exports torch modules, and holds split networks to the flat ones."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from recserve.network.evaluate import run_flat, run_split
from recserve.network.model import Network
from recserve.network.rewrites import PASSES, Rewrite
from recserve.network.split import SplitNetwork, split_network
from recserve.rates import Rate

Dims = Sequence[int | str]


class Sketch:
    """A graph under construction; methods answer with names of values."""

    def __init__(self, seed: int = 0, opset: int = 18) -> None:
        self.rng = np.random.default_rng(seed)
        self.opset = opset
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.rates: dict[str, Rate] = {}
        self.dims: dict[str, Dims] = {}

    def input(self, name: str, rate: Rate, *dims: int | str, dtype: int = TensorProto.FLOAT) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, dtype, ["N", *dims]))
        self.rates[name], self.dims[name] = rate, dims
        return name

    def weight(self, *shape: int) -> str:
        return self.constant(self.rng.normal(size=shape).astype(np.float32) / max(shape[0], 1) ** 0.5)

    def constant(self, array: Any, dtype: Any = None) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def ints(self, *values: int) -> str:
        return self.constant(values, np.int64)

    def op(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [f"v{len(self.nodes)}" + (f"_{i}" if outputs > 1 else "") for i in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, **attributes))
        return names if outputs > 1 else names[0]

    def linear(self, x: str, before: int, after: int) -> str:
        return self.op("Gemm", x, self.weight(after, before), self.weight(after), transB=1)

    def output(self, value: str, name: str = "ctr", dims: Dims = (1,)) -> None:
        self.nodes.append(helper.make_node("Identity", [value], [name]))
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *dims]))

    def network(self) -> Network:
        graph = helper.make_graph(self.nodes, "sketch", self.inputs, self.outputs, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=9)
        return Network.from_bytes(model.SerializeToString(), "sketch")


def draw_feeds(
    network: Network, rates: Mapping[str, Rate], seed: int = 0, *, items: int = 5, rows: int = 7, steps: int = 4
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], Any]:
    """Item, request and candidate feeds and the item index; every dynamic axis has size `steps`."""
    rng = np.random.default_rng(seed)
    counts = {Rate.ITEM: items, Rate.REQUEST: 1, Rate.CANDIDATE: rows}
    feeds: dict[Rate, dict[str, Any]] = {rate: {} for rate in counts}
    for name, spec in network.inputs.items():
        shape = [counts[rates[name]], *(d if isinstance(d, int) else steps for d in spec.dims[1:])]
        is_length = spec.dtype == "int64"
        array = rng.integers(1, steps + 1, shape) if is_length else rng.normal(size=shape)
        feeds[rates[name]][name] = array.astype(spec.dtype)
    return feeds[Rate.ITEM], feeds[Rate.REQUEST], feeds[Rate.CANDIDATE], rng.integers(0, items, rows)


def assert_equal_outputs(flat: Mapping[str, Any], got: Mapping[str, Any], tolerance: float = 1e-5) -> None:
    assert flat.keys() == got.keys()
    for name, expected in flat.items():
        assert got[name].shape == expected.shape, name
        scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
        np.testing.assert_allclose(got[name], expected, rtol=tolerance, atol=tolerance * scale, err_msg=name)


def prove(
    network: Network, rates: Mapping[str, Rate], passes: Sequence[Rewrite] = PASSES, seed: int = 0, **counts: int
) -> SplitNetwork:
    """Split, and hold the split to the flat network on drawn inputs."""
    split = split_network(network, rates, passes)
    feeds = draw_feeds(network, rates, seed, **counts)
    assert_equal_outputs(run_flat(network, *feeds), run_split(split, *feeds))
    return split


def ops_of(model: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_model_from_string(model).graph.node]


@pytest.fixture(scope="session")
def sketch() -> type[Sketch]:
    return Sketch


@pytest.fixture(scope="session", name="prove")
def prove_fixture() -> Callable[..., SplitNetwork]:
    return prove


@pytest.fixture(scope="session", name="ops_of")
def ops_fixture() -> Callable[[bytes], list[str]]:
    return ops_of


@pytest.fixture(scope="session", name="draw_feeds")
def feeds_fixture() -> Callable[..., Any]:
    return draw_feeds


class Exporter:
    """Exports torch modules with the class attributes `rates`, `shapes`, `goals`, and `is_fixed` (no symbolic L)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, module: Any, is_dynamo: bool) -> Network:
        import torch

        torch.manual_seed(0)
        model = module().eval()
        for layer in model.modules():
            if isinstance(layer, torch.nn.BatchNorm1d) and layer.running_mean is not None:
                layer.running_mean.normal_()
                layer.running_var.uniform_(0.5, 2)
        args = tuple(
            torch.tensor([1, 5, 3]) if name.endswith("lengths") else torch.randn(3, *shape)
            for name, shape in module.shapes.items()
        )
        goals = list(getattr(module, "goals", ("ctr",)))
        shared: dict[str, Any] = {"input_names": list(module.rates), "output_names": goals, "dynamo": is_dynamo}
        has_steps = not getattr(module, "is_fixed", False)
        axes = [{0: "N", 1: "L"} if name == "hist" and has_steps else {0: "N"} for name in module.rates]
        path = self.folder / f"{module.__name__}.{is_dynamo}.onnx"
        logging.disable(logging.WARNING)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if is_dynamo:
                    dims = tuple({k: torch.export.Dim(v) for k, v in a.items()} for a in axes)
                    parameters = inspect.signature(model.forward).parameters.values()
                    is_variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
                    spec = (dims,) if is_variadic else dims
                    torch.onnx.export(model, args, str(path), dynamic_shapes=spec, verbose=False, **shared)
                else:
                    named = dict(zip(module.rates, axes, strict=True)) | {goal: {0: "N"} for goal in goals}
                    torch.onnx.export(model, args, str(path), dynamic_axes=named, **shared)
        finally:
            logging.disable(logging.NOTSET)
        return Network.load(path)


@pytest.fixture(scope="session")
def export(tmp_path_factory: pytest.TempPathFactory) -> Exporter:
    return Exporter(tmp_path_factory.mktemp("exported"))


@pytest.fixture(scope="session")
def prove_export(export: Exporter) -> Callable[..., None]:
    """Export a model, hold its split to the flat graph, and its candidate part to a share of the flat operations."""

    def hold(module: Any, is_dynamo: bool, share: float | tuple[float, float], steps: int) -> None:
        done = prove(export(module, is_dynamo), module.rates, rows=20, items=11, steps=steps)
        bound = share if isinstance(share, float) else share[0 if is_dynamo else 1]
        assert done.report.flops[Rate.CANDIDATE] <= bound * done.report.flat_flops

    return hold


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each model of a file's FLAT_SHARE by both exporters; with dynamo those that are not QUICK are slow."""
    if "prove_export" in metafunc.fixturenames:
        shares, quick = metafunc.module.FLAT_SHARE, metafunc.module.QUICK
        cases = [
            pytest.param(module, is_dynamo, marks=pytest.mark.slow if is_dynamo and module not in quick else ())
            for module in shares
            for is_dynamo in (False, True)
        ]
        names = ["dynamo" if case.values[1] else "legacy" for case in cases]
        ids = [f"{case.values[0].__name__}-{name}" for case, name in zip(cases, names, strict=True)]
        metafunc.parametrize(("module", "is_dynamo"), cases, ids=ids)
