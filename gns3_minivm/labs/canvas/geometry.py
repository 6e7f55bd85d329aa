"""Plane geometry of links between nodes: which cross, and which run behind a node that they do not belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Point = tuple[float, float]
Link = tuple[str, str]


def crossings(some: Sequence[Link], others: Sequence[Link], points: Mapping[str, Point]) -> int:
    """How often links cross others; links with a node in common do not."""
    count = 0
    for one, other in some:
        a, b = points[one], points[other]
        low_x, high_x = (a[0], b[0]) if a[0] <= b[0] else (b[0], a[0])
        low_y, high_y = (a[1], b[1]) if a[1] <= b[1] else (b[1], a[1])
        for third, fourth in others:
            if third in (one, other) or fourth in (one, other):
                continue
            c, d = points[third], points[fourth]
            if (c[0] < low_x and d[0] < low_x) or (c[0] > high_x and d[0] > high_x):
                continue
            if (c[1] < low_y and d[1] < low_y) or (c[1] > high_y and d[1] > high_y):
                continue
            count += _sides_differ(a, b, c, d) and _sides_differ(c, d, a, b)
    return count


def runs_behind(links: Sequence[Link], nodes: Mapping[str, Point], points: Mapping[str, Point], size: float) -> int:
    """How often a link comes nearer to the middle of a foreign node than this node is wide."""
    near = size * 0.75
    count = 0
    for one, other in links:
        (ax, ay), (bx, by) = points[one], points[other]
        along_x, along_y = bx - ax, by - ay
        length_2 = along_x * along_x + along_y * along_y
        low_x, high_x = min(ax, bx) - near, max(ax, bx) + near
        low_y, high_y = min(ay, by) - near, max(ay, by) + near
        for name, (x, y) in nodes.items():
            if not (low_x < x < high_x and low_y < y < high_y) or name in (one, other) or not length_2:
                continue
            part = min(1.0, max(0.0, ((x - ax) * along_x + (y - ay) * along_y) / length_2))
            off_x, off_y = x - ax - part * along_x, y - ay - part * along_y
            count += off_x * off_x + off_y * off_y < near * near
    return count


def _sides_differ(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Whether c and d lie on different sides of the line through a and b, or on it."""
    first = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    second = (b[0] - a[0]) * (d[1] - a[1]) - (b[1] - a[1]) * (d[0] - a[0])
    return first * second <= 0
