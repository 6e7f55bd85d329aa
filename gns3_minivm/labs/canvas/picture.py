"""A topology as an SVG picture (SVG 1.1, no scripts, no fonts or images from elsewhere): pure, the same each time.

What is not drawn: GNS3's own symbols, texts and shapes of the canvas.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from xml.sax.saxutils import escape, quoteattr

from gns3_minivm.labs.canvas.layout import NODE_SIZE

Shape = Literal["machine", "router", "switch", "cloud"]

_MARGIN = 60
_LABEL_OFFSET = 16
_PORT_DISTANCE = 48
_PORT_DISTANCE_DOWN = 80
"""Below a node there is its name."""
_BOW = 26
"""How far apart links between the same two nodes are drawn."""
_LIGHTS = {"started": "#2e9e4f", "stopped": "#c0392b", "suspended": "#d68910"}
_STYLE = (
    "text{font-family:sans-serif;fill:#222;text-anchor:middle;paint-order:stroke;stroke:#fff;stroke-width:3px}"
    ".name{font-size:13px;font-weight:bold}"
    ".what{font-size:10px;fill:#666}"
    ".port{font-size:10px;fill:#555}"
    ".link{fill:none;stroke:#607080;stroke-width:2}"
    ".body{fill:#eaf2fb;stroke:#30507a;stroke-width:2}"
    ".mark{fill:none;stroke:#30507a;stroke-width:2;stroke-linecap:round;stroke-linejoin:round}"
)


@dataclass(frozen=True, kw_only=True)
class PictureNode:
    """``x`` and ``y`` are GNS3's: the symbol's upper left corner.  ``status`` shows as a light where it is known."""

    name: str
    x: int
    y: int
    shape: Shape = "machine"
    what: str = ""
    status: str = ""


@dataclass(frozen=True)
class PictureLink:
    """Two nodes by name, and what their ports are called."""

    one: str
    other: str
    one_port: str = ""
    other_port: str = ""


def draw_picture(title: str, nodes: Sequence[PictureNode], links: Sequence[PictureLink]) -> str:
    """An SVG document of the topology."""
    left = min((node.x for node in nodes), default=0) - _MARGIN
    top = min((node.y for node in nodes), default=0) - _MARGIN
    width = max((node.x for node in nodes), default=0) + NODE_SIZE + _MARGIN - left
    height = max((node.y for node in nodes), default=0) + NODE_SIZE + _MARGIN + _LABEL_OFFSET - top
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
            f' viewBox="{left} {top} {width} {height}" role="img">'
        ),
        f"<title>{_text(title)}</title>",
        f"<style>{_STYLE}</style>",
        f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="#ffffff"/>',
        *_links(links, {node.name: (node.x + NODE_SIZE / 2, node.y + NODE_SIZE / 2) for node in nodes}),
    ]
    for node in nodes:
        lines += _node(node)
    return "\n".join([*lines, "</svg>", ""])


def _node(node: PictureNode) -> Iterator[str]:
    middle, below = node.x + NODE_SIZE // 2, node.y + NODE_SIZE + _LABEL_OFFSET
    yield f"<g><title>{_text(', '.join(part for part in (node.name, node.what, node.status) if part))}</title>"
    yield f'<g transform="translate({node.x} {node.y})">{_SHAPES[node.shape]}</g>'
    if node.status in _LIGHTS:
        yield f'<circle cx="{node.x + NODE_SIZE - 4}" cy="{node.y + 6}" r="6" fill="{_LIGHTS[node.status]}"/>'
    yield f'<text class="name" x="{middle}" y="{below}">{_text(node.name)}</text>'
    if node.what:
        yield f'<text class="what" x="{middle}" y="{below + 12}">{_text(node.what)}</text>'
    yield "</g>"


def _links(links: Sequence[PictureLink], middles: Mapping[str, tuple[float, float]]) -> Iterator[str]:
    together = Counter(_pair(link) for link in links)
    drawn: Counter[tuple[str, str]] = Counter()
    labels = []
    for link in links:
        pair = _pair(link)
        # 0 for a single link; else as far to one side as to the other.
        bow = _BOW * (2 * drawn[pair] - together[pair] + 1)
        drawn[pair] += 1
        if link.one != pair[0]:
            bow = -bow
        start, end = middles[link.one], middles[link.other]
        if link.one == link.other:
            yield _loop(start, drawn[pair])
            continue
        bend = _bend(start, end, bow)
        yield (
            f'<path class="link" d="M {_pixels(start)} Q {_pixels(bend)} {_pixels(end)}"'
            f" aria-label={quoteattr(_printable(_ends(link)))}/>"
        )
        labels += [_port(link.one_port, start, bend, end), _port(link.other_port, end, bend, start)]
    # Above all lines.
    yield from (label for label in labels if label)


def _pair(link: PictureLink) -> tuple[str, str]:
    return (link.one, link.other) if link.one <= link.other else (link.other, link.one)


def _ends(link: PictureLink) -> str:
    return f"{link.one} {link.one_port} - {link.other} {link.other_port}"


def _bend(start: tuple[float, float], end: tuple[float, float], bow: float) -> tuple[float, float]:
    """The control point of a quadratic curve that passes ``bow / 2`` beside the middle."""
    along_x, along_y = end[0] - start[0], end[1] - start[1]
    length = math.hypot(along_x, along_y) or 1.0
    return (start[0] + end[0]) / 2 - along_y / length * bow, (start[1] + end[1]) / 2 + along_x / length * bow


def _loop(middle: tuple[float, float], number: int) -> str:
    x, y = middle
    size = 40 + 15 * number
    left, right = _pixels((x - size, y - 2 * size)), _pixels((x + size, y - 2 * size))
    return f'<path class="link" d="M {_pixels((x, y))} C {left} {right} {_pixels((x, y))}"/>'


def _port(name: str, start: tuple[float, float], bend: tuple[float, float], end: tuple[float, float]) -> str:
    """The name of a port, on its link near its node."""
    if not name:
        return ""
    length = math.dist(start, end) or 1.0
    distance = _PORT_DISTANCE_DOWN if end[1] - start[1] > length / 2 else _PORT_DISTANCE
    part = min(0.45, distance / length)
    weights = ((1 - part) ** 2, 2 * part * (1 - part), part**2)
    x, y = (sum(w * point[axis] for w, point in zip(weights, (start, bend, end), strict=True)) for axis in (0, 1))
    return f'<text class="port" x="{x:.1f}" y="{y + 3:.1f}">{_text(name)}</text>'


def _pixels(point: tuple[float, float]) -> str:
    return f"{point[0]:.1f} {point[1]:.1f}"


def _text(value: str) -> str:
    return escape(_printable(value))


def _printable(value: str) -> str:
    """XML knows no control characters, whatever a server's names have in them."""
    return "".join(c if c.isprintable() or c == " " else "\N{REPLACEMENT CHARACTER}" for c in value)


_SHAPES: dict[Shape, str] = {
    "machine": (
        '<rect class="body" x="6" y="6" width="48" height="36" rx="4"/>'
        '<path class="mark" d="M 14 16 l 7 6 l -7 6 M 25 30 h 10"/>'
        '<path class="mark" d="M 30 42 v 8 M 18 52 h 24"/>'
    ),
    "router": (
        '<circle class="body" cx="30" cy="30" r="26"/>'
        '<path class="mark" d="M 30 10 v 13 M 25 15 l 5 -5 l 5 5 M 30 50 v -13 M 25 45 l 5 5 l 5 -5'
        ' M 8 30 h 14 M 17 25 l 5 5 l -5 5 M 52 30 h -14 M 43 25 l -5 5 l 5 5"/>'
    ),
    "switch": (
        '<rect class="body" x="4" y="14" width="52" height="32" rx="3"/>'
        '<path class="mark" d="M 14 25 h 30 M 39 20 l 5 5 l -5 5 M 46 36 h -30 M 21 31 l -5 5 l 5 5"/>'
    ),
    "cloud": ('<path class="body" d="M 15 46 a 11 11 0 0 1 -1 -22 a 16 16 0 0 1 30 -4 a 13 13 0 0 1 2 26 z"/>'),
}
