"""Does a cell of a grid show the part of the raw photograph that the grid's view names?"""

import contextlib
from typing import Any

import numpy as np
import torch
from PIL import Image

from flmm.backbones.base import Grid
from flmm.backbones.lmm import TransformersBackbone
from flmm.contract.findings import Finding
from flmm.protocols import GROUNDING_PROMPT


class _Enough(Exception):
    """Ends a forward before the decoder: there are hundreds of cells, and only its input is looked at."""


def geometry(backbone: TransformersBackbone, height: int, width: int) -> Finding:
    """A bright spot in the raw photograph moves most the image token whose cell shows it, in every grid.

    Every cell of which the photograph fills more than half is tried; those in the padding show nothing, and what the
    model cuts off lies outside of every cell.
    """
    name = f"geometry {height} x {width}"
    dark = np.full((height, width, 3), 90, dtype=np.uint8)
    before, grids = _features(backbone, dark)
    wrong, tried = [], 0
    blind = []  # grids no cell of which shows enough: nothing was measured
    for number, grid in enumerate(grids):
        tried_before = tried
        for row in range(grid.rows):
            for column in range(grid.columns):
                spot = _spot(grid, row, column, height, width)
                if spot is None:
                    continue
                bright = dark.copy()
                bright[spot] = 255
                after, _ = _features(backbone, bright)
                moved = (after[number] - before[number]).norm(dim=-1)
                tried += 1
                if divmod(int(moved.argmax()), grid.columns) != (row, column):
                    wrong.append(f"{grid.name} ({row}, {column})")
        blind += [grid.name] if tried == tried_before else []
    detail = f"{tried - len(wrong)} of {tried} cells" + (f"; not {', '.join(wrong[:3])}" if wrong else "")
    detail += f"; no cell of {', '.join(blind)} shows the photograph" if blind else ""
    return Finding(name, not wrong and not blind, detail)


@torch.no_grad()
def _features(
    backbone: TransformersBackbone, picture: np.ndarray[Any, np.dtype[np.uint8]]
) -> tuple[list[torch.Tensor], tuple[Grid, ...]]:
    """What the language model gets as image tokens: per grid (rows, columns, D)."""
    encoded = backbone.encode(Image.fromarray(picture), GROUNDING_PROMPT)
    seen: list[torch.Tensor] = []

    def keep(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append(kwargs["inputs_embeds"][0])
        raise _Enough

    hook = backbone.model.get_decoder().register_forward_pre_hook(keep, with_kwargs=True)
    try:
        with contextlib.suppress(_Enough):
            backbone.model(**encoded.inputs)
    finally:
        hook.remove()
    grids = [
        seen[0][columns].float().reshape(grid.rows, grid.columns, -1)
        for grid, columns in zip(encoded.grids, encoded.columns, strict=True)
    ]
    return grids, encoded.grids


def _spot(grid: Grid, row: int, column: int, height: int, width: int) -> tuple[slice, slice] | None:
    """The raw pixels in the middle of what a cell shows; None if it shows less than half of itself."""
    view = grid.view
    down = _part(row, grid.rows, view.height, view.top, view.content_height)
    across = _part(column, grid.columns, view.width, view.left, view.content_width)
    if down is None or across is None:
        return None

    def pixels(part: tuple[float, float], content: int, raw: int) -> slice:
        middle = (part[0] + part[1]) / 2 / content * raw
        half = max(0.5, (part[1] - part[0]) / content * raw / 4)
        return slice(max(0, int(middle - half)), min(raw, int(middle + half) + 1))

    return pixels(down, view.content_height, height), pixels(across, view.content_width, width)


def _part(index: int, count: int, canvas: int, start: int, content: int) -> tuple[float, float] | None:
    """Which stretch of the content (in canvas pixels from its own start) a row or column shows."""
    step = canvas / count
    first, last = max(index * step, start), min((index + 1) * step, start + content)
    return (first - start, last - start) if last - first > step / 2 else None
