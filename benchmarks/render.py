"""Write what result files say into pages, between their figures markers: all tables, or what one sees at a glance.

python benchmarks/render.py runs/network.json runs/serving.json --page docs/reference/measurements.md
python benchmarks/render.py runs/network.json runs/serving.json --glance docs/explanation/speed.md --images docs/images
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any, Final

import orjson

from glance import summarise_network, summarise_serving
from recserve.errors import ConfigError

BEGIN: Final = "<!-- figures:begin -->"
END: Final = "<!-- figures:end -->"
Case = dict[str, Any]


def render(documents: list[dict[str, Any]]) -> str:
    """Markdown of all result files."""
    tables = {"ranking": _ranking, "network": _network, "serving": _serving, "features": _features}
    parts = []
    for document in documents:
        parts += [_describe_run(document["header"]), tables[_kind(document)](document["results"])]
    return "\n\n".join(parts)


def render_glance(documents: list[dict[str, Any]], images: Path, page: Path) -> str:
    """Markdown of the short tables and charts; writes the charts.

    Args:
        documents: result files; those of networks and servers have something to show.
        images: folder of the charts.
        page: where the text goes, from which the charts are named.
    """
    parts = []
    for document in documents:
        summarise = {"network": summarise_network, "serving": summarise_serving}.get(_kind(document))
        if summarise is None or not any("ratio_to_flat" in c or "requests_per_s" in c for c in document["results"]):
            continue
        table, pictures = summarise(document["results"])
        for name, picture in pictures.items():
            (images / name).write_text(picture, encoding="utf-8")
            place = Path(os.path.relpath(images / name, page.parent)).as_posix()
            parts.append(f"![{_title(picture)}]({place})")
        parts += [table, _describe_run(document["header"])]
    return "\n\n".join(parts)


def _kind(document: dict[str, Any]) -> str:
    cases: list[Case] = document["results"]
    if any("requests_per_s" in case for case in cases):
        return "serving"
    if any("network_ratio_to_flat" in case for case in cases):
        return "ranking"
    return "network" if any("max_difference" in case or "tail_ratio" in case for case in cases) else "features"


def _title(picture: str) -> str:
    return picture.partition('aria-label="')[2].partition('"')[0]


def _describe_run(header: dict[str, Any]) -> str:
    machine, versions = header["machine"], ", ".join(f"{k} {v}" for k, v in header["versions"].items())
    ceilings = ""
    if "ceiling_gflops" in header:
        speeds = [f"{header['ceiling_gflops']:.0f} GFLOP/s (matrix product)"]
        known = {precision: header.get(f"ceiling_{precision}_gflops") for precision in ("bf16", "int8")}
        speeds += [f"{speed:.0f} (the same in {precision})" for precision, speed in known.items() if speed]
        ceilings = f" Ceilings in this run: {', '.join(speeds)}, {header['ceiling_gb_per_s']:.1f} GB/s (copy)."
    return f"{machine['cpu']}, one core; commit {header['commit']}, seed {header['seed']}; {versions}.{ceilings}"


def _table(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, ["---"] + ["---:"] * (len(columns) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _ranking(cases: list[Case]) -> str:
    staged = [case for case in cases if case["variant"] == "staged"]
    flat = {(case["case"], case["n"]): case for case in cases if case["variant"] == "flat"}
    rows = [
        [
            case["case"],
            f"{case['n']:,}",
            f"{case['p50_us'] / 1e3:.2f}",
            f"{flat[case['case'], case['n']]['p50_us'] / 1e3:.2f}",
            f"**{case['ratio_to_flat']:.1f}×**",
            f"{case['network_ratio_to_flat']:.1f}×",
            f"{case['python_us']:.0f}",
            f"{case['floor_us'] / 1e3:.2f}",
            f"{case['item_bytes']:,}",
            f"{case['items_per_s_core']:,.0f}",
        ]
        for case in staged
    ]
    columns = ["model", "candidates", "staged ms", "flat ms", "ratio", "network alone", "Python µs", "floor ms"]
    parts = [_table([*columns, "bytes/item", "items/s/core"], rows)]
    stage_rows = [
        [
            case["case"],
            *(f"{case['stages_us'].get(name, 0.0):.0f}" for name in _STAGES),
            f"{flat[case['case'], case['n']]['stages_us']['features_and_lookups']:.0f}",
            f"{flat[case['case'], case['n']]['stages_us']['network']:.0f}",
        ]
        for case in staged
        if case["n"] == 500
    ]
    names = [name.replace("candidate_", "candidate ") for name in _STAGES]
    parts += ["Where the time goes at 500 candidates, µs (flat beside it):"]
    parts += [_table(["model", *names, "flat: features + lookups", "flat: network"], stage_rows)]
    return "\n\n".join(parts)


_STAGES: Final = (
    "decode",
    "request",
    "gather",
    "candidate_features",
    "candidate_lookups",
    "candidate_network",
    "top_k",
)


def _network(cases: list[Case]) -> str:
    rows = [
        [
            case["case"],
            case["variant"],
            f"{case['traffic']} {case['n']:,}",
            f"{case['p50_us']:,.0f}",
            f"{case['us_per_candidate']:.2f}",
            f"**{case['ratio_to_flat']:.1f}×**",
            f"{case['floor_us']:,.0f} ({case['p50_us'] / case['floor_us']:.1f}×)" if "floor_us" in case else "",
            f"{case['item_bytes']:,}" if "item_bytes" in case else "",
            f"{case['max_difference']:.1e}",
            f"{case['auc_change']:+.5f} of {case['base_auc']:.3f}" if "auc_change" in case else "",
        ]
        for case in cases
        if "ratio_to_flat" in case
    ]
    columns = ["model", "engine", "candidates", "µs", "µs/candidate", "ratio", "floor µs", "bytes/item", "difference"]
    tails = [case for case in cases if "tail_ratio" in case]
    parts = [_table([*columns, "AUC change"], rows)] if rows else []
    return "\n\n".join([*parts, *([_tails(tails)] if tails else [])])


def _tails(cases: list[Case]) -> str:
    rows = [
        [
            case["case"],
            case["variant"].removeprefix("tail "),
            f"{case['calls']:,}",
            *(f"{case[name]:,.0f}" for name in ("p50_us", "p99_us", "p999_us")),
            *(f"{case[name]:.2f}×" for name in ("tail_ratio", "cpu_tail_ratio", "size_ratio", "spike_ratio")),
            f"{case['most_excess_us']:,.0f}",
        ]
        for case in cases
    ]
    columns = ["model", "engine", "requests of T1", "P50 µs", "P99 µs", "P99.9 µs", "P99.9 by median"]
    return _table([*columns, "the same in CPU time", "by sizes alone", "by median of its size", "most µs beyond"], rows)


_TRAFFIC: Final = ("c1", "c8", "capacity", "load_70", "t1_70", "t2_70", "overload_2x", "steady_70", "swap_70")
_RANKED: Final = (
    "Rows of `:rank` are another wire: the request brings the user and item ids, and the server has the items' "
    "columns. Network and scores are those of the other rows; in `b_sent` it brings 64 numbers a candidate as well."
)


def _serving(cases: list[Case]) -> str:
    def place(case: Case) -> tuple[str, int, int, float]:
        traffic = case["traffic"]
        rank = _TRAFFIC.index(traffic) if traffic in _TRAFFIC else len(_TRAFFIC)
        return case["case"].partition("_")[0], case["n"], rank, -(case.get("requests_per_cpu_s") or 0.0)

    keys = ("requests_per_s", "requests_per_cpu_s", "items_per_s_core", "p50_us", "p99_us", "not_200", "peak_rss_mb")
    rows = [
        [f"{case['case']} {case['n']}", case["traffic"], case["variant"]]
        + [f"{case[key]:,.0f}" if case.get(key) is not None else "" for key in keys]
        + [f"{case['decode_encode_share']:.0%}" if "decode_encode_share" in case else ""]
        + [f"{case['difference_to_reference']:.0e}" if "difference_to_reference" in case else ""]
        for case in sorted(cases, key=place)
    ]
    columns = [
        "model, candidates",
        "traffic",
        "server and wire",
        "requests/s",
        "requests/CPU-s",
        "items/s/core",
        "P50 µs",
    ]
    table = _table([*columns, "P99 µs", "not 200", "RSS MB", "decode + encode", "scores off by"], rows)
    return f"{table}\n\n{_RANKED}" if any(":rank" in case["variant"] for case in cases) else table


def _features(cases: list[Case]) -> str:
    rows = [
        [
            case["case"],
            case["variant"],
            f"{case['n']:,}" if "n" in case else "",
            f"{case['p50_us'] / 1e3:.3f}" if "p50_us" in case else "",
            f"{case['items_per_s_core']:,.0f}" if "items_per_s_core" in case else "",
        ]
        for case in cases
    ]
    return _table(["case", "variant", "rows", "CPU ms", "items/s/core"], rows)


def write_page(page: Path, text: str) -> None:
    """Replace what stands between the markers of a page.

    Raises:
        ConfigError: the page has no markers.
    """
    content = page.read_text(encoding="utf-8")
    before, begin, rest = content.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ConfigError(f"there is no region {BEGIN} ... {END}", where=str(page))
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--page", type=Path, help="where all tables go")
    parser.add_argument("--glance", type=Path, help="where the short tables and the charts go")
    parser.add_argument("--images", type=Path, default=Path("docs/images"), help="folder of the charts")
    options = parser.parse_args()
    documents = [orjson.loads(file.read_bytes()) for file in options.files]
    if options.page is not None:
        write_page(options.page, render(documents))
    if options.glance is not None:
        write_page(options.glance, render_glance(documents, options.images, options.glance))


if __name__ == "__main__":
    main()
