"""The dense network by model, engine and precision: staged against the same network run flat, one core, one run.

Features, lookups and the gather of payloads are left out. A staged request runs the request part once and the candidate
part on N candidates whose item tensors are at hand; a flat one runs the network as exported on N rows of each input.

- `flat`: ONNX Runtime, PyTorch eager, OpenVINO in fp32 and bf16; with --compile also torch.compile and AOTInductor;
  with --tensorflow PYTHON also the call of a SavedModel with the same weights, in a process of its own on the same
  core, at 500 candidates.
- `staged`: ONNX Runtime in one call, and in each engine and precision the way that measuring chose.

With --traffic each runs at the sizes of T1 (their mean), T2, T3 and T4, in the ways that were chosen at 500 candidates.
At the end stand the networks and sizes at which the best staged way is slower than the best flat one, exact against
exact and all against all.

The floor is the staged operations at the speed of a large matrix product in that precision, plus the item tensors'
bytes at the speed of a copy, all measured in the same run. The difference is the largest of any output against flat
ONNX Runtime in fp32, relative to max(1, |value|). The AUC is that of the first output on labels of a drawn teacher,
which the network was trained on for a moment (`network_subjects`); its change is against flat ONNX Runtime in fp32.

With --tail each model answers many requests of T1's mixed sizes instead: flat in ONNX Runtime, and staged in the
fastest exact way and in the fastest of all.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import logging
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper

from network_models import NETWORKS, STEPS
from network_peers import BASE, Loaded, Run, flat_variants
from network_subjects import Array, Request, StagedNetwork, Subject, Teacher, prepare
from network_tail import measure_tail
from network_tensorflow import TensorFlow
from recserve.errors import RecserveError
from recserve.network import session_openvino
from recserve.network.engine_choice import EngineOptions, list_ways, measure
from recserve.network.engines import EngineChoice, open_engine
from recserve.network.quantise import RangeObserver
from recserve.network.session import Session
from recserve.rates import Rate
from recserve.staging.cuts import NetworkInput
from recserve.staging.quality import auc
from recserve.staging.tensors import longest_steps
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

SIZES: Final = (500,)
_STAGED: Final = (
    ("onnxruntime", "fp32"),
    ("onnxruntime", "int8"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
)
_JUDGED: Final = (8, 250)
"""Requests, and candidates of each, on which the AUC is measured."""
_TRAFFIC: Final = {270: "T1", 165: "T2", 2048: "T3", 1: "T4", 100: "T4", 500: "T4", 1000: "T4"}
_CHOSEN_AT: Final = 500
_TOLERANCE: Final = 1.05
"""Times as long as the best flat way that the best staged one may take, before it is told: what measuring errs."""


def choose_ways(subject: Subject, size: int, seconds: float, seed: int) -> dict[EngineChoice, float]:
    """The default, and the fastest way of each engine and precision that runs here; each has so many seconds.

    Returns:
        {way: best µs of `size` candidates}; that of the default is infinite where it was not measured.
    """
    longest = _longest(subject.inputs)
    part = subject.split.candidate
    found = {EngineChoice(): float("inf")}
    for engine, precision in _STAGED:
        options = EngineOptions(engine=engine, seconds=seconds, candidates=size)
        try:
            if precision == "bf16" and not session_openvino.computes_in("bf16"):
                continue
            ranges = subject.calibrate(np.random.default_rng(seed + 1)) if precision == "int8" else ()
            ways = list_ways(part, options, precision, longest, ranges)
            us = measure(part, ways, options, STEPS)
        except RecserveError as error:
            print(f"{subject.name}: {engine} {precision} is left out: {error}", flush=True)
            continue
        able = [way for way in ways if way.label in us]
        if not able:
            print(f"{subject.name}: {engine} {precision} is left out: no way of it runs", flush=True)
            continue
        best = min(able, key=lambda way: us[way.label])
        found[best] = us[best.label]
    return found


def _longest(inputs: tuple[NetworkInput, ...]) -> list[int | None]:
    return list(longest_steps([entry for entry in inputs if entry.rate is not Rate.ITEM]))


class Judge:
    """AUC of a way to run a network, on requests whose labels a teacher gave."""

    def __init__(self, subject: Subject, teacher: Teacher, seed: int) -> None:
        rng = np.random.default_rng(seed + 2)
        requests, size = _JUDGED
        self._subject = subject
        self._requests = [subject.draw(size, rng) for _ in range(requests)]
        self._labels = np.concatenate([teacher.label(subject.tile(request), rng) for request in self._requests])
        session = Session(subject.flat.to_bytes())
        self.exact = self._auc([session.run(subject.tile(request)) for request in self._requests])
        self._judged: dict[str, dict[str, float]] = {}

    def judge(self, variant: str, choice: EngineChoice | None) -> dict[str, float]:
        """{auc, auc_change} of a staged choice or a flat variant in bf16; empty for what is as exact as the base."""
        if variant not in self._judged:
            self._judged[variant] = self._measure(variant, choice)
        return self._judged[variant]

    def _measure(self, variant: str, choice: EngineChoice | None) -> dict[str, float]:
        if choice is not None:
            staged = StagedNetwork(self._subject.split, choice)
            found = [staged.run(*staged.store(request)) for request in self._requests]
        elif variant.endswith("bf16"):
            flat = session_openvino.OpenVinoSession(self._subject.flat.to_bytes(), "bf16")
            found = [flat.run(self._subject.tile(request)) for request in self._requests]
        else:
            return {}
        value = self._auc(found)
        return {"auc": value, "auc_change": value - self.exact}

    def _auc(self, answers: list[dict[str, Array]]) -> float:
        name = next(iter(answers[0]))
        scores = np.concatenate([np.asarray(answer[name], np.float32).ravel() for answer in answers])
        value = auc(self._labels, scores)
        return float("nan") if value is None else value


def run_subject(
    subject: Subject, teacher: Teacher, options: argparse.Namespace, ceilings: Mapping[str, float]
) -> list[Case]:
    """All variants of one network at each size."""
    ways = choose_ways(subject, _CHOSEN_AT, options.seconds / len(_STAGED), options.seed)
    judge = Judge(subject, teacher, options.seed)
    sizes = list(_TRAFFIC) if options.traffic else options.sizes
    return [
        case
        for size in sizes
        for case in run_size(subject, judge, size, ways=list(ways), options=options, ceilings=ceilings)
    ]


def run_size(
    subject: Subject,
    judge: Judge,
    size: int,
    *,
    ways: Sequence[EngineChoice],
    options: argparse.Namespace,
    ceilings: Mapping[str, float],
) -> list[Case]:
    """All variants of one network at N = `size`, in turns."""
    request: Request = subject.draw(size, np.random.default_rng(options.seed))
    folder = tempfile.TemporaryDirectory()
    tensorflow = (options.tensorflow, Path(folder.name)) if options.tensorflow and size == _CHOSEN_AT else None
    tiled = subject.tile(request)
    variants: dict[str, Run] = flat_variants(subject, tiled, compiles=options.compile, tensorflow=tensorflow)
    choices: dict[str, EngineChoice] = {}
    for choice in ways:
        staged = StagedNetwork(subject.split, choice)
        stored, shared = staged.store(request)
        name = f"staged {choice.label}"
        choices[name] = choice
        variants[name] = _Bound(staged, stored, shared)
    exact = variants[BASE]()
    answers = {name: run() for name, run in variants.items()}
    taken = time_in_turns(variants, options.seconds)
    for run in variants.values():
        if isinstance(run, TensorFlow):
            run.close()
    folder.cleanup()
    base = float(np.median(taken[BASE]))
    cases: list[Case] = []
    for name, values in taken.items():
        p50 = float(np.median(values))
        case: Case = {"case": subject.name, "variant": name, "traffic": _TRAFFIC.get(size, "T4"), "n": size}
        case |= {"p50_us": p50, "p99_us": float(np.quantile(values, 0.99)), "us_per_candidate": p50 / size}
        case |= {"items_per_s_core": size / p50 * 1e6, "ratio_to_flat": base / p50, "calls": len(values)}
        case |= {"max_difference": compare(answers[name], exact), "base_auc": judge.exact}
        case |= judge.judge(name, choices.get(name))
        if name in choices:
            case |= _floor(subject, choices[name], size, ceilings)
        cases.append(case)
    return cases


class _Bound:
    """A staged network on one request."""

    def __init__(self, staged: StagedNetwork, stored: dict[str, Array], shared: dict[str, Array]) -> None:
        self._staged, self._stored, self._shared = staged, stored, shared

    def __call__(self) -> dict[str, Array]:
        return self._staged.run(self._stored, self._shared)


def _floor(subject: Subject, choice: EngineChoice, size: int, ceilings: Mapping[str, float]) -> Case:
    report = subject.split.report
    work = report.flops.get(Rate.REQUEST, 0) / ceilings["fp32"]
    work += report.flops.get(Rate.CANDIDATE, 0) * size / ceilings[choice.precision]
    moved = report.item_bytes * size / ceilings["copy"]
    return {"floor_us": 1e6 * (work + moved), "item_bytes": report.item_bytes}


def compare(found: Mapping[str, Array], exact: Mapping[str, Array]) -> float:
    """How far the outputs are from the exact ones: the largest difference, relative to max(1, |exact|)."""
    return max(float(np.max(np.abs(found[n] - w) / np.maximum(1, np.abs(w)))) for n, w in exact.items())


def measure_product(precision: str) -> float:
    """Operations a second of one core in a large product in a precision, in OpenVINO; float32's where it has none."""
    if not session_openvino.computes_in("bf16"):
        return measure_flops()
    size = 1024
    weight = numpy_helper.from_array(np.random.default_rng(0).normal(size=(size, size)).astype(np.float32), "w")
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", size]) for n in ("x", "y")]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "product", values[:1], values[1:], [weight]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
    feeds = {"x": np.random.default_rng(1).normal(size=(size, size)).astype(np.float32)}
    observer = RangeObserver(model)
    observer.observe(feeds)
    ranges = observer.ranges if precision == "int8" else ()
    session = open_engine(model, EngineChoice("openvino", precision, ranges=ranges))
    run = Loaded(session.run, feeds)
    best = 1e9
    for _ in range(20):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def main() -> None:
    """Run it."""
    options = _parse()
    logging.getLogger("torch").setLevel(logging.ERROR)
    pin_to_one_core()
    torch.set_num_threads(1)
    ceilings = {"fp32": measure_flops(), "copy": measure_bandwidth()}
    ceilings |= {precision: measure_product(precision) for precision in ("bf16", "int8")}
    header = make_header(options.seed) | {
        "ceiling_gflops": ceilings["fp32"] / 1e9,
        "ceiling_bf16_gflops": ceilings["bf16"] / 1e9,
        "ceiling_int8_gflops": ceilings["int8"] / 1e9,
        "ceiling_gb_per_s": ceilings["copy"] / 1e9,
        "openvino": session_openvino.version(),
        "trained_s": options.train,
    }
    cases: list[Case] = []
    for workload in NETWORKS:
        if workload.name not in options.models:
            continue
        with tempfile.TemporaryDirectory() as folder:
            rng = np.random.default_rng(options.seed)
            subject, teacher = prepare(workload, Path(folder), options.train, rng)
            if options.tail:
                found = run_tail(subject, options)
                print_tail(found)
            else:
                found = run_subject(subject, teacher, options, ceilings)
                print_cases(header, found)
        cases += found
        write_json(options.json, header, cases)
    print_slower(cases)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [workload.name for workload in NETWORKS]
    parser.add_argument("--models", nargs="+", choices=names, default=names)
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES), help="candidates of a request")
    parser.add_argument("--traffic", action="store_true", help="the sizes of T1 to T4 instead of --sizes")
    parser.add_argument("--seconds", type=float, default=6.0, help="to choose ways of a model, and to time each size")
    parser.add_argument("--train", type=float, default=3.0, help="CPU seconds of training; 0: drawn weights")
    parser.add_argument("--compile", action="store_true", help="also what needs a C++ compiler: about a minute a model")
    parser.add_argument("--tensorflow", type=Path, metavar="PYTHON", help="of an environment with TensorFlow")
    parser.add_argument("--tail", action="store_true", help="requests of T1's mixed sizes, in the fastest ways")
    parser.add_argument("--requests", type=int, default=10_000, help="of --tail, in each way")
    parser.add_argument("--tail-seconds", type=float, default=120.0, help="of --tail, in each way, at most")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def run_tail(subject: Subject, options: argparse.Namespace) -> list[Case]:
    """Mixed sizes flat, in the fastest exact way, and in the fastest of all."""
    us = choose_ways(subject, 270, options.seconds / len(_STAGED), options.seed)
    exact = min((way for way in us if way.precision == "fp32"), key=us.__getitem__)
    ways = dict.fromkeys([None, exact, min(us, key=us.__getitem__)])
    return [measure_tail(subject, way, options.requests, options.tail_seconds, options.seed) for way in ways]


def print_tail(cases: list[Case]) -> None:
    """The slowest requests of one model."""
    for c in cases:
        print(
            f"{c['case']:>20} {c['variant']:<36} {c['calls']:6,} × p50 {c['p50_us']:9,.0f} µs  "
            f"p99 {c['p99_us']:9,.0f}  p99.9 {c['p999_us']:9,.0f}  {c['tail_ratio']:.2f} × median  "
            f"in CPU time {c['cpu_tail_ratio']:.2f} ×, by sizes alone {c['size_ratio']:.2f} ×; "
            f"{c['spike_ratio']:.2f} × those of its size, at most {c['most_excess_us']:,.0f} µs more",
            flush=True,
        )


def print_slower(cases: list[Case]) -> None:
    """Where staged is slower than flat."""
    timed = [case for case in cases if "ratio_to_flat" in case]
    for name, size in dict.fromkeys((case["case"], case["n"]) for case in timed):
        for what, word in (("exact ", "fp32"), ("", "")):
            best: dict[str, Case] = {}
            for case in timed:
                if (case["case"], case["n"]) == (name, size) and word in case["variant"]:
                    kind = case["variant"].partition(" ")[0]
                    best[kind] = min(best.get(kind, case), case, key=lambda c: c["p50_us"])
            if best["staged"]["p50_us"] > _TOLERANCE * best["flat"]["p50_us"]:
                print(
                    f"{name} N={size}: the best {what}staged way takes {best['staged']['p50_us']:,.0f} µs, "
                    f"{best['flat']['variant']} {best['flat']['p50_us']:,.0f} µs"
                )


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
            f"{c['auc_change']:+.5f} of {c['base_auc']:.3f}" if "auc_change" in c else "",
        ]
        for c in cases
    ]
    columns = ["case", "µs", "µs/candidate", "ratio", "floor µs", "bytes/item", "difference", "AUC change"]
    print_table(f"{header['machine']['cpu']}, one core, commit {header['commit']}", columns, rows)


if __name__ == "__main__":
    main()
