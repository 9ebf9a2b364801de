"""What `benchmarks/render.py` writes: every figure of a result file, and charts whose bars are as long as they say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import orjson
import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
HEADER = {"machine": {"cpu": "a processor"}, "commit": "c0ffee", "seed": 1, "versions": {"numpy": "2"}}
TIMES = {
    "flat onnxruntime fp32": 1000.0,
    "flat openvino bf16": 500.0,
    "staged onnxruntime fp32": 250.0,
    "staged openvino int8 block 32": 100.0,
}


def network() -> dict[str, Any]:
    cases = []
    for variant, taken in TIMES.items():
        case = {"case": "din", "variant": variant, "traffic": "T4", "n": 500, "p50_us": taken, "max_difference": 0.0}
        case |= {"us_per_candidate": taken / 500, "ratio_to_flat": 1000.0 / taken}
        cases.append(case | ({"floor_us": 125.0, "item_bytes": 64} if variant.startswith("staged") else {}))
    return {"header": HEADER, "results": cases}


def serving() -> dict[str, Any]:
    rates = {"recserve json": 400.0, "recserve :rank fp32 json": 800.0, "peer & co json": 100.0}
    cases = [
        {"case": "b", "variant": variant, "traffic": traffic, "n": 500, "requests_per_s": 1.0, "p50_us": 2000.0}
        | {"requests_per_cpu_s": 1.0, "items_per_s_core": rate / slower, "p99_us": 9000.0, "not_200": 0}
        for variant, rate in rates.items()
        for traffic, slower in (("c1", 2.0), ("capacity", 1.0), ("load_70", 1.0))
    ]
    return {"header": HEADER, "results": cases}


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    """A folder with the pages that were rendered."""
    for name, document in {"network": network(), "serving": serving()}.items():
        (tmp_path / f"{name}.json").write_bytes(orjson.dumps(document))
    for name in ("all.md", "glance.md"):
        (tmp_path / name).write_text("before\n<!-- figures:begin -->\nold\n<!-- figures:end -->\nafter\n")
    (tmp_path / "images").mkdir()
    command = [sys.executable, str(BENCHMARKS / "render.py"), "network.json", "serving.json", "--images", "images"]
    subprocess.run([*command, "--page", "all.md", "--glance", "glance.md"], cwd=tmp_path, check=True)
    return tmp_path


def widths(picture: Path) -> dict[str, float]:
    """Width of each bar by what it says of itself."""
    root = ET.fromstring(picture.read_text())
    name = "{http://www.w3.org/2000/svg}"
    found = {}
    for bar in root.iter(f"{name}rect"):
        if (tip := bar.find(f"{name}title")) is not None:
            found[str(tip.text)] = float(bar.attrib["width"])
    return found


def test_pages_hold_every_figure_and_keep_what_is_around(pages: Path) -> None:
    text = (pages / "all.md").read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert all(f"| din | {variant} | T4 500 | {taken:,.0f} |" in text for variant, taken in TIMES.items())
    assert text.count("| b 500 |") == 9


def test_a_glance_tells_the_best_of_each(pages: Path) -> None:
    text = (pages / "glance.md").read_text()
    assert (
        "| din | 2.00 | 1.0× onnxruntime | 2.0× openvino | **4.0×** onnxruntime |  | **10.0×** openvino | 2.0× | 64 |"
        in text
    )
    assert re.findall(r"^\| B \| (.*?) \| (.*?) \|", text, re.MULTILINE) == [
        ("recserve :rank fp32 json", "800"),
        ("recserve json", "400"),
        ("peer & co json", "100"),
    ]
    assert "| 2.00 | 9.00 |" in text
    for place in re.findall(r"!\[.*?\]\((.*?)\)", text):
        assert (pages / place).is_file()


def test_bars_are_as_long_as_their_figures(pages: Path) -> None:
    bars = widths(pages / "images" / "serving_b.svg")
    peer = bars["peer & co json, peer: 100"]
    assert bars["recserve json, recserve, same wire: 400"] == pytest.approx(4 * peer, rel=0.01)
    assert bars["recserve :rank fp32 json, recserve :rank: 800"] == pytest.approx(8 * peer, rel=0.01)
    powers = widths(pages / "images" / "network_speed.svg")
    twice, four, ten = (next(w for tip, w in powers.items() if f": {n}.0×" in tip) for n in (2, 4, 10))
    assert four == pytest.approx(2 * twice, rel=0.01)
    assert ten == pytest.approx(twice * 3.3219, rel=0.01)
