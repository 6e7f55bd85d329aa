"""Places nodes on the canvas by default: near what they are linked to, and readable.

Pure and deterministic.  Three steps: distances on the canvas follow distances in the graph (stress majorization:
Gansner, Koren, North, "Graph Drawing by Stress Majorization", 2004); the nodes are put on a grid, so that no two
overlap; single nodes are moved while this makes links cross less, or keeps them from running behind other nodes.

Positions are those of GNS3: pixels of a node's upper left corner, with the middle of the canvas at 0, 0.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gns3_minivm.labs.canvas.geometry import Link, Point, crossings, runs_behind

__all__ = ["NODE_SIZE", "place_nodes"]

NODE_SIZE = 60
"""Width and height of most of GNS3's symbols."""
STEP = 25
LINK_LENGTH = 160
_GAP = 40
_HEIGHT = NODE_SIZE + _GAP
_LETTER_WIDTH = 7
_FULL_EFFORT = 60
"""Up to this many nodes neither the rounds nor the moves are cut."""
_CROSSING_COST, _BEHIND_COST, _SHORT_COST = 3.0, 8.0, 6.0
"""A short link has no room for the names of its ports."""
_REACHES = (1, 2, 4, 8)
_MOVES = [(x, y) for reach in _REACHES for x in (-reach, 0, reach) for y in (-reach, 0, reach) if x or y]

Position = tuple[int, int]
Cell = tuple[int, int]
Graph = dict[str, list[str]]
Pull = tuple[str, float, int]
"""Another node, its weight, and the distance to it that would be right."""


def place_nodes(
    names: Sequence[str], links: Sequence[tuple[str, str]], fixed: Mapping[str, Position] | None = None
) -> dict[str, Position]:
    """Positions of all nodes: those of ``fixed`` as they are, the others around them, or around the middle.

    ``links`` may name a pair more than once, and a node with itself.
    """
    fixed = fixed or {}
    graph = _graph(names, links)
    if all(name in fixed for name in names):
        return {name: fixed[name] for name in names}
    sketch: dict[str, Point] = {}
    loose = []
    for component in _components(graph):
        held = {name: _centre(fixed[name]) for name in component if name in fixed}
        drawn = _sketch(component, graph, held)
        if held:
            sketch |= drawn
        else:
            loose.append(drawn)
    taken = {name: _centre(position) for name, position in fixed.items()} | sketch
    sketch |= _side_by_side(loose, below=max((y for _, y in taken.values()), default=None))
    canvas = _Canvas(graph, {name: _centre(position) for name, position in fixed.items()})
    # What is in the middle of things gets its place first.
    for name in sorted(sketch, key=lambda name: (-len(graph[name]), names.index(name))):
        if name not in fixed:
            canvas.put(name, sketch[name])
    canvas.improve()
    placed = {name: canvas.position(name) for name in names if name not in fixed}
    if not fixed:
        placed = _around_the_middle(placed)
    return {name: fixed[name] if name in fixed else placed[name] for name in names}


def _graph(names: Sequence[str], links: Sequence[tuple[str, str]]) -> Graph:
    graph: Graph = {name: [] for name in names}
    for one, other in links:
        if one != other and other not in graph[one]:
            graph[one].append(other)
            graph[other].append(one)
    return graph


def _components(graph: Graph) -> list[list[str]]:
    """Parts that hang together, the largest first."""
    found: list[list[str]] = []
    seen: set[str] = set()
    for name in graph:
        if name not in seen:
            found.append(list(_distances(graph, name)))
            seen.update(found[-1])
    return sorted(found, key=len, reverse=True)


def _distances(graph: Graph, start: str) -> dict[str, int]:
    """How many links away the nodes are that can be reached."""
    distance = {start: 0}
    waiting = deque([start])
    while waiting:
        name = waiting.popleft()
        for other in graph[name]:
            if other not in distance:
                distance[other] = distance[name] + 1
                waiting.append(other)
    return distance


def _sketch(component: Sequence[str], graph: Graph, held: Mapping[str, Point]) -> dict[str, Point]:
    """Positions of a component by stress majorization; ``held`` ones stay where they are."""
    distances = {name: _distances(graph, name) for name in component}
    points = _first_guess(component, distances, held)
    rounds = 150 if len(component) <= _FULL_EFFORT else max(8, 150 * _FULL_EFFORT**2 // len(component) ** 2)
    pulls = {name: _pulls(distances[name]) for name in component if name not in held}
    for _ in range(rounds):
        for name, pull in pulls.items():
            points[name] = _balanced(points[name], points, pull)
    return points if held else _turned(points, graph)


def _turned(points: Mapping[str, Point], graph: Graph) -> dict[str, Point]:
    """The drawing turned so that links run level and upright where they can, and wider than it is high."""
    links = [(one, other) for one in points for other in graph[one] if one < other]
    angles = [math.atan2(points[b][1] - points[a][1], points[b][0] - points[a][0]) for a, b in links]
    turn = -math.atan2(sum(math.sin(4 * a) for a in angles), sum(math.cos(4 * a) for a in angles)) / 4
    cos, sin = math.cos(turn), math.sin(turn)
    turned = {name: (x * cos - y * sin, x * sin + y * cos) for name, (x, y) in points.items()}
    if _extent(turned, 1) > _extent(turned, 0) + 1:
        turned = {name: (y, -x) for name, (x, y) in turned.items()}
    return _in_reading_order(turned)


def _in_reading_order(points: Mapping[str, Point]) -> dict[str, Point]:
    """The drawing mirrored so that what comes first is rather on the left, and at the top."""
    middle = (len(points) - 1) / 2
    signs = [
        -1.0 if sum((number - middle) * point[axis] for number, point in enumerate(points.values())) < 0 else 1.0
        for axis in (0, 1)
    ]
    return {name: (x * signs[0], y * signs[1]) for name, (x, y) in points.items()}


def _first_guess(
    component: Sequence[str], distances: Mapping[str, Mapping[str, int]], held: Mapping[str, Point]
) -> dict[str, Point]:
    """By how far nodes are from three that are far from each other; equal ones a little apart."""
    first = max(component, key=lambda name: distances[component[0]][name])
    second = max(component, key=lambda name: distances[first][name])
    third = max(component, key=lambda name: min(distances[first][name], distances[second][name]))
    guess = {}
    for number, name in enumerate(component):
        x = distances[first][name] - distances[second][name]
        y = 2 * distances[third][name] - distances[first][name] - distances[second][name]
        # The golden angle: no two directions are alike.
        shift_x, shift_y = math.cos(number * 2.39996), math.sin(number * 2.39996)
        guess[name] = ((x + shift_x) * LINK_LENGTH / 2, (y + shift_y) * LINK_LENGTH / 2)
    if held:
        middle_x = sum(x for x, _ in held.values()) / len(held)
        middle_y = sum(y for _, y in held.values()) / len(held)
        guess = {name: (x + middle_x, y + middle_y) for name, (x, y) in guess.items()}
    return guess | dict(held)


def _pulls(distance: Mapping[str, int]) -> list[Pull]:
    """The others, near ones with more weight than far ones, and how far away each wants a node to be."""
    return [(other, 1 / hops**2, hops * LINK_LENGTH) for other, hops in distance.items() if hops]


def _balanced(point: Point, points: Mapping[str, Point], pulls: Sequence[Pull]) -> Point:
    """Where a node would be if all others had their way."""
    x, y = point
    sum_x = sum_y = sum_weights = 0.0
    for other, weight, wanted in pulls:
        other_x, other_y = points[other]
        apart_x, apart_y = x - other_x, y - other_y
        stretch = wanted / (math.hypot(apart_x, apart_y) or 1.0)
        sum_x += weight * (other_x + apart_x * stretch)
        sum_y += weight * (other_y + apart_y * stretch)
        sum_weights += weight
    return (sum_x / sum_weights, sum_y / sum_weights) if sum_weights else point


def _side_by_side(drawings: Sequence[Mapping[str, Point]], below: float | None) -> dict[str, Point]:
    """Several drawings on one canvas, in rows of about the same length, under what is there."""
    placed: dict[str, Point] = {}
    widths = [_extent(drawing, 0) + LINK_LENGTH for drawing in drawings]
    heights = [_extent(drawing, 1) + LINK_LENGTH for drawing in drawings]
    row_width = max([*widths, math.sqrt(sum(w * h for w, h in zip(widths, heights, strict=True)) * 1.6)], default=0)
    x, y, row_height = 0.0, 0.0 if below is None else below + LINK_LENGTH, 0.0
    for drawing, width, height in zip(drawings, widths, heights, strict=True):
        if x and x + width > row_width:
            x, y, row_height = 0.0, y + row_height, 0.0
        left, top = min(x for x, _ in drawing.values()), min(y for _, y in drawing.values())
        placed |= {name: (px - left + x, py - top + y) for name, (px, py) in drawing.items()}
        x, row_height = x + width, max(row_height, height)
    return placed


def _extent(drawing: Mapping[str, Point], axis: int) -> float:
    values = [point[axis] for point in drawing.values()]
    return max(values) - min(values)


@dataclass(frozen=True)
class _Surroundings:
    """What can matter wherever a node is moved to: its links, foreign ones, other nodes."""

    own: Sequence[Link]
    foreign: Sequence[Link]
    nodes: Mapping[str, Point]


class _Canvas:
    """Nodes on a grid, with room for their names; positions here are those of the symbols' middles."""

    def __init__(self, graph: Graph, fixed: Mapping[str, Point]) -> None:
        self._graph = graph
        self._fixed = fixed
        self._cells: dict[str, Cell] = {}
        self._points: dict[str, Point] = dict(fixed)
        self._links: list[Link] = []
        self._wish: dict[str, Point] = {}
        self._widths = {name: _width(name) for name in graph}

    def position(self, name: str) -> Position:
        x, y = self._points[name]
        return round(x) - NODE_SIZE // 2, round(y) - NODE_SIZE // 2

    def put(self, name: str, wish: Point) -> None:
        """Take the free place that is nearest to where the node should be."""
        self._wish[name] = wish
        middle = (round(wish[0] / STEP), round(wish[1] / STEP))
        reach = 0
        while True:
            ring = [cell for cell in _ring(middle, reach) if self._is_free(name, cell, self._points)]
            if ring:
                self._move(name, min(ring, key=lambda cell: (math.dist(_point(cell), wish), cell)))
                return
            reach += 1

    def improve(self) -> None:
        """Move single nodes while it makes the picture better."""
        self._links = [(one, other) for one in self._graph for other in self._graph[one] if one < other]
        count = len(self._graph)
        if count > 6 * _FULL_EFFORT:
            return
        passes = 12 if count <= _FULL_EFFORT else max(1, 12 * _FULL_EFFORT**2 // count**2)
        for _ in range(passes):
            moved = [self._improve_node(name) for name in sorted(self._cells)]
            if not any(moved):
                return

    def _improve_node(self, name: str) -> bool:
        cell = self._cells[name]
        around = self._surroundings(name)
        best, best_cost = cell, self._cost(name, around)
        if best_cost == 0:
            return False
        for x, y in _MOVES:
            candidate = (cell[0] + x, cell[1] + y)
            if self._is_free(name, candidate, around.nodes):
                self._move(name, candidate)
                cost = self._cost(name, around, best_cost)
                if cost < best_cost - 1e-9:
                    best, best_cost = candidate, cost
        self._move(name, best)
        return best != cell

    def _surroundings(self, name: str) -> _Surroundings:
        """What is within the rectangle of all moves and all neighbours, with room for what is next to it."""
        x, y = self._points[name]
        others = [self._points[other] for other in self._graph[name]]
        reach = _REACHES[-1] * STEP
        wide, high = max(self._widths.values()), _HEIGHT
        left = min([x - reach, *(other[0] for other in others)]) - wide
        right = max([x + reach, *(other[0] for other in others)]) + wide
        top = min([y - reach, *(other[1] for other in others)]) - high
        bottom = max([y + reach, *(other[1] for other in others)]) + high
        foreign = []
        for link in self._links:
            (ax, ay), (bx, by) = self._points[link[0]], self._points[link[1]]
            beside = (ax < left and bx < left) or (ax > right and bx > right)
            above = (ay < top and by < top) or (ay > bottom and by > bottom)
            if not beside and not above and name not in link:
                foreign.append(link)
        nodes = {
            other: (a, b) for other, (a, b) in self._points.items()
            if left <= a <= right and top <= b <= bottom and other != name
        }  # fmt: skip
        return _Surroundings([(name, other) for other in self._graph[name]], foreign, nodes)

    def _cost(self, name: str, around: _Surroundings, enough: float = math.inf) -> float:
        """What is bad about a node's place: uneven links, nodes on its links, links behind it, crossings.

        Not more is looked at than it takes to see that it is bad ``enough``.
        """
        point = self._points[name]
        bad = math.dist(point, self._wish[name]) / (4 * LINK_LENGTH)
        for _, other in around.own:
            length = math.dist(point, self._points[other]) / LINK_LENGTH
            bad += (length - 1) ** 2 + _SHORT_COST * max(0.0, 1 - length)
        if bad < enough:
            bad += _BEHIND_COST * runs_behind(around.own, around.nodes, self._points, NODE_SIZE)
        if bad < enough:
            bad += _BEHIND_COST * runs_behind(around.foreign, {name: point}, self._points, NODE_SIZE)
        if bad < enough:
            bad += _CROSSING_COST * crossings(around.own, around.foreign, self._points)
        return bad

    def _move(self, name: str, cell: Cell) -> None:
        self._cells[name] = cell
        self._points[name] = _point(cell)

    def _is_free(self, name: str, cell: Cell, others: Mapping[str, Point]) -> bool:
        x, y = _point(cell)
        width = self._widths[name]
        for other, (other_x, other_y) in others.items():
            if -_HEIGHT < y - other_y < _HEIGHT and abs(x - other_x) < (width + self._widths[other]) / 2:
                return False
        return True


def _ring(middle: Cell, reach: int) -> list[Cell]:
    if not reach:
        return [middle]
    x, y = middle
    span = range(-reach, reach + 1)
    return [(x + a, y + b) for a in span for b in span if max(abs(a), abs(b)) == reach]


def _width(name: str) -> float:
    return max(NODE_SIZE, _LETTER_WIDTH * len(name)) + _GAP


def _point(cell: Cell) -> Point:
    return (cell[0] * float(STEP), cell[1] * float(STEP))


def _centre(position: Position) -> Point:
    return (position[0] + NODE_SIZE / 2, position[1] + NODE_SIZE / 2)


def _around_the_middle(placed: Mapping[str, Position]) -> dict[str, Position]:
    xs, ys = [x for x, _ in placed.values()], [y for _, y in placed.values()]
    shift_x = STEP * round((min(xs) + max(xs)) / 2 / STEP)
    shift_y = STEP * round((min(ys) + max(ys)) / 2 / STEP)
    return {name: (x - shift_x, y - shift_y) for name, (x, y) in placed.items()}
