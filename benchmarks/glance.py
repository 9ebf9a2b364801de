"""What the result files say at a glance: two short tables and two charts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from charts import OURS, THEIRS, Bar, draw_bars

Case = dict[str, Any]
Pictures = dict[str, str]
"""SVG document by file name."""

_SIZE: Final = 500
_PRECISIONS: Final = ("fp32", "bf16", "int8")
_EXACT, _BF16, _INT8 = "staged, exact", "staged, bf16", "staged, int8"
_FLAT: Final = "flat, the best engine and precision"
_OURS, _PEER, _RANK = "recserve, same wire", "peer", "recserve :rank"
_CASES: Final = {
    "a": ("A: tiny model, requests per CPU-second", "requests_per_cpu_s", 3),
    "b": ("B: ranking net, 500 candidates, items/s/core", "items_per_s_core", _SIZE),
    "c": ("C: attention over 50 steps, 500 candidates, items/s/core", "items_per_s_core", _SIZE),
}
_LOADS: Final = ("c1", "c8", "capacity")


def summarise_network(cases: list[Case]) -> tuple[str, Pictures]:
    """The table of the networks at 500 candidates, and its chart. Times are of one core."""
    rows, groups = [], {}
    for name in dict.fromkeys(case["case"] for case in cases):
        of_size = [c for c in cases if c["case"] == name and c["n"] == _SIZE and "us_per_candidate" in c]
        if not of_size:
            continue
        base = next(c["p50_us"] for c in of_size if c["variant"] == "flat onnxruntime fp32")
        flat = {
            p: _best(c for c in of_size if c["variant"].startswith("flat") and p in c["variant"]) for p in _PRECISIONS
        }
        staged = {
            p: _best(c for c in of_size if c["variant"].startswith("staged") and p in c["variant"]) for p in _PRECISIONS
        }
        exact = staged["fp32"]
        if exact is None or flat["fp32"] is None:
            continue
        rows.append(
            [
                name,
                f"{base / _SIZE:.2f}",
                *(_timed(case, base) for case in (flat["fp32"], flat["bf16"])),
                *(_timed(staged[p], base, is_strong=True) for p in _PRECISIONS),
                f"{exact['p50_us'] / exact['floor_us']:.1f}×",
                f"{exact['item_bytes']:,}",
            ]
        )
        of_peers = min((c for c in flat.values() if c is not None), key=lambda c: c["p50_us"])
        shown = [(_FLAT, of_peers), (_EXACT, exact), (_BF16, staged["bf16"]), (_INT8, staged["int8"])]
        groups[name] = [
            Bar(series, base / c["p50_us"], f"{base / c['p50_us']:.1f}×, {c['p50_us'] / _SIZE:.2f} µs")
            for series, c in shown
            if c is not None
        ]
    columns = ["model", "ONNX Runtime flat, µs a candidate", "best flat fp32", "best flat bf16"]
    table = _table([*columns, "**exact**", "**bf16**", "**int8**", "exact by its floor", "bytes an item"], rows)
    picture = draw_bars(
        "Dense networks, 500 candidates, one core",
        "how many times as fast as ONNX Runtime fp32 on tiled inputs; µs a candidate; scale by powers of ten",
        groups,
        colours=dict(zip((_FLAT, _EXACT, _BF16, _INT8), (THEIRS, *OURS), strict=False)),
        by_powers=True,
    )
    return table, {"network_speed.svg": picture}


def summarise_serving(cases: list[Case]) -> tuple[str, Pictures]:
    """The best that each server does on each model and wire, and their chart."""
    groups: dict[str, list[Bar]] = {}
    rows = []
    for kind, (label, key, size) in _CASES.items():
        of_kind = [c for c in cases if c["case"] == kind and c["n"] == size and c["traffic"] in _LOADS]
        best: dict[str, Case] = {}
        for case in of_kind:
            held = best.get(case["variant"])
            if case.get(key) and (held is None or case[key] > held[key]):
                best[case["variant"]] = case
        first = {c["variant"]: c for c in of_kind if c["traffic"] == "c1"}
        loaded = {c["variant"]: c for c in cases if (c["case"], c["n"], c["traffic"]) == (kind, size, "load_70")}
        for variant, case in sorted(best.items(), key=lambda pair: -pair[1][key]):
            groups.setdefault(label, []).append(Bar(_side(variant), case[key], f"{case[key]:,.0f}  {variant}"))
            rows.append(
                [
                    kind.upper(),
                    variant,
                    f"{case[key]:,.0f}",
                    _p(first, variant, "p50_us"),
                    _p(loaded, variant, "p99_us"),
                ]
            )
    columns = [
        "model",
        "server and wire",
        "A: requests/CPU-s; B, C: items/s/core",
        "P50 ms, one client",
        "P99 ms at 70 %",
    ]
    pictures = {
        f"serving_{kind}.svg": draw_bars(
            label,
            "best of 1, 8 and (A) 64 connections; one worker, one thread; per second that the server had on the core",
            {
                bar.text.partition("  ")[2]: [Bar(bar.series, bar.value, bar.text.partition("  ")[0])]
                for bar in groups[label]
            },
            colours={_RANK: OURS[0], _OURS: OURS[1], _PEER: THEIRS},
            by_powers=False,
        )
        for kind, (label, _, _) in _CASES.items()
        if label in groups
    }
    return _table(columns, rows), pictures


def _side(variant: str) -> str:
    if not variant.startswith("recserve"):
        return _PEER
    return _RANK if ":rank" in variant else _OURS


def _p(cases: dict[str, Case], variant: str, key: str) -> str:
    case = cases.get(variant)
    return "" if case is None else f"{case[key] / 1e3:,.2f}"


def _best(cases: Iterable[Case]) -> Case | None:
    return min(cases, key=lambda c: c["p50_us"], default=None)


def _timed(case: Case | None, base: float, *, is_strong: bool = False) -> str:
    if case is None:
        return ""
    text = f"{base / case['p50_us']:.1f}×"
    engine = case["variant"].split()[1]
    return f"**{text}** {engine}" if is_strong else f"{text} {engine}"


def _table(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, ["---"] + ["---:"] * (len(columns) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
