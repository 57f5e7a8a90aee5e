"""What the page draws with: probabilities as small pictures, and the attention heads behind a phrase.

Legend: h w picture or mask in pixels, r c rows and columns of a grid, L layers, M heads.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from flmm.backbones.base import Grid
from flmm.data.geometry import unpad

BROWSER_SIDE = 256  # pixels of the longer side of the maps that the browser enlarges
STRONGEST = 6
THUMBNAIL = 132


@dataclass(frozen=True)
class Heads:
    """One phrase's attention, head by head, on the finest grid.

    ``shares`` (L, M) float: how much of the attention that a head pays to the picture lies inside the mask.
    ``area``: the share of the picture that the mask covers, which a head without a preference would have.
    ``maps`` (L, M, r, c) float16, the picture's part of the grid, each divided by its largest value (or 0).
    """

    shares: np.ndarray
    area: float
    maps: np.ndarray

    def strongest(self, count: int = STRONGEST) -> list[tuple[int, int]]:
        """Layer and head of the largest shares, the largest first."""
        order = np.argsort(self.shares, axis=None, kind="stable")[::-1][:count]
        return [(int(at) // self.shares.shape[1], int(at) % self.shares.shape[1]) for at in order]


def heads_of(
    attention: Sequence[torch.Tensor], grids: Sequence[Grid], mask: np.ndarray, layers: int
) -> Heads:
    """Which heads look at the mask. ``attention``: per grid (1, L x M, r, c); ``mask`` (h, w) bool.

    A head that does not look at the picture at all has share 0.
    """
    maps = unpad(attention[-1][0].float(), grids[-1].view)  # (L x M, r, c) of the picture alone
    inside = Image.fromarray(mask.astype(np.float32)).resize(
        (maps.shape[2], maps.shape[1]), Image.Resampling.BOX
    )
    weight = torch.from_numpy(np.array(inside))  # (r, c): the part of each cell that the mask covers
    tiny = torch.finfo(torch.float32).tiny
    shares = (maps * weight).sum((1, 2)) / maps.sum((1, 2)).clamp_min(tiny)
    by_layer = (layers, -1)
    return Heads(
        shares.reshape(by_layer).numpy(),
        float(mask.mean()),
        (maps / maps.amax((1, 2), keepdim=True).clamp_min(tiny))
        .half()
        .reshape(*by_layer, *maps.shape[1:])
        .numpy(),
    )


def head_picture(picture: Image.Image, values: np.ndarray) -> Image.Image:
    """One head's map (r, c), from 0 to 1, over the greyed picture: the brighter, the more attention."""
    scale = THUMBNAIL / max(picture.size)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    grey = (
        np.asarray(picture.convert("L").resize(size, Image.Resampling.BICUBIC), np.float32)[..., None] / 255
    )
    peak = float(values.max()) or 1.0
    level = (
        np.asarray(Image.fromarray(values / peak).resize(size, Image.Resampling.BILINEAR))[..., None] ** 0.7
    )
    glow = np.array([255, 196, 60], np.float32)
    shown = (1 - level) * grey * np.array([90, 96, 120], np.float32) + level * glow
    return Image.fromarray(shown.clip(0, 255).astype(np.uint8))


def blend_map(coarse: np.ndarray, refined: np.ndarray) -> Image.Image:
    """Both probabilities (h, w) from 0 to 1 as one small picture: red is coarse, green is refined."""
    both = Image.fromarray(
        np.stack([_bytes(coarse), _bytes(refined), np.zeros(coarse.shape, np.uint8)], axis=-1)
    )
    both.thumbnail((BROWSER_SIDE, BROWSER_SIDE), Image.Resampling.BOX)
    return both


def _bytes(probability: np.ndarray) -> np.ndarray:
    return (probability * 255 + 0.5).astype(np.uint8)


def data_uri(picture: Image.Image, kind: str = "PNG") -> str:
    """The picture as text that a page can show without asking for a file."""
    stream = io.BytesIO()
    picture.save(stream, kind, quality=90)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(stream.getvalue()).decode()}"
