"""The drawings of a lab as GNS3 has them: SVG, with a mark by which they are known again."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from gns3_minivm.base.errors import ConfigError
from gns3_minivm.gns3.model import Drawing
from gns3_minivm.labs.model import Lab, LabDrawing

MARK = "<!--gns3-minivm-->"
_LETTER_EM = 0.62
_DEFAULT_COLOUR = "#000000"
_DEFAULT_SIZE = 12


@dataclass(frozen=True, kw_only=True)
class DesiredDrawing:
    """The desired state of a drawing."""

    svg: str
    x: int
    y: int
    z: int
    rotation: int

    def is_drawn_as(self, drawing: Drawing) -> bool:
        there = (drawing.svg, drawing.x, drawing.y, drawing.z, drawing.rotation)
        return there == (self.svg, self.x, self.y, self.z, self.rotation)

    @staticmethod
    def is_of_a_lab(drawing: Drawing) -> bool:
        return MARK in drawing.svg


def desired_drawings(lab: Lab) -> list[DesiredDrawing]:
    """The drawings of a lab (blocking).  Raises ConfigError for a source that cannot be read, or is not an SVG."""
    return [_desired_drawing(lab, number, drawing) for number, drawing in enumerate(lab.drawings, 1)]


def _desired_drawing(lab: Lab, number: int, drawing: LabDrawing) -> DesiredDrawing:
    svg = _marked(_svg(lab, number, drawing), f"{lab.at('drawings', number - 1)}: drawing {number}")
    return DesiredDrawing(
        svg=svg, x=drawing.position.x, y=drawing.position.y, z=drawing.layer, rotation=drawing.rotation
    )


def _svg(lab: Lab, number: int, drawing: LabDrawing) -> str:
    if drawing.text is not None:
        return _text(drawing.text, drawing.size or _DEFAULT_SIZE, drawing.color or _DEFAULT_COLOUR)
    if drawing.rectangle is not None:
        width, height = drawing.rectangle
        shape = f'<rect width="{width}" height="{height}" {_brush(drawing)}/>'
        return _canvas(width, height, shape)
    if drawing.ellipse is not None:
        width, height = drawing.ellipse
        shape = (
            f'<ellipse cx="{width // 2}" cy="{height // 2}" rx="{width // 2}" ry="{height // 2}" {_brush(drawing)}/>'
        )
        return _canvas(width, height, shape)
    if drawing.svg is not None:
        return drawing.svg
    path = lab.path.parent / (drawing.source or "")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(
            f"{lab.at('drawings', number - 1, 'source')}: drawing {number}: {path} cannot be read: {reason}"
        ) from error


def _brush(drawing: LabDrawing) -> str:
    return f'stroke="{drawing.color or _DEFAULT_COLOUR}" stroke-width="2" fill="#ffffff" fill-opacity="0"'


def _text(text: str, size: int, colour: str) -> str:
    # The form that the GUI gives texts, so that it edits them as such.
    lines = text.splitlines()
    width = round(max(len(line) for line in lines) * size * _LETTER_EM) + 10
    height = round(len(lines) * size * 1.6) + 6
    style = f'font-family="TypeWriter" font-size="{size}.0" font-weight="bold" fill="{colour}" fill-opacity="1.0"'
    return _canvas(width, height, f"<text {style}>{escape(text)}</text>")


def _canvas(width: int, height: int, inside: str) -> str:
    return f'<svg width="{width}" height="{height}">{inside}</svg>'


def _marked(svg: str, where: str) -> str:
    try:
        root = ElementTree.fromstring(svg)
    except ElementTree.ParseError as error:
        raise ConfigError(f"{where}: this is not an SVG: {error}") from error
    if root.tag.rpartition("}")[2] != "svg":
        raise ConfigError(f"{where}: this is not an SVG: its root is <{root.tag}>")
    pictures = [item for item in root if item.tag.rpartition("}")[2] == "image"]
    if len(pictures) == 1:
        # The server keeps nothing of such a drawing but the picture, so that it could not be known again.
        raise ConfigError(f"{where}: its only element is an <image>", hint="Put it into a group: <g><image .../></g>.")
    start, closed, _ = svg.rpartition("</")
    if not closed:
        raise ConfigError(f"{where}: the picture is empty")
    return f"{start}{MARK}</{svg.rpartition('</')[2]}"
