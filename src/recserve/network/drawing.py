"""Draws a split network as one self-contained SVG: what runs for each item and each request, and what for a candidate.

The item and the request part stand side by side, the candidate part below; what it is handed over stands between, with
its bytes. Time runs down. A box is a region of nodes (see `regions`), shaded by its operations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from recserve.dtypes import DTYPES
from recserve.network.anatomy import Anatomy
from recserve.network.cut import ASSUMED_SIZE
from recserve.network.model import TensorSpec
from recserve.network.regions import Region, depths_of, gather
from recserve.rates import Rate

_WIDTH, _HEIGHT = 168, 38
_GAP_X, _GAP_Y = 14, 24
_MARGIN, _HEADER = 24, 96
_TOP: Final = 70
"""Of a lane, for its title and notes."""
_COLUMNS: Final = {Rate.ITEM: 4, Rate.REQUEST: 4, Rate.CANDIDATE: 8}
"""Boxes of one depth that stand side by side in a lane; more wrap."""
_LIMIT: Final = 40
"""Boxes of a lane that a reader can take in."""
_LANES: Final = (Rate.ITEM, Rate.REQUEST, Rate.CANDIDATE)
_COLOURS: Final = {Rate.ITEM: "#2b7a4b", Rate.REQUEST: "#2a5fa5", Rate.CANDIDATE: "#b4471f"}
_GREY, _ALARM = "#444444", "#c01048"
_WHEN: Final = {
    Rate.ITEM: "once per item version",
    Rate.REQUEST: "once per request",
    Rate.CANDIDATE: "once per candidate",
}


@dataclass(frozen=True)
class _Box:
    """One box: an input or a region, with the middle of its top."""

    x: float
    y: float
    lines: tuple[str, str]
    tip: str
    rate: Rate
    strength: float
    is_input: bool = False
    is_again: bool = False
    """An item value that is computed again for each candidate."""
    is_whole: bool = False
    """It holds a node that no rule handles."""


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
        self.unhandled = {node.name: node for node in anatomy.unhandled}
        self.regions = {rate: gather(nodes, _LIMIT) for rate, nodes in anatomy.nodes.items()}
        self.home = {(rate, n.name): r.name for rate, rs in self.regions.items() for r in rs for n in r.nodes}
        self.most = max((region.flops for regions in self.regions.values() for region in regions), default=0)
        self.boxes: dict[tuple[Rate, str], _Box] = {}
        self.lanes: dict[Rate, tuple[float, float, float, float]] = {}
        self._place()

    def _place(self) -> None:
        """Place both feeding lanes, what they hand over, and the candidate lane below."""
        left, bottom = float(_MARGIN), float(_HEADER)
        for rate in (Rate.ITEM, Rate.REQUEST):
            if rate in self.regions:
                rows = self._rows(rate, list(self.anatomy.inputs[rate]))
                width = self._lane_width(rate, rows)
                end = self._place_rows(rate, rows, (left, width), float(_HEADER + _TOP))
                self.lanes[rate] = (left, float(_HEADER), width, end)
                left, bottom = left + width + _MARGIN, max(bottom, end)
        for rate in set(self.lanes) - {Rate.CANDIDATE}:
            x, y, width, _ = self.lanes[rate]
            self.lanes[rate] = (x, y, width, bottom)
        rows = self._rows(Rate.CANDIDATE, [])
        crossings = list(self.anatomy.inputs[Rate.CANDIDATE])
        need = self._lane_width(Rate.CANDIDATE, rows, min(len(crossings), 6))
        width = max(left - 2 * _MARGIN, need, 860.0)
        self.cut = bottom + (58 if len(self.lanes) else 30)
        order = sorted(crossings, key=self._origin_order)
        lines = [order[k : k + self._fitting(width)] for k in range(0, len(order), self._fitting(width))]
        top = self._place_rows(Rate.CANDIDATE, lines, (float(_MARGIN), width), self.cut)
        self.top = top + 34
        end = self._place_rows(Rate.CANDIDATE, rows, (float(_MARGIN), width), self.top + _TOP)
        self.lanes[Rate.CANDIDATE] = (float(_MARGIN), self.top, width, end)
        self.width, self.height = width + 2 * _MARGIN, end + _MARGIN

    @staticmethod
    def _fitting(width: float) -> int:
        return max(1, int((width - _GAP_X) // (_WIDTH + _GAP_X)))

    def _origin_order(self, name: str) -> tuple[int, float]:
        """Where a crossing stands in the cut: by the lane and the place that it comes from."""
        rate = self.anatomy.crossings.get(name, Rate.CANDIDATE)
        start = self._start(rate, name)
        return _LANES.index(rate), 0.0 if start is None else start.x

    def _start(self, rate: Rate, name: str) -> _Box | None:
        """The box in a feeding lane that makes a crossing, or is it."""
        return None if rate is Rate.CANDIDATE else self.boxes.get((rate, self.home.get((rate, name), name)))

    def _rows(self, rate: Rate, inputs: list[str]) -> list[list[str]]:
        """Names of boxes by depth; rows too long are wrapped."""
        levels: dict[int, list[str]] = {0: inputs} if inputs else {}
        for name, depth in depths_of(self.regions[rate]).items():
            levels.setdefault(depth, []).append(name)
        size = _COLUMNS[rate]
        return [levels[k][i : i + size] for k in sorted(levels) for i in range(0, len(levels[k]), size)]

    @staticmethod
    def _lane_width(rate: Rate, rows: list[list[str]], least: int = 1) -> float:
        widest = min(max([least, *map(len, rows)]), _COLUMNS[rate])
        return float(max(widest * (_WIDTH + _GAP_X) + _GAP_X, 330))

    def _place_rows(self, rate: Rate, rows: list[list[str]], lane: tuple[float, float], top: float) -> float:
        """Place the boxes of a lane below one another; answer with the bottom."""
        left, width = lane
        by_name = {region.name: region for region in self.regions[rate]}
        for row in rows:
            order = sorted(row, key=lambda name: self._wish(rate, by_name.get(name)))
            first = left + (width - len(order) * (_WIDTH + _GAP_X) + _GAP_X) / 2 + _WIDTH / 2
            for k, name in enumerate(order):
                self.boxes[rate, name] = self._box(rate, name, by_name.get(name), (first + k * (_WIDTH + _GAP_X), top))
            top += _HEIGHT + _GAP_Y
        return top

    def _wish(self, rate: Rate, region: Region | None) -> float:
        """Where a box would like to stand: below the middle of what it reads."""
        known = [] if region is None else [self.boxes[rate, s].x for s in region.sources if (rate, s) in self.boxes]
        return sum(known) / len(known) if known else 0.0

    def _box(self, rate: Rate, name: str, region: Region | None, place: tuple[float, float]) -> _Box:
        x, y = place
        if region is None:
            spec = self.anatomy.inputs[rate][name]
            origin = self.anatomy.crossings.get(name, rate) if rate is Rate.CANDIDATE else rate
            size = _size(spec) if rate is Rate.CANDIDATE else ""
            tip = f"{name}: {spec.dtype}{list(spec.dims)}, from {origin.value} rate" + self._why(rate, name)
            is_whole = name in self.unhandled
            return _Box(x, y, (name, f"{_dims(spec)}{size}"), tip, origin, 0.0, is_input=True, is_whole=is_whole)
        last = region.nodes[-1]
        shape = "?" if last.shape is None else "×".join(map(str, last.shape[1:])) or "1"
        is_unknown = any(node.flops is None for node in region.nodes)
        count = ("at least " if is_unknown and region.flops else "") + format_flops(region.flops)
        second = f"{'unknown' if is_unknown and not region.flops else count} ops → {shape}"
        is_again = rate is Rate.CANDIDATE and any(node.name in self.decisions for node in region.nodes)
        is_whole = rate is Rate.CANDIDATE and any(node.name in self.unhandled for node in region.nodes)
        strength = math.log1p(region.flops) / math.log1p(self.most) if region.flops else 0.0
        tip = self._tip(rate, region)
        return _Box(x, y, (region.title(), second), tip, rate, strength, is_again=is_again, is_whole=is_whole)

    def _tip(self, rate: Rate, region: Region) -> str:
        """A line for each node of a region."""
        lines = []
        for node in region.nodes:
            shape = "unknown shape" if node.shape is None else f"shape {list(node.shape)} for one row"
            count = "unknown" if node.flops is None else f"{node.flops:,}"
            line = f"{node.op} {node.name}: {shape}, {count} operations, {node.bytes:,} bytes of weights"
            whole = self.unhandled.get(node.name) if rate is Rate.CANDIDATE else None
            lines.append(line + self._why(rate, node.name) + (f"; {whole.why()} {whole.advice()}" if whole else ""))
        return "\n".join(lines)

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
        """The whole document."""
        body = [*self._grounds(), *self._edges(), *self._box_marks(), *self._lane_texts(), *self._header()]
        size = f'width="{self.width:.0f}" height="{self.height:.0f}" viewBox="0 0 {self.width:.0f} {self.height:.0f}"'
        style = 'font-family="Helvetica, Arial, sans-serif" font-size="11"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style} role="img">'
        ground = f"<title>{escape(self.title)}</title>" + '<rect width="100%" height="100%" fill="#ffffff"/>'
        return "\n".join([head, ground, *body, "</svg>", ""])

    def _grounds(self) -> list[str]:
        """The lanes, behind all else."""
        return [
            f'<rect x="{left:.0f}" y="{top:.0f}" width="{width:.0f}" height="{bottom - top:.0f}" rx="8" '
            f'fill="{_COLOURS[rate]}" fill-opacity="0.05" stroke="{_COLOURS[rate]}" stroke-opacity="0.35"/>'
            for rate, (left, top, width, bottom) in self.lanes.items()
        ]

    def _lane_texts(self) -> list[str]:
        """What stands over the lanes and over the values that are handed over."""
        what = "Handed over to the candidate part: bytes for one row"
        marks = [_text(_MARGIN + 12, self.cut - 12, what, "#111111", 12, is_bold=True)]
        for rate, (left, top, _, _) in self.lanes.items():
            name = f"{rate.value} rate: {_WHEN[rate]}"
            marks.append(_text(left + 12, top + 20, name, _COLOURS[rate], 14, is_bold=True))
            marks += [_text(left + 12, top + 37 + 15 * k, line) for k, line in enumerate(self._notes(rate))]
        return marks

    def _notes(self, rate: Rate) -> list[str]:
        """The lines at the top of a lane."""
        count, work = len(self.anatomy.nodes[rate]), self.anatomy.flops(rate)
        notes = [
            f"{count} nodes, {format_flops(work)} operations, {self.anatomy.weight_bytes(rate):,} bytes of weights"
        ]
        if rate is Rate.ITEM:
            plan = self.anatomy.storing
            fetch = "" if plan is None else f", {1e3 * plan.gather_us:.3g} ns to fetch"
            return [*notes, f"{self.anatomy.item_bytes:,} bytes stored per item{fetch}"]
        flat = self.anatomy.flat_flops
        if rate is Rate.CANDIDATE and flat:
            share = f"{work / flat:.1%} of the {format_flops(flat)} that the whole network takes for each"
            return [f"{notes[0]}; {share}"]
        return notes

    def _edges(self) -> list[str]:
        lines = []
        for rate, regions in self.regions.items():
            for region in regions:
                known = [self.boxes[rate, s] for s in region.sources if (rate, s) in self.boxes]
                lines += [_edge(start, self.boxes[rate, region.name], "#777777", 1.0) for start in known]
        for name, rate in self.anatomy.crossings.items():
            start, end = self._start(rate, name), self.boxes.get((Rate.CANDIDATE, name))
            if start is not None and end is not None:
                lines.append(_edge(start, end, _COLOURS[rate], 2.0))
        return lines

    def _box_marks(self) -> list[str]:
        return [_box_mark(box) for box in self.boxes.values()]

    def _header(self) -> list[str]:
        """The title, how to read the picture, and the legend."""
        how = (
            "Time runs down. A box: its ops, its operations → the shape of its result, for one row (one item, request "
            f"or candidate). L: a size that only a request tells; it counts as {ASSUMED_SIZE}."
        )
        marks = [_text(_MARGIN, 26, self.title, "#111111", 16, is_bold=True), _text(_MARGIN, 46, how)]
        x, y = float(_MARGIN), 74
        for mark, text, colour in self._legend():
            if x > _MARGIN and x + 44 + 6 * len(text) > self.width:
                x, y = float(_MARGIN), y + 17
            marks += [f'<g transform="translate({x:.0f} {y})">{mark}</g>', _text(x + 38, y, text, colour)]
            x += 62 + 6 * len(text)
        return marks

    def _legend(self) -> list[tuple[str, str, str]]:
        """What there is to explain: a mark at (0, 0), its text and the text's colour."""
        shades = "".join(
            f'<rect x="{6 * k}" y="-11" width="6" height="14" fill="#555555" fill-opacity="{_opacity(k / 4):.2f}"/>'
            for k in range(5)
        )
        entries = [
            (shades, f"operations of a box: 0 to {format_flops(self.most)} (log)", _GREY),
            (_swatch("#555555", ' stroke-dasharray="4 3"', 7), "a value handed in, coloured by its rate", _GREY),
        ]
        if any(box.is_again for box in self.boxes.values()):
            mark = _swatch(_COLOURS[Rate.ITEM], ' stroke-width="2.5"', 3)
            entries.append((mark, "thick green border: of the item, but not stored", _GREY))
        if self.unhandled:
            entries.append((_swatch(_ALARM, ' stroke-width="3"', 3), "stays whole: no rule handles it", _ALARM))
        return entries


def _opacity(strength: float) -> float:
    return 0.08 + 0.82 * strength**2


def _box_mark(box: _Box) -> str:
    colour = _COLOURS[box.rate]
    opacity = 0.0 if box.is_input else _opacity(box.strength)
    ink = "#ffffff" if opacity > 0.5 else "#222222"
    radius, style = (16, ' stroke-dasharray="4 3"') if box.is_input else (4, "")
    border = _ALARM if box.is_whole else _COLOURS[Rate.ITEM] if box.is_again else colour
    style += ' stroke-width="3"' if box.is_whole else ' stroke-width="2.5"' if box.is_again else ""
    place = f'x="{box.x - _WIDTH / 2:.1f}" y="{box.y:.1f}" width="{_WIDTH}" height="{_HEIGHT}" rx="{radius}"'
    lines = [
        f'<text x="{box.x:.1f}" y="{box.y + dy:.1f}" text-anchor="middle" fill="{ink}"{weight}>'
        f"{escape(_short(line))}</text>"
        for line, dy, weight in zip(box.lines, (16, 31), (' font-weight="bold"', ""), strict=True)
    ]
    return (
        f"<g><title>{escape(box.tip)}</title>"
        f'<rect {place} fill="#ffffff" stroke="{border}"{style}/>'
        f'<rect {place} fill="{colour}" fill-opacity="{opacity:.2f}"/>{"".join(lines)}</g>'
    )


def _dims(spec: TensorSpec) -> str:
    inner = [str(d) if isinstance(d, int) else "L" for d in spec.dims[1:]]
    return "×".join(inner) or "1"


def _size(spec: TensorSpec) -> str:
    """The bytes of one row, after its dims; `≈` where a size is known at run time only."""
    numbers = math.prod(d if isinstance(d, int) else ASSUMED_SIZE for d in spec.dims[1:])
    is_known = all(isinstance(d, int) for d in spec.dims[1:])
    return f" · {'' if is_known else '≈ '}{numbers * DTYPES[spec.dtype].size_bytes:,} bytes"


def _swatch(colour: str, style: str, radius: int) -> str:
    return f'<rect y="-11" width="30" height="14" rx="{radius}" fill="#ffffff" stroke="{colour}"{style}/>'


def _text(x: float, y: float, text: str, colour: str = _GREY, size: int = 11, *, is_bold: bool = False) -> str:
    weight = ' font-weight="bold"' if is_bold else ""
    halo = 'stroke="#ffffff" stroke-width="3" stroke-opacity="0.85" paint-order="stroke"'
    place = f'x="{x:.0f}" y="{y:.0f}" font-size="{size}"'
    return f"<text {place} fill={quoteattr(colour)}{weight} {halo}>{escape(text)}</text>"


def _edge(start: _Box, end: _Box, colour: str, width: float) -> str:
    y1, y2 = start.y + _HEIGHT, end.y
    bend = max(abs(y2 - y1) / 2, 14.0)
    path = f"M{start.x:.1f},{y1:.1f} C{start.x:.1f},{y1 + bend:.1f} {end.x:.1f},{y2 - bend:.1f} {end.x:.1f},{y2:.1f}"
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-opacity="0.6" stroke-width="{width}"/>'


def _short(label: str) -> str:
    return label if len(label) <= 26 else f"{label[:15]}…{label[-10:]}"
