"""The automatic layout: readable, the same each time, around what stands already."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gns3_minivm.labs.canvas.geometry import crossings, runs_behind
from gns3_minivm.labs.canvas.layout import NODE_SIZE, place_nodes

Links = list[tuple[str, str]]
Placed = dict[str, tuple[int, int]]

RING = [(f"r{i}", f"r{(i + 1) % 8}") for i in range(8)]
STAR = [("sw", f"pc{i}") for i in range(8)]
GRID = [(f"r{x}{y}", f"r{x + 1}{y}") for x in range(3) for y in range(4)]
GRID += [(f"r{x}{y}", f"r{x}{y + 1}") for x in range(4) for y in range(3)]
FABRIC = [(f"spine{i}", f"leaf{j}") for i in range(3) for j in range(5)] + [
    (f"pc{i}", f"leaf{i % 5}") for i in range(12)
]
CAMPUS = [("core", f"d{i}") for i in range(4)] + [(f"d{i}", f"pc{i}-{j}") for i in range(4) for j in range(3)]


def names_of(links: Links) -> list[str]:
    return list(dict.fromkeys(name for link in links for name in link))


def middles(placed: Placed) -> dict[str, tuple[float, float]]:
    return {name: (x + NODE_SIZE / 2, y + NODE_SIZE / 2) for name, (x, y) in placed.items()}


def overlapping(placed: Placed) -> list[tuple[str, str]]:
    """Nodes that touch, their names below them counted in (7 pixels for each letter)."""
    return [
        (one, other)
        for one, other in itertools.combinations(placed, 2)
        if abs(placed[one][0] - placed[other][0]) < max(NODE_SIZE, 7 * (len(one) + len(other)) / 2)
        and abs(placed[one][1] - placed[other][1]) < NODE_SIZE + 25
    ]


@pytest.mark.parametrize("links", [RING, STAR, GRID, CAMPUS], ids=["ring", "star", "grid", "campus"])
def test_links_neither_cross_nor_run_behind_nodes_where_that_can_be(links: Links) -> None:
    placed = place_nodes(names_of(links), links)
    assert crossings(links, links, middles(placed)) == 0
    assert runs_behind(links, middles(placed), middles(placed), NODE_SIZE) == 0
    assert not overlapping(placed)


def test_links_have_room_for_the_names_of_their_ports() -> None:
    points = middles(place_nodes(names_of(FABRIC), FABRIC))
    assert min(math.dist(points[one], points[other]) for one, other in FABRIC) > 130


def test_a_chain_is_a_row_from_left_to_right() -> None:
    placed = place_nodes(["a", "b", "c", "d"], [("a", "b"), ("b", "c"), ("c", "d")])
    xs, ys = [x for x, _ in placed.values()], [y for _, y in placed.values()]
    assert xs == sorted(xs) and max(xs) - min(xs) > 5 * (max(ys) - min(ys))


def test_neighbours_are_nearer_than_others() -> None:
    points = middles(place_nodes(names_of(CAMPUS), CAMPUS))
    for distribution in range(4):
        x, y = points[f"pc{distribution}-0"]
        order = sorted(range(4), key=lambda i: (points[f"d{i}"][0] - x) ** 2 + (points[f"d{i}"][1] - y) ** 2)
        assert order[0] == distribution


def test_the_drawing_is_around_the_middle_of_the_canvas() -> None:
    placed = place_nodes(names_of(GRID), GRID)
    for axis in (0, 1):
        values = [position[axis] for position in placed.values()]
        assert abs(min(values) + max(values)) <= 2 * NODE_SIZE


def test_nodes_without_links_stand_beside_the_others() -> None:
    placed = place_nodes(["r1", "r2", "alone", "alone-too"], [("r1", "r2")])
    assert len(set(placed.values())) == 4 and not overlapping(placed)


def test_positions_that_are_given_stay_and_new_nodes_come_near_their_neighbours() -> None:
    fixed = {"r1": (-400, 0), "r2": (400, 35)}
    placed = place_nodes(["r1", "r2", "pc"], [("r1", "r2"), ("r2", "pc")], fixed)
    assert {name: placed[name] for name in fixed} == fixed
    assert 60 < abs(placed["pc"][0] - 400) + abs(placed["pc"][1] - 35) < 400
    assert place_nodes(["r1", "r2"], [("r1", "r2")], fixed) == fixed


def test_what_is_linked_to_nothing_that_is_fixed_does_not_stand_on_it() -> None:
    fixed = {"r1": (0, 0), "r2": (200, 0)}
    placed = place_nodes(["r1", "r2", "a", "b"], [("r1", "r2"), ("a", "b")], fixed)
    assert not overlapping(placed)


def test_a_link_of_a_node_with_itself_and_links_side_by_side_are_no_trouble() -> None:
    placed = place_nodes(["a", "b"], [("a", "a"), ("a", "b"), ("b", "a")])
    assert not overlapping(placed)


def test_no_nodes_have_no_places() -> None:
    assert place_nodes([], []) == {}


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[str], Links, Placed]:
    names = draw(st.lists(st.text("abcdefgh-", min_size=1, max_size=20), min_size=1, max_size=12, unique=True))
    links = draw(st.lists(st.tuples(st.sampled_from(names), st.sampled_from(names)), max_size=20))
    spot = st.tuples(st.integers(-500, 500), st.integers(-500, 500))
    return names, links, draw(st.dictionaries(st.sampled_from(names), spot, max_size=3))


@given(graphs())
@settings(max_examples=60, deadline=None)
def test_any_graph_is_placed_without_overlaps_and_the_same_twice(graph: tuple[list[str], Links, Placed]) -> None:
    names, links, fixed = graph
    placed = place_nodes(names, links, fixed)
    assert list(placed) == names
    assert all(placed[name] == position for name, position in fixed.items())
    # Two that the user has put on one spot stay there.
    assert not [pair for pair in overlapping(placed) if not set(pair) <= set(fixed)]
    assert place_nodes(names, links, fixed) == placed
