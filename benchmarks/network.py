"""The dense network by model, engine and precision: staged against the same network run flat, one core, one run.

Features, lookups and the gather of payloads are left out. A staged request runs the request part once and the candidate
part on N candidates whose item tensors are at hand; a flat one runs the network as exported on N rows of each input.

- `flat`: ONNX Runtime, PyTorch eager, OpenVINO in fp32 and bf16, and on request torch.compile.
- `staged`: ONNX Runtime in one call, and in each engine and precision the way that measuring chose.

The floor is the staged operations at the speed of a large matrix product in that precision, plus the item tensors'
bytes at the speed of a copy, all measured in the same run. The difference is the largest of any output against flat
ONNX Runtime in fp32, relative to max(1, |value|); the order is the AUC of the scores against the better half of the
exact ones.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper

from network_models import NETWORKS, STEPS
from recserve import FeatureSet
from recserve.errors import RecserveError
from recserve.network import session_openvino
from recserve.network.blocks import BlockRunner
from recserve.network.engine_choice import EngineOptions, measure
from recserve.network.engines import EngineChoice, open_engine
from recserve.network.model import Network
from recserve.network.session import Session
from recserve.network.split import SplitNetwork, split_network
from recserve.rates import Rate
from recserve.staging.cuts import NetworkInput, input_rates, match_inputs
from recserve.staging.quality import auc
from recserve.staging.tensors import longest_steps
from recserve.training.export import export_module
from results import (
    Case,
    make_header,
    measure_bandwidth,
    measure_flops,
    pin_to_one_core,
    print_table,
    time_in_turns,
    write_json,
)
from workloads import Workload

Array = np.ndarray[Any, Any]
Feeds = dict[str, Array]
SIZES: Final = (500,)
_STAGED: Final = (("onnxruntime", "fp32"), ("openvino", "fp32"), ("openvino", "bf16"))


@dataclass
class Subject:
    """One network, exported and split."""

    name: str
    module: torch.nn.Module
    flat: Network
    split: SplitNetwork
    inputs: tuple[NetworkInput, ...]

    def draw(self, size: int, rng: np.random.Generator) -> tuple[Feeds, Feeds, Feeds]:
        """(item inputs [N, ...], request inputs [1, ...], candidate inputs [N, ...])."""
        rates = input_rates(self.inputs)
        feeds: dict[Rate, Feeds] = {rate: {} for rate in Rate}
        for name, spec in self.flat.inputs.items():
            rows = 1 if rates[name] is Rate.REQUEST else size
            shape = [rows, *(d if isinstance(d, int) else STEPS for d in spec.dims[1:])]
            is_length = spec.dtype == "int64"
            array = np.full(shape, STEPS) if is_length else rng.normal(size=shape, scale=0.3)
            feeds[rates[name]][name] = array.astype(spec.dtype)
        return feeds[Rate.ITEM], feeds[Rate.REQUEST], feeds[Rate.CANDIDATE]


def prepare(workload: Workload, folder: Path) -> Subject:
    """Export and split a network."""
    features = FeatureSet.from_fg_json({"features": workload.entries})
    torch.manual_seed(0)
    module = workload.build(features.outputs).eval()
    flat = Network.load(export_module(module, features.outputs, folder))
    inputs = match_inputs(features.graph, flat)
    return Subject(workload.name, module, flat, split_network(flat, input_rates(inputs)), inputs)


class Staged:
    """The request part and the candidate part, as a server runs them."""

    def __init__(self, subject: Subject, choice: EngineChoice, feeds: tuple[Feeds, Feeds, Feeds]) -> None:
        items, self._request, candidates = feeds
        split = subject.split
        self.choice = choice
        self._session = None if split.request is None else Session(split.request.model)
        stored = items | (
            {} if split.item is None else Session(split.item.model).run(_needed(items, split.item.inputs))
        )
        crossings = split.crossings
        self._known = {n: stored[n] for n, rate in crossings.items() if rate is Rate.ITEM} | candidates
        self._needed = {} if split.request is None else _needed(self._request, split.request.inputs)
        self._runner = BlockRunner(split.candidate, open_engine(split.candidate.model, choice), choice)
        self._rows = len(next(iter(self._known.values())))

    def run(self) -> dict[str, Array]:
        """The outputs of one request."""
        tensors = self._request | self._known
        if self._session is not None:
            tensors |= self._session.run(self._needed)
        return self._runner.run(tensors, self._rows)


def _needed(feeds: Feeds, names: Mapping[str, Any]) -> Feeds:
    return {name: feeds[name] for name in names}


def choose_ways(subject: Subject, size: int, seconds: float) -> list[EngineChoice]:
    """The default, and the fastest way of each engine and precision that runs here."""
    from recserve.network.engine_choice import list_ways

    longest = longest_steps([entry for entry in subject.inputs if entry.rate is not Rate.ITEM])
    part = subject.split.candidate
    found = [EngineChoice()]
    for engine, precision in _STAGED:
        options = EngineOptions(engine=engine, seconds=seconds, candidates=size)
        try:
            if precision == "bf16" and not session_openvino.computes_in("bf16"):
                continue
            ways = list_ways(part, options, precision, longest)
            us = measure(part, ways, options, STEPS)
        except RecserveError as error:
            print(f"{subject.name}: {engine} {precision} is left out: {error}", flush=True)
            continue
        able = [way for way in ways if way.label in us]
        if not able:
            print(f"{subject.name}: {engine} {precision} is left out: no way of it runs", flush=True)
            continue
        best = min(able, key=lambda way: us[way.label])
        found += [best] if best not in found else []
    return found


def flat_variants(
    subject: Subject, feeds: tuple[Feeds, Feeds, Feeds], *, compiles: bool
) -> dict[str, Callable[[], dict[str, Array]]]:
    """What runs the network as exported, on tiled inputs."""
    rows = max(len(array) for part in feeds for array in part.values())
    every = feeds[0] | feeds[1] | feeds[2]
    tiled = {n: np.ascontiguousarray(np.broadcast_to(a, (rows, *a.shape[1:]))) for n, a in every.items()}
    needed = {name: tiled[name] for name in subject.flat.inputs}
    model = subject.flat.to_bytes()
    session = Session(model)
    variants: dict[str, Callable[[], dict[str, Array]]] = {"flat onnxruntime fp32": lambda: session.run(needed)}
    tensors = {name: torch.from_numpy(array.copy()) for name, array in tiled.items()}

    def eager(module: Any) -> Callable[[], dict[str, Array]]:
        def run() -> dict[str, Array]:
            with torch.inference_mode():
                return {name: out.numpy() for name, out in module(tensors).items()}

        return run

    variants["flat torch fp32"] = eager(subject.module)
    if compiles:
        variants["flat torch.compile fp32"] = eager(torch.compile(subject.module))
    for precision in ("fp32", "bf16"):
        if session_openvino.computes_in(precision):
            loaded = session_openvino.OpenVinoSession(model, precision)
            variants[f"flat openvino {precision}"] = lambda loaded=loaded: loaded.run(needed)  # type: ignore[misc]
    return variants


def run_subject(subject: Subject, size: int, options: argparse.Namespace, ceilings: Mapping[str, float]) -> list[Case]:
    """All variants of one network at N = `size`, in turns."""
    feeds = subject.draw(size, np.random.default_rng(options.seed))
    variants = flat_variants(subject, feeds, compiles=options.compile)
    for choice in choose_ways(subject, size, options.seconds / 2):
        staged = Staged(subject, choice, feeds)
        variants[f"staged {choice.label}"] = staged.run
    exact = variants["flat onnxruntime fp32"]()
    answers = {name: run() for name, run in variants.items()}
    taken = time_in_turns(variants, options.seconds)
    base = float(np.median(taken["flat onnxruntime fp32"]))
    report = subject.split.report
    work = report.flops.get(Rate.REQUEST, 0) + report.flops.get(Rate.CANDIDATE, 0) * size
    cases: list[Case] = []
    for name, values in taken.items():
        p50 = float(np.median(values))
        case: Case = {"case": subject.name, "variant": name, "traffic": "T4", "n": size, "p50_us": p50}
        case |= {"p99_us": float(np.quantile(values, 0.99)), "us_per_candidate": p50 / size, "calls": len(values)}
        case |= {"items_per_s_core": size / p50 * 1e6, "ratio_to_flat": base / p50}
        case |= compare(answers[name], exact)
        if name.startswith("staged"):
            peak = ceilings["bf16" if "bf16" in name else "fp32"]
            case["floor_us"] = 1e6 * (work / peak + report.item_bytes * size / ceilings["copy"])
            case["item_bytes"] = report.item_bytes
        cases.append(case)
    return cases


def compare(found: Mapping[str, Array], exact: Mapping[str, Array]) -> dict[str, float]:
    """How far the outputs are from the exact ones, and whether they order the candidates alike."""
    difference = max(float(np.max(np.abs(found[n] - w) / np.maximum(1, np.abs(w)))) for n, w in exact.items())
    name = next(iter(exact))
    want = exact[name].ravel()
    order = auc((want > np.median(want)).astype(np.int64), np.asarray(found[name].ravel(), np.float32))
    return {"max_difference": difference} | ({} if order is None else {"order_auc": order})


def measure_bf16() -> float:
    """Operations a second of one core in a large product in bfloat16; 0 where the processor has none."""
    if not session_openvino.computes_in("bf16"):
        return 0.0
    size = 1024
    weight = numpy_helper.from_array(np.random.default_rng(0).normal(size=(size, size)).astype(np.float32), "w")
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", size]) for n in ("x", "y")]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "product", values[:1], values[1:], [weight]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    session = session_openvino.OpenVinoSession(model.SerializeToString(), "bf16")
    feeds = {"x": np.ones((size, size), np.float32)}
    best = 1e9
    for _ in range(12):
        start = time.perf_counter()
        session.run(feeds)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [workload.name for workload in NETWORKS]
    parser.add_argument("--models", nargs="+", choices=names, default=names)
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES), help="candidates of a request (T4)")
    parser.add_argument(
        "--seconds", type=float, default=4.0, help="of all variants of a model; half of it to choose ways"
    )
    parser.add_argument("--compile", action="store_true", help="also torch.compile, which needs a C++ compiler")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    pin_to_one_core()
    torch.set_num_threads(1)
    ceilings = {"fp32": measure_flops(), "bf16": measure_bf16(), "copy": measure_bandwidth()}
    header = make_header(options.seed) | {
        "ceiling_gflops": ceilings["fp32"] / 1e9,
        "ceiling_bf16_gflops": ceilings["bf16"] / 1e9,
        "ceiling_gb_per_s": ceilings["copy"] / 1e9,
        "openvino": session_openvino.version(),
    }
    cases: list[Case] = []
    for workload in NETWORKS:
        if workload.name not in options.models:
            continue
        with tempfile.TemporaryDirectory() as folder:
            subject = prepare(workload, Path(folder))
            for size in options.sizes:
                cases += run_subject(subject, size, options, ceilings)
        write_json(options.json, header, cases)
        print_cases(header, [case for case in cases if case["case"] == workload.name])


def print_cases(header: Mapping[str, Any], cases: list[Case]) -> None:
    """The variants of one model."""
    rows = [
        [
            f"{c['case']} N={c['n']} {c['variant']}",
            f"{c['p50_us']:,.0f}",
            f"{c['us_per_candidate']:.2f}",
            f"{c['ratio_to_flat']:.2f}x",
            f"{c['floor_us']:,.0f}" if "floor_us" in c else "",
            f"{c['item_bytes']:,}" if "item_bytes" in c else "",
            f"{c['max_difference']:.1e}",
            f"{c['order_auc']:.4f}" if "order_auc" in c else "",
        ]
        for c in cases
    ]
    columns = ["case", "µs", "µs/candidate", "ratio", "floor µs", "bytes/item", "difference", "order"]
    print_table(f"{header['machine']['cpu']}, one core, commit {header['commit']}", columns, rows)


if __name__ == "__main__":
    main()
