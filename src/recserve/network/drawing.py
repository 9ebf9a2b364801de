"""Draws a split network as one self-contained SVG: a lane for each rate, a box for each node, shaded by its operations.

Lanes stand side by side, item, request, candidate; time runs down. A box stands below everything that it reads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from recserve.network.anatomy import Anatomy, Node
from recserve.rates import Rate

_WIDTH, _HEIGHT = 132, 26
_GAP_X, _GAP_Y = 14, 20
_MARGIN, _HEADER, _LEGEND = 24, 92, 74
_COLUMNS: Final = 6
"""Boxes of one depth that stand side by side in a lane; more wrap."""
_LANES: Final = (Rate.ITEM, Rate.REQUEST, Rate.CANDIDATE)
_COLOURS: Final = {Rate.ITEM: "#2b7a4b", Rate.REQUEST: "#2a5fa5", Rate.CANDIDATE: "#b4471f"}
_WHEN: Final = {
    Rate.ITEM: "once per item version",
    Rate.REQUEST: "once per request",
    Rate.CANDIDATE: "once per candidate",
}


@dataclass(frozen=True)
class _Box:
    """One box: an input or a node, with the middle of its top."""

    x: float
    y: float
    label: str
    tip: str
    rate: Rate
    strength: float
    is_input: bool = False
    is_again: bool = False
    """An item value that is computed again for each candidate."""


def draw(anatomy: Anatomy, title: str) -> str:
    """The SVG document.

    Args:
        anatomy: the network taken apart.
        title: the first line.
    """
    return _Picture(anatomy, title).text()


def format_flops(count: int) -> str:
    """A count of operations in a few characters, such as `12.3k`."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return str(count)


class _Picture:
    def __init__(self, anatomy: Anatomy, title: str) -> None:
        self.anatomy, self.title = anatomy, title
        plan = anatomy.storing
        self.decisions = {} if plan is None else {decision.value: decision for decision in plan.decisions}
        self.most = max((n.flops or 0 for nodes in anatomy.nodes.values() for n in nodes), default=0)
        self.boxes: dict[tuple[Rate, str], _Box] = {}
        self.lanes: dict[Rate, tuple[float, float]] = {}
        self.height = 0.0
        left = float(_MARGIN)
        for rate in _LANES:
            if rate in anatomy.nodes:
                left = self._place_lane(rate, left) + _MARGIN
        self.width = max(left, 760.0)

    def _place_lane(self, rate: Rate, left: float) -> float:
        """Place the boxes of a lane; answer with its right border."""
        nodes = self.anatomy.nodes[rate]
        inputs = list(self.anatomy.inputs[rate])
        depth = dict.fromkeys(inputs, 0)
        rows: dict[int, list[str]] = {0: inputs} if inputs else {}
        for node in nodes:
            depth[node.name] = 1 + max((depth.get(s, 0) for s in node.sources), default=0)
            rows.setdefault(depth[node.name], []).append(node.name)
        widest = min(max((len(row) for row in rows.values()), default=1), _COLUMNS)
        width = max(widest * (_WIDTH + _GAP_X) + _GAP_X, 270)
        by_name = {node.name: node for node in nodes}
        centre: dict[str, float] = {}
        top = float(_HEADER + _LEGEND)
        for level in sorted(rows):
            row = sorted(rows[level], key=lambda n: self._wish(by_name.get(n), centre))
            for start in range(0, len(row), _COLUMNS):
                line = row[start : start + _COLUMNS]
                first = left + (width - len(line) * (_WIDTH + _GAP_X) + _GAP_X) / 2 + _WIDTH / 2
                for k, name in enumerate(line):
                    centre[name] = first + k * (_WIDTH + _GAP_X)
                    self.boxes[rate, name] = self._box(rate, name, by_name.get(name), centre[name], top)
                top += _HEIGHT + _GAP_Y
        self.lanes[rate] = (left, width)
        self.height = max(self.height, top + _MARGIN)
        return left + width

    @staticmethod
    def _wish(node: Node | None, centre: dict[str, float]) -> float:
        """Where a box would like to stand: below the middle of what it reads."""
        known = [] if node is None else [centre[s] for s in node.sources if s in centre]
        return sum(known) / len(known) if known else 0.0

    def _box(self, rate: Rate, name: str, node: Node | None, x: float, y: float) -> _Box:
        if node is None:
            spec = self.anatomy.inputs[rate][name]
            origin = self.anatomy.crossings.get(name, rate) if rate is Rate.CANDIDATE else rate
            tip = f"{name}: {spec.dtype}{list(spec.dims)}, from {origin.value} rate" + self._why(rate, name)
            return _Box(x, y, name, tip, origin, 0.0, True)
        strength = math.log1p(node.flops) / math.log1p(self.most) if node.flops else 0.0
        label = f"{node.op} {format_flops(node.flops)}" if node.flops else node.op
        shape = "unknown shape" if node.shape is None else f"shape {list(node.shape)} for one row"
        tip = f"{node.op} {node.name}: {shape}, {node.flops or 0:,} operations, {node.bytes:,} bytes of weights"
        is_again = rate is Rate.CANDIDATE and name in self.decisions
        return _Box(x, y, label, tip + self._why(rate, name), rate, strength, is_again=is_again)

    def _why(self, rate: Rate, name: str) -> str:
        """What was decided on an item value that the candidate part has."""
        decision = self.decisions.get(name)
        if decision is None or rate is not Rate.CANDIDATE:
            return ""
        size, ns = f"{decision.size_bytes:,} bytes", f"{1e3 * decision.us:.3g} ns"
        other = "no other way" if decision.instead_us is None else f"the other way {1e3 * decision.instead_us:+.3g} ns"
        if decision.action == "store":
            return f"; stored for each item: {size}, {ns} to fetch; {other}"
        return f"; computed again for each candidate: {ns}, spares {size} an item; {other}"

    def text(self) -> str:
        body = [*self._lane_marks(), *self._edges(), *self._box_marks(), *self._header()]
        size = f'width="{self.width:.0f}" height="{self.height:.0f}" viewBox="0 0 {self.width:.0f} {self.height:.0f}"'
        style = 'font-family="Helvetica, Arial, sans-serif" font-size="11"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style} role="img">'
        ground = f"<title>{escape(self.title)}</title>" + '<rect width="100%" height="100%" fill="#ffffff"/>'
        return "\n".join([head, ground, *body, "</svg>", ""])

    def _lane_marks(self) -> list[str]:
        marks = []
        for rate, (left, width) in self.lanes.items():
            colour, top = _COLOURS[rate], _LEGEND
            marks.append(
                f'<rect x="{left:.0f}" y="{top}" width="{width:.0f}" height="{self.height - top - 12:.0f}" rx="8" '
                f'fill="{colour}" fill-opacity="0.05" stroke="{colour}" stroke-opacity="0.35"/>'
            )
            nodes = self.anatomy.nodes[rate]
            lines = [
                f"{len(nodes)} nodes, {format_flops(self.anatomy.flops(rate))} operations",
                f"{self.anatomy.weight_bytes(rate):,} bytes of weights",
            ]
            name = f"{rate.value} rate: {_WHEN[rate]}"
            marks.append(_text(left + 12, top + 20, name, colour, 13, is_bold=True))
            marks += [_text(left + 12, top + 37 + 15 * k, line, "#444444") for k, line in enumerate(lines)]
            note = self._note(rate)
            marks += [_text(left + 12, top + 67, note, "#444444")] if note else []
        return marks

    def _note(self, rate: Rate) -> str:
        """The last line over a lane."""
        if rate is Rate.ITEM:
            plan = self.anatomy.storing
            fetch = "" if plan is None else f", {1e3 * plan.gather_us:.3g} ns to fetch"
            return f"{self.anatomy.item_bytes:,} bytes stored per item{fetch}"
        again = [box for box in self.boxes.values() if box.is_again and box.rate is rate]
        return "thick green border: of the item, but not stored" if again else ""

    def _edges(self) -> list[str]:
        lines = []
        for rate, nodes in self.anatomy.nodes.items():
            for node in nodes:
                known = [self.boxes[rate, s] for s in node.sources if (rate, s) in self.boxes]
                lines += [_edge(start, self.boxes[rate, node.name], "#888888", 1.0) for start in known]
        for name, rate in self.anatomy.crossings.items():
            start, end = self.boxes.get((rate, name)), self.boxes.get((Rate.CANDIDATE, name))
            if rate is not Rate.CANDIDATE and start is not None and end is not None:
                lines.append(_edge(start, end, _COLOURS[rate], 1.8))
        return lines

    def _box_marks(self) -> list[str]:
        marks = []
        for box in self.boxes.values():
            colour = _COLOURS[box.rate]
            opacity = 0.08 + 0.82 * box.strength**2
            fill = "#ffffff" if box.is_input else colour
            text = "#ffffff" if opacity > 0.5 and not box.is_input else "#222222"
            radius, dash = (13, ' stroke-dasharray="4 3"') if box.is_input else (4, "")
            border = _COLOURS[Rate.ITEM] if box.is_again else colour
            dash += ' stroke-width="2.5"' if box.is_again else ""
            marks.append(
                f"<g><title>{escape(box.tip)}</title>"
                f'<rect x="{box.x - _WIDTH / 2:.1f}" y="{box.y:.1f}" width="{_WIDTH}" height="{_HEIGHT}" rx="{radius}" '
                f'fill="#ffffff" stroke="{border}"{dash}/>'
                f'<rect x="{box.x - _WIDTH / 2:.1f}" y="{box.y:.1f}" width="{_WIDTH}" height="{_HEIGHT}" rx="{radius}" '
                f'fill="{fill}" fill-opacity="{0 if box.is_input else opacity:.2f}"/>'
                f'<text x="{box.x:.1f}" y="{box.y + 17:.1f}" text-anchor="middle" fill="{text}">'
                f"{escape(_short(box.label))}</text></g>"
            )
        return marks

    def _header(self) -> list[str]:
        x, y = float(_MARGIN), 50
        marks = [_text(x, 26, self.title, "#111111", 16, is_bold=True)]
        for k in range(5):
            opacity = 0.08 + 0.82 * (k / 4) ** 2
            marks.append(
                f'<rect x="{x + 22 * k:.0f}" y="{y - 11}" width="22" height="14" fill="#555555" '
                f'fill-opacity="{opacity:.2f}" stroke="#555555"/>'
            )
        marks.append(_text(x + 118, y, f"operations of a node: 0 to {format_flops(self.most)} (log)", "#444444"))
        x += 390
        marks.append(
            f'<rect x="{x:.0f}" y="{y - 11}" width="30" height="14" rx="7" fill="#ffffff" stroke="#555555" '
            'stroke-dasharray="4 3"/>'
        )
        marks.append(_text(x + 38, y, "an input; coloured by where it comes from", "#444444"))
        return marks


def _text(x: float, y: float, text: str, colour: str, size: int = 11, *, is_bold: bool = False) -> str:
    weight = ' font-weight="bold"' if is_bold else ""
    return f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" fill={quoteattr(colour)}{weight}>{escape(text)}</text>'


def _edge(start: _Box, end: _Box, colour: str, width: float) -> str:
    y1, y2 = start.y + _HEIGHT, end.y
    bend = max(abs(y2 - y1) / 2, 14.0)
    path = f"M{start.x:.1f},{y1:.1f} C{start.x:.1f},{y1 + bend:.1f} {end.x:.1f},{y2 - bend:.1f} {end.x:.1f},{y2:.1f}"
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-opacity="0.6" stroke-width="{width}"/>'


def _short(label: str) -> str:
    return label if len(label) <= 21 else f"{label[:10]}…{label[-10:]}"
