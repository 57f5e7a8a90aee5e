"""Tiled image tokens (InternVL, SmolVLM): the tiles of a canvas row by row, each a square, then the whole picture."""

import torch

from flmm.backbones.base import Grid
from flmm.data.geometry import View
from flmm.errors import InputError


def tiled_grids(
    tokens: torch.Tensor, image_token: int, tiles: tuple[int, int], count: int, side: int, model: str
) -> tuple[tuple[Grid, Grid], tuple[torch.Tensor, torch.Tensor]]:
    """The grids "coarse" (the whole picture) and "fine" (the canvas) and their places in the prompt ``tokens`` (S,).

    ``tiles``: rows and columns of tiles, each with ``count`` x ``count`` tokens for ``side`` x ``side`` pixels. The
    photograph is squashed to the canvas, and for the coarse grid to one tile. A picture of a single tile has no
    second view: its only grid stands for both, as a head has a fixed number of channels.

    Raises:
        InputError: the prompt holds other tokens (names the model).
    """
    places = (tokens == image_token).nonzero().flatten()
    down, across = tiles
    single = down * across == 1
    if len(places) != (down * across + (not single)) * count**2:
        raise InputError(
            f"{model}: {len(places)} image tokens are not {down} x {across} tiles of {count} x {count}"
        )
    whole = places[-(count**2) :]
    canvas = places[: down * across * count**2].reshape(down, across, count, count)
    fine = canvas.permute(0, 2, 1, 3).flatten()  # rows of tokens across the tiles
    grids = (
        Grid("coarse", count, count, View(side, side, 0, 0, side, side)),
        Grid(
            "fine",
            down * count,
            across * count,
            View(down * side, across * side, 0, 0, down * side, across * side),
        ),
    )
    return grids, (whole, fine)
