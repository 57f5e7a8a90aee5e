"""Which heads look at a mask, and the small pictures of the page."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from flmm.app.maps import BROWSER_SIDE, blend_map, data_uri, head_picture, heads_of
from flmm.backbones.base import Grid
from flmm.data.geometry import View

# A square canvas of 4 x 4 cells; the picture is its two middle rows.
LETTERBOXED = Grid("only", 4, 4, View(4, 4, 1, 0, 2, 4))
MASK = np.zeros((20, 40), dtype=bool)
MASK[:, :10] = True  # the left quarter


def attention(*maps: list[list[float]]) -> torch.Tensor:
    return torch.tensor([maps])


INSIDE = [[0.0] * 4, [3, 0, 0, 0], [1, 0, 0, 0], [9.0] * 4]
EVEN = [[5.0] * 4] * 4
OUTSIDE = [[1.0] * 4, [0, 0, 0, 2], [0, 0, 0, 2], [1.0] * 4]
BLIND = [[1.0] * 4, [0.0] * 4, [0.0] * 4, [1.0] * 4]


def test_a_share_is_the_attention_inside_the_mask_and_padding_does_not_count() -> None:
    heads = heads_of([attention(INSIDE, EVEN, OUTSIDE, BLIND)], [LETTERBOXED], MASK, layers=2)
    assert heads.shares == pytest.approx(np.array([[1, 0.25], [0, 0]]))
    assert heads.area == pytest.approx(0.25)
    assert heads.maps.shape == (2, 2, 2, 4)


def test_the_strongest_heads_come_first() -> None:
    heads = heads_of([attention(OUTSIDE, EVEN, INSIDE, BLIND)], [LETTERBOXED], MASK, layers=2)
    assert heads.strongest(2) == [(1, 0), (0, 1)]
    assert len(heads.strongest()) == 4


def test_of_two_grids_the_fine_one_is_looked_at() -> None:
    coarse = torch.ones(1, 4, 1, 1)
    grids = [Grid("coarse", 1, 1, View(1, 1, 0, 0, 1, 1)), LETTERBOXED]
    heads = heads_of([coarse, attention(INSIDE, EVEN, OUTSIDE, BLIND)], grids, MASK, layers=2)
    assert heads.shares[0, 0] == pytest.approx(1)


def test_both_probabilities_reach_the_browser() -> None:
    coarse, refined = np.full((300, 600), 0.2, np.float32), np.full((300, 600), 0.9, np.float32)
    shown = blend_map(coarse, refined)
    assert shown.size == (BROWSER_SIDE, BROWSER_SIDE // 2)
    assert shown.getpixel((10, 10)) == (51, 230, 0)
    head = "data:image/png;base64,"
    uri = data_uri(shown)
    assert uri.startswith(head)
    assert Image.open(io.BytesIO(base64.b64decode(uri.removeprefix(head)))).getpixel((10, 10)) == (51, 230, 0)


def test_a_head_is_bright_where_it_looks_and_one_that_looks_nowhere_is_drawn_too() -> None:
    picture = Image.new("RGB", (40, 20), (128, 128, 128))
    drawn = np.asarray(head_picture(picture, np.array([[1, 0, 0, 0], [1, 0, 0, 0]], np.float32)), int)
    assert drawn[:, :20].sum() > 1.5 * drawn[:, -20:].sum()
    assert head_picture(picture, np.zeros((2, 4), np.float32)).size == (132, 66)
