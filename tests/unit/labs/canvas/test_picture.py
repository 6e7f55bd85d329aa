"""The SVG picture of a topology."""

from __future__ import annotations

from xml.etree import ElementTree

from gns3_minivm.labs.canvas.picture import PictureLink, PictureNode, draw_picture

SVG = "{http://www.w3.org/2000/svg}"
PAIR = [
    PictureNode(name="r1", x=-200, y=0, shape="router", what="frr", status="started"),
    PictureNode(name="sw", x=100, y=50, shape="switch", status="stopped"),
]


def draw(nodes: list[PictureNode], links: list[PictureLink]) -> ElementTree.Element:
    return ElementTree.fromstring(draw_picture("lab", nodes, links).encode())


def texts(root: ElementTree.Element, kind: str) -> list[str]:
    return [element.text or "" for element in root.iter(f"{SVG}text") if element.get("class") == kind]


def test_names_templates_ports_and_states_are_shown() -> None:
    root = draw(PAIR, [PictureLink("r1", "sw", "eth0", "Ethernet3")])
    assert (texts(root, "name"), texts(root, "what"), texts(root, "port")) == (
        ["r1", "sw"],
        ["frr"],
        ["eth0", "Ethernet3"],
    )
    assert [circle.get("fill") for circle in root.iter(f"{SVG}circle") if circle.get("r") == "6"] == [
        "#2e9e4f",
        "#c0392b",
    ]


def test_everything_is_inside_the_picture() -> None:
    root = draw(PAIR, [])
    left, top, width, height = (float(number) for number in (root.get("viewBox") or "").split())
    for node in PAIR:
        assert left < node.x and node.x + 60 < left + width
        assert top < node.y and node.y + 60 + 30 < top + height


def test_links_between_the_same_nodes_are_drawn_apart() -> None:
    root = draw(PAIR, [PictureLink("r1", "sw"), PictureLink("sw", "r1"), PictureLink("r1", "sw")])
    bends = [
        (path.get("d") or "").split("Q ")[1].split()[:2] for path in root.iter(f"{SVG}path") if path.get("aria-label")
    ]
    assert len({tuple(bend) for bend in bends}) == 3


def test_a_link_of_a_node_with_itself_is_a_loop() -> None:
    root = draw(PAIR, [PictureLink("r1", "r1")])
    assert [path for path in root.iter(f"{SVG}path") if " C " in (path.get("d") or "")]


def test_names_with_markup_and_control_characters_make_a_sound_document() -> None:
    nodes = [PictureNode(name='a<b>&"c', x=0, y=0, what="\x1b[31m"), PictureNode(name="\N{SNOWMAN}", x=200, y=0)]
    root = draw(nodes, [PictureLink('a<b>&"c', "\N{SNOWMAN}", "e<0", "e\x000")])
    assert texts(root, "name") == ['a<b>&"c', "\N{SNOWMAN}"]
    assert texts(root, "port") == ["e<0", "e\N{REPLACEMENT CHARACTER}0"]


def test_an_empty_topology_is_a_picture_too() -> None:
    assert draw([], []).get("width") == "180"


def test_the_same_scene_is_the_same_document() -> None:
    assert draw_picture("x", PAIR, []) == draw_picture("x", PAIR, [])
