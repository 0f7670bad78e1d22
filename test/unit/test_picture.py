"""Pictures: the layered layout keeps its promises on any graph, and the SVG is well formed and complete."""

from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsir.driver.cli import main
from fsir.picture.layers import Box, draw

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SVG = "{http://www.w3.org/2000/svg}"


@st.composite
def graphs(draw_from: st.DrawFn) -> tuple[list[tuple[float, float]], list[tuple[int, int]]]:
    count = draw_from(st.integers(1, 14))
    size = st.tuples(st.integers(10, 90), st.integers(10, 60))
    node = st.integers(0, count - 1)
    return draw_from(st.lists(size, min_size=count, max_size=count)), draw_from(st.lists(st.tuples(node, node)))


def overlap(a: Box, b: Box) -> bool:
    apart_x = abs(a.x - b.x) >= (a.width + b.width) / 2
    return not apart_x and a.y < b.y + b.height and b.y < a.y + a.height


@given(graphs())
def test_nodes_do_not_overlap_and_edges_run_down(
    graph: tuple[list[tuple[float, float]], list[tuple[int, int]]],
) -> None:
    sizes, edges = graph
    drawing = draw(sizes, edges)
    assert [(box.width, box.height) for box in drawing.boxes] == sizes
    assert not any(overlap(a, b) for a, b in combinations(drawing.boxes, 2))
    for (source, target), route in zip(edges, drawing.routes, strict=True):
        upper, lower = (target, source) if route.back else (source, target)
        if source != target:
            assert drawing.boxes[upper].y + drawing.boxes[upper].height < drawing.boxes[lower].y
            xs = {drawing.boxes[source].x, drawing.boxes[target].x}
            assert {route.points[0][0], route.points[-1][0]} == xs
    for box in drawing.boxes:
        assert box.x - box.width / 2 >= 0 and box.x + box.width / 2 <= drawing.width + 1e-6


def test_a_diamond_has_three_layers() -> None:
    boxes = draw([(20, 10)] * 4, [(0, 1), (0, 2), (1, 3), (2, 3)]).boxes
    assert boxes[1].y == boxes[2].y
    assert boxes[0].x == pytest.approx((boxes[1].x + boxes[2].x) / 2) == pytest.approx(boxes[3].x)


def picture(capfd: pytest.CaptureFixture[str], passes: str) -> ET.Element:
    assert main([str(EXAMPLES / "scanner" / "scanner.o"), "-p", passes, "-t", "svg"]) == 0
    return ET.fromstring(capfd.readouterr().out)


def texts(root: ET.Element) -> list[str]:
    return [element.text or "" for element in root.iter(f"{SVG}text")]


def test_a_placed_module_shows_parts_handoffs_and_maps(capfd: pytest.CaptureFixture[str]) -> None:
    root = picture(capfd, "raise,optimize,decompose{targets=xdp,af-xdp},share-maps")
    words = texts(root)
    assert "kernel: @xdp_scanner on xdp" in words and "user space: @xdp_scanner on af-xdp" in words
    assert any(word.startswith("ipv4.protocol : i8") for word in words), "what the handoff carries"
    assert any(word.startswith("pinned: ") for word in words), "how maps are shared"
    assert any("all on af-xdp: " in word for word in words), "what it was compared with"
    assert [p for p in root.iter(f"{SVG}path") if p.get("marker-end") == "url(#handoff)"]


def test_a_module_that_is_not_placed_is_a_flow_graph(capfd: pytest.CaptureFixture[str]) -> None:
    words = texts(picture(capfd, "raise"))
    assert "@xdp_scanner" in words and "read eth.h_proto[0]" in words and "34 bytes there?" in words


def test_machine_code_can_be_drawn(capfd: pytest.CaptureFixture[str]) -> None:
    root = picture(capfd, "")
    assert any(word.startswith(("jeqi r", "jnei r")) for word in texts(root))
