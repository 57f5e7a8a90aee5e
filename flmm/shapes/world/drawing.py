"""Anti-aliased outlines of the shapes, drawn in a window of the canvas."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SHAPES: tuple[str, ...] = ("circle", "square", "triangle", "star", "cross", "ring")
_SCALE = 4
Point = tuple[float, float]


def draw_shape(
    shape: str, cx: float, cy: float, radius: float, angle: float, height: int, width: int
) -> tuple[tuple[slice, slice], NDArray[np.float32]]:
    """Window (rows, columns) of the canvas and the coverage (h, w) in 0..1 of a shape there.

    Centre and radius are in canvas pixels, `angle` in degrees.
    """
    x0, y0 = max(0, math.floor(cx - radius) - 1), max(0, math.floor(cy - radius) - 1)
    x1, y1 = min(width, math.ceil(cx + radius) + 2), min(height, math.ceil(cy + radius) + 2)
    canvas = Image.new("L", ((x1 - x0) * _SCALE, (y1 - y0) * _SCALE), 0)
    _fill(ImageDraw.Draw(canvas), shape, (cx - x0) * _SCALE, (cy - y0) * _SCALE, radius * _SCALE, angle)
    alpha: NDArray[np.float32] = np.asarray(canvas.reduce(_SCALE), dtype=np.float32) / np.float32(255)
    return (slice(y0, y1), slice(x0, x1)), alpha


def outline(shape: str, cx: float, cy: float, radius: float, angle: float) -> list[Point] | None:
    """Corners (x, y) in canvas pixels of the whole shape's outline; None for a ring, which needs two."""
    if shape == "ring":
        return None
    if shape == "circle":
        turns = [2 * math.pi * k / 48 for k in range(48)]
        return [(cx + radius * math.cos(a), cy + radius * math.sin(a)) for a in turns]
    return [_turn(p, cx, cy, radius, angle) for p in _OUTLINES[shape]]


def _fill(draw: ImageDraw.ImageDraw, shape: str, cx: float, cy: float, r: float, angle: float) -> None:
    if shape in ("circle", "ring"):
        draw.ellipse([cx - r, cy - r, cx + r, cy + r], fill=255)
        if shape == "ring":
            draw.ellipse([cx - r * 0.52, cy - r * 0.52, cx + r * 0.52, cy + r * 0.52], fill=0)
        return
    draw.polygon([_turn(p, cx, cy, r, angle) for p in _OUTLINES[shape]], fill=255)


def _turn(point: Point, cx: float, cy: float, r: float, angle: float) -> Point:
    a = math.radians(angle)
    x, y = point
    return cx + r * (x * math.cos(a) - y * math.sin(a)), cy + r * (x * math.sin(a) + y * math.cos(a))


def _star() -> list[Point]:
    corners = []
    for k in range(10):
        a, reach = -math.pi / 2 + k * math.pi / 5, 1.0 if k % 2 == 0 else 0.45
        corners.append((reach * math.cos(a), reach * math.sin(a)))
    return corners


def _cross(t: float = 0.33) -> list[Point]:
    quarter = [(-t, -1.0), (t, -1.0), (t, -t), (1.0, -t), (1.0, t), (t, t)]
    return quarter + [(-x, -y) for x, y in quarter]


# Corners on (about) the unit circle, y downwards.
_OUTLINES: dict[str, list[Point]] = {
    "square": [(-0.76, -0.76), (0.76, -0.76), (0.76, 0.76), (-0.76, 0.76)],
    "triangle": [(0.0, -0.98), (0.9, 0.72), (-0.9, 0.72)],
    "star": _star(),
    "cross": [(0.95 * x, 0.95 * y) for x, y in _cross()],
}
