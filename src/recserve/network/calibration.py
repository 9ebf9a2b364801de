"""What operations cost on this machine: measured once for a processor, and kept in the cache folder.

The figures price what a network does per item, per request and per candidate, so that a build can choose between
storing a tensor and computing it again. They are of one core, in ONNX Runtime, float32.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from onnx import TensorProto, helper, numpy_helper

from recserve.dtypes import F32, I64
from recserve.kernel_cache import cache_folder
from recserve.network import session
from recserve.network.cost import OpCosts
from recserve.network.engine_choice import describe_cpu
from recserve.network.session import Session

_log: Final = logging.getLogger("recserve.network")
_ROWS: Final = 256
_CHAIN: Final = 64
_TABLE = 2**24
_NARROW, _WIDE = 16, 256
_REPEATS: Final = 7
_FORMAT: Final = "2"


def calibrate() -> OpCosts:
    """The costs of this machine: those kept for its processor, else measured now (about a second) and kept."""
    digest = hashlib.sha256("\0".join((_FORMAT, describe_cpu(), session.version())).encode()).hexdigest()
    file = cache_folder() / "op_costs" / f"{digest[:40]}.json"
    kept = _read(file)
    if kept is None:
        kept = measure_costs()
        _write(file, kept)
    return kept


def measure_costs() -> OpCosts:
    """Measure, whatever is kept. Each figure is the best of a few runs, so other work on the machine hardly matters."""
    wide, narrow = _product((_ROWS, 256), (256, 256)), _product((_ROWS, 64), (64, 8))
    vector, batched = _product((1, 512), (512, 512)), _product((_ROWS, 32, 16), (_ROWS, 16, 16))
    elements = _ROWS * 2048
    row_us, gather_gbytes = _gather()
    return OpCosts(
        wide_gflops=wide,
        narrow_gflops=narrow,
        vector_gflops=vector,
        batched_gflops=batched,
        elementwise_gbytes=2 * 4 * elements / _elementwise("Neg") / 1e9,
        transcendental_gelements=elements / _elementwise("Tanh") / 1e9,
        gather_gbytes=gather_gbytes,
        gather_row_us=row_us,
        node_us=1e6 * _chain(),
    )


def _best(work: Callable[[], Any]) -> float:
    times = []
    work()
    for _ in range(_REPEATS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return max(min(times), 1e-9)


def _open(nodes: list[Any], shape: tuple[int, ...], weights: list[Any], rank: int) -> Session:
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * rank)]
    graph = helper.make_graph(nodes, "calibration", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return Session(model.SerializeToString(), threads=1)


def _product(left: tuple[int, ...], right: tuple[int, ...]) -> float:
    """10^9 operations a second of a product; a stack of matrices where `right` has three axes, both sides inputs."""
    operations = 2 * int(np.prod(left)) * right[-1]
    x = np.full(left, 0.5, np.float32)
    if len(right) == 2:
        weight = numpy_helper.from_array(np.full(right, 0.5, np.float32), "w")
        opened = _open([helper.make_node("MatMul", ["x", "w"], ["y"])], left, [weight], len(left))
    else:
        turn = helper.make_node("Transpose", ["x"], ["t"], perm=[0, 2, 1])
        opened = _open([turn, helper.make_node("MatMul", ["x", "t"], ["y"])], left, [], 3)
        operations = 2 * int(np.prod(left)) * left[1]
    return operations / _best(lambda: opened.run({"x": x})) / 1e9


def _elementwise(op: str) -> float:
    """Seconds of one op on 256 × 2048 numbers."""
    shape = (_ROWS, 2048)
    x = np.full(shape, 0.5, np.float32)
    opened = _open([helper.make_node(op, ["x"], ["y"])], shape, [], 2)
    return _best(lambda: opened.run({"x": x}))


def _chain() -> float:
    """Seconds of one node that does next to nothing."""
    names = ["x", *(f"v{k}" for k in range(_CHAIN - 1)), "y"]
    pairs = itertools.pairwise(names)
    nodes = [helper.make_node("Tanh" if k % 2 else "Neg", [a], [b]) for k, (a, b) in enumerate(pairs)]
    x = np.full((1, 1), 0.5, np.float32)
    long = _open(nodes, (1, 1), [], 2)
    short = _open([helper.make_node("Neg", ["x"], ["y"])], (1, 1), [], 2)
    spent = _best(lambda: long.run({"x": x})) - _best(lambda: short.run({"x": x}))
    return max(spent, 0.0) / (_CHAIN - 1)


def _gather() -> tuple[float, float]:
    """(µs of a row of one cache line, 10^9 bytes a second of what rows have beyond it), of a table of 64 MiB."""
    table = np.zeros(_TABLE, np.float32)
    table[::_NARROW] = 1.0  # pages that were never written are all one page of zeros
    rng = np.random.default_rng(0)
    spent_us = {}
    for width in (_NARROW, _WIDE):
        rows = table.reshape(-1, width)
        target = np.empty((1024, width), np.float32)
        spent = _best(_taker(rows, target, rng.integers(0, len(rows), (_REPEATS + 1, len(target)))))
        spent_us[width] = 1e6 * spent / len(target)
    further = max(spent_us[_WIDE] - spent_us[_NARROW], 0.1 * spent_us[_WIDE])
    return spent_us[_NARROW], 4 * (_WIDE - _NARROW) / further / 1e3


def _taker(rows: F32, target: F32, places: I64) -> Callable[[], Any]:
    """What takes the rows of the next line of `places` at each call."""
    lines = iter(places)
    return lambda: np.take(rows, next(lines), 0, target, "clip")


def _read(file: Path) -> OpCosts | None:
    try:
        document = orjson.loads(file.read_bytes())
        costs = OpCosts(**{str(name): float(value) for name, value in document.items()})
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    return costs if all(np.isfinite(value) and value >= 0 for value in asdict(costs).values()) else None


def _write(file: Path, costs: OpCosts) -> None:
    """By one rename; a folder that cannot be written only costs the next build its measuring."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as draft:
            draft.write(orjson.dumps(asdict(costs), option=orjson.OPT_INDENT_2))
        os.replace(draft.name, file)
    except OSError as error:
        _log.warning("cannot keep the measured costs in %s: %s", file.parent, error)
