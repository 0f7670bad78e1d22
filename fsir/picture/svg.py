"""A scene as SVG: lanes side by side in the order in which packets travel, blocks in the colour of where they run, the
darker the more packets come to them; handoffs from lane to lane with what they carry; maps below."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from xml.etree import ElementTree as ET

from fsir.picture.layers import Drawing, Point, draw
from fsir.picture.scene import Handoff, Lane, Node, Scene, SharedMap

_FONT, _LINE, _CHAR = 11, 14.0, 7.0
"""Size of the letters, distance of lines, width of a letter (monospaced), in pixels."""
_PAD, _MARGIN, _LANE_GAP, _LANE_HEAD = 7.0, 24.0, 90.0, 52.0
_COLOURS: dict[int, tuple[int, int, int]] = {-1: (96, 110, 130), 0: (36, 138, 92), 1: (46, 98, 190), 2: (200, 98, 24)}
"""By level: none, NIC, kernel, user space."""
_LEVELS = {0: "NIC", 1: "kernel", 2: "user space"}
_INK, _PALE, _HANDOFF = "#1c2430", "#6a7686", "#b3261e"
_SMALL = {"fill": _PALE, "font-size": "9"}
_CARRIED = {"fill": _HANDOFF, "font-size": "9"}
_SMALL_CHAR = 5.8
_FORK = 7.0  # two branches leave a block so far from its middle


def render(scene: Scene) -> str:
    """The picture as a stand-alone SVG document."""
    return _Picture(scene).document()


class _Picture:
    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.root = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "font-family": "monospace"})
        self.root.set("font-size", str(_FONT))
        self._labels: dict[int, list[tuple[float, float]]] = {}  # by lane: from where to where there are some
        self._defs()
        self.drawings = [_layout(lane) for lane in scene.lanes]
        self.lefts = list(self._lefts())
        self.head = 44 + _LINE * len(scene.notes)
        self.top = self.head + _LANE_HEAD
        self.width = max([self.lefts[-1] + self._lane_width(-1) if self.lefts else 0.0, 560.0]) + _MARGIN
        self.height = self.top + max((d.height for d in self.drawings), default=0.0) + _MARGIN

    def document(self) -> str:
        self._header()
        background = len(self.root)
        for number in range(len(self.scene.lanes)):
            self._lane(number)
        for number, handoff in enumerate(self.scene.handoffs):
            self._way_over(handoff, number)
        for number in range(len(self.scene.lanes)):
            self._nodes(number)
        for handoff in self.scene.handoffs:
            self._carried(handoff)
        self._maps(self.scene.maps)
        self.root.insert(background, _rect(0, 0, self.width, self.height, {"fill": "white"}))
        self.root.insert(0, self.root[background])
        del self.root[background + 1]
        self.root.set("viewBox", f"0 0 {self.width:.0f} {self.height:.0f}")
        self.root.set("width", f"{self.width:.0f}")
        self.root.set("height", f"{self.height:.0f}")
        ET.indent(self.root)
        return ET.tostring(self.root, encoding="unicode") + "\n"

    def _defs(self) -> None:
        defs = ET.SubElement(self.root, "defs")
        for name, colour in (("arrow", _PALE), ("handoff", _HANDOFF)):
            box = {"id": name, "viewBox": "0 0 8 8", "refX": "7", "refY": "4", "orient": "auto"}
            marker = ET.SubElement(defs, "marker", box | {"markerWidth": "7", "markerHeight": "7"})
            ET.SubElement(marker, "path", {"d": "M0 0 8 4 0 8z", "fill": colour})

    def _header(self) -> None:
        self._text(_MARGIN, 26, self.scene.title, {"font-size": "16", "font-weight": "bold"})
        for row, note in enumerate(self.scene.notes):
            self._text(_MARGIN, 44 + row * _LINE, note, {"fill": _PALE})

    # --- lanes -------------------------------------------------------------------------------------------------------

    def _lane_width(self, number: int) -> float:
        lane = self.scene.lanes[number]
        return max(self.drawings[number].width, _CHAR * max(len(lane.title), len(lane.subtitle)))

    def _lefts(self) -> Iterable[float]:
        x = _MARGIN * 2
        for number in range(len(self.drawings)):
            yield x
            carried = [line for h in self.scene.handoffs if h.source[0] == number for line in _told(h)]
            x += self._lane_width(number) + _LANE_GAP + _SMALL_CHAR * max(map(len, carried), default=0)

    def _lane(self, number: int) -> None:
        lane, left, width = self.scene.lanes[number], self.lefts[number], self._lane_width(number)
        r, g, b = _COLOURS[lane.level]
        high = _LANE_HEAD + self.drawings[number].height + _MARGIN / 2
        style = {"fill": f"rgb({r},{g},{b})", "fill-opacity": "0.05", "stroke": f"rgb({r},{g},{b})", "rx": "8"}
        self.root.append(_rect(left - _MARGIN, self.head, width + 2 * _MARGIN, high, style | {"stroke-opacity": "0.4"}))
        level = f"{_LEVELS[lane.level]}: " if lane.level in _LEVELS else ""
        self._text(left, self.head + 18, level + lane.title, {"font-weight": "bold", "fill": f"rgb({r},{g},{b})"})
        self._text(left, self.head + 18 + _LINE, lane.subtitle, {"fill": _PALE})

    def _at(self, lane: int, point: Point) -> Point:
        shift = (self._lane_width(lane) - self.drawings[lane].width) / 2
        return point[0] + self.lefts[lane] + shift, point[1] + self.top

    def _nodes(self, number: int) -> None:
        lane, drawing = self.scene.lanes[number], self.drawings[number]
        right = {source: max(pair)[1] for source, pair in _pairs(lane, drawing).items()}
        for index, (branch, route) in enumerate(zip(lane.branches, drawing.routes, strict=True)):
            points = [self._at(number, point) for point in route.points]
            style = {"fill": "none", "stroke": _PALE, "marker-end": "url(#arrow)"}
            if route.back:
                style["stroke-dasharray"] = "5 3"
            if branch.label:
                (x, y), aside = points[0], right[branch.source] == index
                points[0] = (x + _FORK if aside else x - _FORK, y)
                x += _FORK + 3 if aside else -_FORK - 3 - 5.4 * len(branch.label)
                self._text(x, y + (-2 if route.back else 9), branch.label, _SMALL)
            ET.SubElement(self.root, "path", {"d": _curve(points)} | style)
        for node, box in zip(lane.nodes, drawing.boxes, strict=True):
            x, y = self._at(number, (box.x - box.width / 2, box.y))
            self._node(node, lane.level, x, y, box.width, box.height)

    def _node(self, node: Node, level: int, x: float, y: float, width: float, height: float) -> None:
        r, g, b = _COLOURS[level]
        group = ET.SubElement(self.root, "g")
        ET.SubElement(group, "title").text = node.text
        opacity = 0.08 + 0.4 * min(node.share, 1.0)
        group.append(_rect(x, y, width, height, {"fill": "white", "rx": "4"}))
        style = {
            "fill": f"rgb({r},{g},{b})",
            "fill-opacity": f"{opacity:.2f}",
            "stroke": f"rgb({r},{g},{b})",
            "rx": "4",
        }
        group.append(_rect(x, y, width, height, style))
        _text(group, x + _PAD, y + _LINE, f"{node.title}  {_share(node.share)}", _SMALL)
        for row, line in enumerate(node.lines, 2):
            _text(group, x + _PAD, y + row * _LINE, line, {"fill": _INK})

    # --- handoffs and maps -------------------------------------------------------------------------------------------

    def _way_over(self, handoff: Handoff, number: int) -> None:
        """The line of a handoff: across to the gap between the lanes, along it, and across to where it goes on."""
        (lane, node), target = handoff.source, handoff.target
        if target is None:
            return
        start, end = self.drawings[lane].boxes[node], self.drawings[target[0]].boxes[target[1]]
        x1, y1 = self._at(lane, (start.x + start.width / 2, start.y + start.height / 2))
        x2, y2 = self._at(target[0], (end.x - end.width / 2, end.y + end.height / 2))
        turn = self.lefts[target[0]] - _MARGIN - 10 - 6 * (number % 5)
        round_ = max(-10.0, min(10.0, (y2 - y1) / 2))
        path = (
            f"M{x1:.1f} {y1:.1f} H{turn - 10:.1f} Q{turn:.1f} {y1:.1f} {turn:.1f} {y1 + round_:.1f} "
            f"V{y2 - round_:.1f} Q{turn:.1f} {y2:.1f} {turn + 10:.1f} {y2:.1f} H{x2:.1f}"
        )
        group = ET.SubElement(self.root, "g")
        ET.SubElement(group, "title").text = "\n".join((*handoff.fields, *handoff.notes))
        style = {"fill": "none", "stroke": _HANDOFF, "stroke-width": "2", "marker-end": "url(#handoff)"}
        ET.SubElement(group, "path", {"d": path} | style)

    def _carried(self, handoff: Handoff) -> None:
        """What a handoff carries, in the gap, below its line; below others that are there."""
        (lane, node), lines = handoff.source, _told(handoff)
        if handoff.target is None:
            return
        start = self.drawings[lane].boxes[node]
        x = self.lefts[lane] + self._lane_width(lane) + _MARGIN + 6
        y = self._at(lane, (0.0, start.y + start.height / 2))[1] + 4
        high = 11.0 * len(lines) + 4
        for top, bottom in sorted(self._labels.setdefault(lane, [])):
            if y < bottom and top < y + high:
                y = bottom + 4
        self._labels[lane].append((y, y + high))
        back = {"fill": "white", "fill-opacity": "0.8", "rx": "3"}
        self.root.append(_rect(x - 3, y, _SMALL_CHAR * max(map(len, lines)) + 6, high, back))
        for row, line in enumerate(lines, 1):
            self._text(x, y - 1 + row * 11, line, _CARRIED)

    def _maps(self, maps: list[SharedMap]) -> None:
        y = self.height + 4
        if maps:
            self._text(_MARGIN, y, "maps", {"font-weight": "bold"})
        for shared in maps:
            y += _LINE * 1.4
            x = _MARGIN
            for lane in shared.lanes:
                r, g, b = _COLOURS[self.scene.lanes[lane].level]
                circle = {"cx": f"{x + 4:.1f}", "cy": f"{y - 4:.1f}", "r": "4", "fill": f"rgb({r},{g},{b})"}
                ET.SubElement(self.root, "circle", circle)
                x += 11
            self._text(x + 4, y, shared.title, {"fill": _INK})
            for note in shared.notes:
                y += _LINE
                self._text(x + 16, y, note, {"fill": _PALE})
                self.width = max(self.width, x + 16 + _CHAR * len(note) + _MARGIN)
        self.height = y + _MARGIN

    def _text(self, x: float, y: float, text: str, style: dict[str, str]) -> None:
        _text(self.root, x, y, text, style)
        size = float(style.get("font-size", _FONT)) / _FONT
        if hasattr(self, "width"):
            self.width = max(self.width, x + _CHAR * size * len(text) + _MARGIN)


def _told(handoff: Handoff) -> tuple[str, ...]:
    return tuple(handoff.fields) or ("nothing carried",)


def _layout(lane: Lane) -> Drawing:
    sizes = []
    for node in lane.nodes:
        longest = max([len(line) for line in node.lines] + [0.82 * (len(node.title) + 8)])
        sizes.append((longest * _CHAR + 2 * _PAD, (len(node.lines) + 1) * _LINE + _PAD))
    return draw(sizes, [(branch.source, branch.target) for branch in lane.branches])


def _pairs(lane: Lane, drawing: Drawing) -> dict[int, list[tuple[float, int]]]:
    """By node, where its branches go on to (x) and their numbers."""
    pairs: dict[int, list[tuple[float, int]]] = {}
    for number, (branch, route) in enumerate(zip(lane.branches, drawing.routes, strict=True)):
        pairs.setdefault(branch.source, []).append((route.points[1][0], number))
    return pairs


def _share(share: float) -> str:
    """Packets that come here, as a share, or as a number of times in a loop."""
    if share > 1.005:
        return f"×{share:.1f}"
    return f"{100 * share:.0f} %" if share >= 0.01 or share == 0 else "<1 %"


def _curve(points: list[Point]) -> str:
    """A smooth way down through points; every piece leaves and arrives vertically."""
    text = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for (x1, y1), (x2, y2) in pairwise(points):
        middle = (y1 + y2) / 2
        text += f" C{x1:.1f} {middle:.1f} {x2:.1f} {middle:.1f} {x2:.1f} {y2:.1f}"
    return text


def _rect(x: float, y: float, width: float, height: float, style: dict[str, str]) -> ET.Element:
    place = {"x": f"{x:.1f}", "y": f"{y:.1f}", "width": f"{width:.1f}", "height": f"{height:.1f}"}
    return ET.Element("rect", place | style)


def _text(parent: ET.Element, x: float, y: float, text: str, style: dict[str, str]) -> None:
    element = ET.SubElement(parent, "text", {"x": f"{x:.1f}", "y": f"{y:.1f}"} | style)
    element.set("xml:space", "preserve")
    element.text = text
