"""What each patch of a scene shows: the targets of the recipe's auxiliary losses, thrown away afterwards."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from flmm.shapes.world.drawing import SHAPES
from flmm.shapes.world.scenes import COLOURS, TEXTURES, Scene

# A patch is labelled with a thing that covers this share of it.
_COVER = 0.3
COLOUR_INDEX = {name: i + 1 for i, name in enumerate(COLOURS)}
SHAPE_INDEX = {name: i + 1 for i, name in enumerate(SHAPES)}
STUFF_INDEX = {name: i + 1 for i, name in enumerate(TEXTURES)}


def padded_labels(scene: Scene, grid: int) -> NDArray[np.int64]:
    """(4, grid * grid) colour, shape, texture and cell of each patch of the padded square; 0 is none."""
    labels = _labels(scene, grid, _padding(scene.height, scene.width)).reshape(3, -1)
    return np.concatenate([labels, 1 + np.arange(grid * grid)[None]])


def tiled_labels(scene: Scene, grid: int, tiles: int) -> NDArray[np.int64]:
    """(4, N) of the squashed picture's grid * grid patches, then of the padded square's tiles row by row."""
    squashed = _labels(scene, grid, None).reshape(3, -1)
    squashed = np.concatenate([squashed, _squashed_cells(scene, grid, grid * tiles)[None]])
    canvas = padded_labels(scene, grid * tiles).reshape(4, tiles, grid, tiles, grid)
    return np.concatenate([squashed, canvas.transpose(0, 1, 3, 2, 4).reshape(4, -1)], axis=1)


def cell_shares(region: NDArray[np.bool_], grid: int) -> NDArray[np.float32]:
    """The share (grid * grid,) of a region (H, W), not empty, that lies in each cell of its padded square."""
    covered = _coverage(region, grid, _padding(*region.shape)).reshape(-1)
    shares: NDArray[np.float32] = covered / covered.sum()
    return shares


def _squashed_cells(scene: Scene, grid: int, cells: int) -> NDArray[np.int64]:
    """For each of the squashed picture's patches, 1 + the padded square's cell (of cells * cells) at its middle."""
    top, left, side = _padding(scene.height, scene.width)
    middle = (np.arange(grid) + 0.5) / grid
    rows, columns = (
        ((start + middle * length) * cells / side).astype(np.int64)
        for start, length in ((top, scene.height), (left, scene.width))
    )
    return (1 + rows[:, None] * cells + columns).reshape(-1)


def _padding(height: int, width: int) -> tuple[int, int, int]:
    """(top, left, side) of the padded square, in the picture's pixels."""
    side = max(height, width)
    return (side - height) // 2, (side - width) // 2, side


def _labels(scene: Scene, grid: int, window: tuple[int, int, int] | None) -> NDArray[np.int64]:
    """(3, grid, grid) on the square of `window` (top, left, side), or on the picture squashed to a square."""
    labels = np.zeros((3, grid, grid), dtype=np.int64)
    for region in scene.stuff:
        labels[2][_coverage(region.mask, grid, window) > 0.5] = STUFF_INDEX[region.name]
    for thing in scene.things:
        covered = _coverage(thing.mask, grid, window) > _COVER
        labels[0][covered] = COLOUR_INDEX[thing.colour]
        labels[1][covered] = SHAPE_INDEX[thing.shape]
    return labels


def _coverage(mask: NDArray[np.bool_], grid: int, window: tuple[int, int, int] | None) -> NDArray[np.float32]:
    """The share of each cell (grid, grid) that a mask (H, W) covers; sides that are no multiples of the grid's, as a
    crop's, are about as well divided.
    """
    square = mask.astype(np.float32)
    if window is not None:
        top, left, side = window
        square = np.zeros((side, side), dtype=np.float32)
        square[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    if any(length % grid for length in square.shape):
        return np.asarray(Image.fromarray(square).resize((grid, grid), Image.Resampling.BOX))
    rows, columns = (length // grid for length in square.shape)
    return square.reshape(grid, rows, grid, columns).mean((1, 3))
