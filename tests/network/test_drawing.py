"""The drawing of a split network is one readable, self-contained SVG."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from recserve.network.anatomy import Anatomy, dissect
from recserve.network.drawing import draw, format_flops
from recserve.network.split import split_network
from recserve.network.storing import StoreOptions
from recserve.rates import Rate

USER, ITEM, CAND = Rate.REQUEST, Rate.ITEM, Rate.CANDIDATE
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def anatomy(sketch: Any, prove: Any) -> Anatomy:
    g = sketch()
    both = g.op("Concat", g.input("user", USER, 8), g.input("item", ITEM, 4), axis=1)
    for goal in ("ctr", "cvr"):
        g.output(g.op("Sigmoid", g.linear(g.op("Relu", g.linear(both, 12, 16)), 16, 1)), goal)
    return dissect(prove(g.network(), g.rates))


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_there_is_a_lane_for_each_rate_and_a_box_for_each_node(anatomy: Anatomy) -> None:
    svg = draw(anatomy, "rank <7>")
    shown = texts(svg)
    assert [t for t in shown if " rate: " in t] == [
        "item rate: once per item version", "request rate: once per request", "candidate rate: once per candidate",
    ]  # fmt: skip
    boxes = sum(len(nodes) for nodes in anatomy.nodes.values()) + sum(len(i) for i in anatomy.inputs.values())
    assert len(list(ElementTree.fromstring(svg).iter(f"{SVG}g"))) == boxes
    assert "rank <7>" in shown
    assert any(t.startswith("operations of a node: 0 to ") for t in shown)


def test_boxes_do_not_overlap_and_stand_inside(anatomy: Anatomy) -> None:
    root = ElementTree.fromstring(draw(anatomy, "x"))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    places = set()
    for group in root.iter(f"{SVG}g"):
        box = next(group.iter(f"{SVG}rect"))
        x, y = float(box.attrib["x"]), float(box.attrib["y"])
        assert 0 <= x <= width - 132
        assert 0 <= y <= height - 26
        assert all(abs(x - a) >= 132 or abs(y - b) >= 26 for a, b in places)
        places.add((x, y))


def test_nothing_is_loaded_from_elsewhere(anatomy: Anatomy) -> None:
    svg = draw(anatomy, "x")
    assert "href" not in svg
    assert "script" not in svg
    assert svg.count("http") == 1


def test_it_shows_why_a_value_is_stored_or_computed_again(sketch: Any) -> None:
    g = sketch()
    hidden = g.op("Relu", g.linear(g.input("item", ITEM, 4), 4, 64))
    g.output(g.op("ReduceSum", g.op("Mul", hidden, g.input("user", USER, 64)), g.ints(1), keepdims=1))
    free = draw(dissect(split_network(g.network(), g.rates)), "x")
    assert "stored for each item: 256 bytes" in free
    assert any(t.startswith("256 bytes stored per item, ") and t.endswith(" ns to fetch") for t in texts(free))
    tight = StoreOptions(max_payload_bytes_per_item=16)
    drawn = draw(dissect(split_network(g.network(), g.rates, storing=tight)), "x")
    assert "computed again for each candidate" in drawn
    assert "stored for each item: 16 bytes" in drawn
    assert "no other way" in drawn
    assert "thick green border: of the item, but not stored" in texts(drawn)


@pytest.mark.parametrize(("count", "text"), [(0, "0"), (999, "999"), (12_345, "12.3k"), (2e6, "2M"), (3.5e9, "3.5G")])
def test_counts_are_short(count: float, text: str) -> None:
    assert format_flops(int(count)) == text
