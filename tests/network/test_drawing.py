"""The drawing of a split network is one readable, self-contained SVG."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest

from recserve.network.anatomy import Anatomy, Node, dissect
from recserve.network.drawing import draw, format_flops
from recserve.network.regions import gather
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


def boxes(svg: str) -> list[Any]:
    """Those of inputs and regions; marks of the legend have no title."""
    return [g for g in ElementTree.fromstring(svg).iter(f"{SVG}g") if g.find(f"{SVG}title") is not None]


def test_there_is_a_lane_for_each_rate_and_a_box_for_each_node(anatomy: Anatomy) -> None:
    svg = draw(anatomy, "rank <7>")
    shown = texts(svg)
    assert [t for t in shown if " rate: " in t] == [
        "item rate: once per item version", "request rate: once per request", "candidate rate: once per candidate",
    ]  # fmt: skip
    told = "\n".join(box.findtext(f"{SVG}title") or "" for box in boxes(svg))
    for nodes in anatomy.nodes.values():
        assert all(f"{node.op} {node.name}: shape " in told for node in nodes)
    regions = sum(len(gather(nodes, 40)) for nodes in anatomy.nodes.values())
    assert len(boxes(svg)) == regions + sum(len(inputs) for inputs in anatomy.inputs.values())
    assert "rank <7>" in shown
    assert any(t.startswith("operations of a box: 0 to ") for t in shown)
    share = anatomy.flops(CAND) / anatomy.flat_flops
    assert any(f"{share:.1%} of the {anatomy.flat_flops} that the whole network takes for each" in t for t in shown)


def test_what_is_handed_over_has_its_bytes(sketch: Any) -> None:
    g = sketch()
    scores = g.op("Softmax", g.op("Einsum", g.input("hist", USER, "L", 4), g.input("item", ITEM, 4),
                                  equation="nld,nd->nl"), axis=1)  # fmt: skip
    g.output(g.op("Mul", g.op("ReduceMax", scores, g.ints(1)), g.input("position", CAND, 1)))
    shown = texts(draw(dissect(split_network(g.network(), g.rates)), "x"))
    assert "Handed over to the candidate part: bytes for one row" in shown
    for size in (" · 16 bytes", " · ≈ 800 bytes", "1 · 4 bytes"):
        assert any(text.endswith(size) for text in shown)


def test_nodes_that_no_rule_handles_stand_out_with_what_to_do(sketch: Any) -> None:
    g = sketch()
    shuffled = g.op("Softmax", g.input("user", USER, 4), axis=0)
    g.output(g.linear(g.op("Concat", shuffled, g.input("item", ITEM, 4), axis=1), 8, 1))
    svg = draw(dissect(split_network(g.network(), g.rates)), "x")
    assert "stays whole: no rule handles it" in texts(svg)
    assert "(Softmax) stays whole at candidate rate: the rule of the op cannot tell candidates apart" in svg
    assert "Keep candidates on an axis of their own" in svg


def test_nothing_stands_out_where_rules_handle_every_node(anatomy: Anatomy) -> None:
    assert "stays whole" not in draw(anatomy, "x")


def test_operations_that_nobody_can_tell_are_unknown(anatomy: Anatomy) -> None:
    first, *others = anatomy.nodes[CAND]
    dark = replace(anatomy, nodes={CAND: (replace(first, flops=None, shape=None), *others)})
    svg = draw(replace(dark, inputs={CAND: anatomy.inputs[CAND]}), "x")
    assert any("unknown ops" in text or "at least" in text for text in texts(svg))
    assert "unknown shape, unknown operations" in svg


def test_a_large_network_is_drawn_in_few_boxes(anatomy: Anatomy) -> None:
    wide = [Node(f"a{k}", "MatMul", CAND, 100, 8, (1, 4), ("x",)) for k in range(200)]
    deep = [Node(f"b{k}", "Add", CAND, 4, 0, (1, 4), (f"a{k}", f"b{k - 1}" if k else "x")) for k in range(200)]
    svg = draw(replace(anatomy, nodes={CAND: (*wide, *deep)}, crossings={}, inputs={CAND: {}}), "x")
    assert len(boxes(svg)) <= 2 * 40 + 1


def test_boxes_do_not_overlap_and_stand_inside(anatomy: Anatomy) -> None:
    root = ElementTree.fromstring(draw(anatomy, "x"))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    places = set()
    for group in boxes(draw(anatomy, "x")):
        box = next(group.iter(f"{SVG}rect"))
        x, y = float(box.attrib["x"]), float(box.attrib["y"])
        assert 0 <= x <= width - 168
        assert 0 <= y <= height - 38
        assert all(abs(x - a) >= 168 or abs(y - b) >= 38 for a, b in places)
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
