"""The baseline without training finds the heads that look at one place, and segments where they look."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from flmm.backbones.base import Grid, HeadInput
from flmm.data.geometry import View
from flmm.errors import InputError
from flmm.heads.localization import LocalizationHead, select_heads, spatial_entropy
from flmm.heads.sam import SamSegmenter, build_sam
from recipes.sam import CONFIG

SIDE, CHANNELS = 12, 8
GOOD, SCATTERED, WEAK = 5, 2, 0  # channels of the made-up maps
GRID = Grid("image", SIDE, SIDE, View(96, 96, 12, 0, 72, 96))  # a landscape picture: padding above and below


def made_up(seed: int) -> tuple[HeadInput, tuple[int, int]]:
    """A phrase whose thing is at a random place: GOOD looks there, SCATTERED everywhere a bit, WEAK hardly."""
    random = np.random.default_rng(seed)
    row, column = int(random.integers(3, 8)), int(random.integers(1, 10))
    maps = random.uniform(0, 1e-4, (CHANNELS, SIDE, SIDE)).astype(np.float32)
    for channel in range(CHANNELS):
        if channel not in (GOOD, WEAK):
            maps[channel].flat[random.choice(SIDE * SIDE, 30, replace=False)] += 0.01
    maps[GOOD, row : row + 2, column : column + 2] += 0.1
    maps[WEAK, row : row + 2, column : column + 2] += 1e-4
    said = HeadInput((torch.from_numpy(maps)[None],), (GRID,), (torch.zeros(1, 1, 1),), (72, 96))
    return said, (row, column)


def both(first: HeadInput, second: HeadInput) -> HeadInput:
    """Two inputs about one picture as one."""
    maps = torch.cat([first.attention[0], second.attention[0]])
    return HeadInput((maps,), first.grids, first.hidden + second.hidden, first.image_size)


def test_the_head_that_looks_at_one_place_is_chosen_first() -> None:
    chosen = select_heads([made_up(seed)[0] for seed in range(30)], heads=3, phrases=20)
    assert chosen[0] == GOOD and WEAK not in chosen


def test_only_the_pilot_is_read() -> None:
    def inputs():  # type: ignore[no-untyped-def]
        yield both(made_up(0)[0], made_up(1)[0])
        raise AssertionError("read on")

    assert GOOD in select_heads(inputs(), heads=1, phrases=2)


def test_no_phrase_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(InputError, match="no training phrase to choose them on; run extract first"):
        select_heads([], heads=3, phrases=10)


@pytest.mark.parametrize("seed", range(6))
def test_the_mask_is_where_the_chosen_head_looks(seed: int) -> None:
    said, (row, column) = made_up(seed)
    head = LocalizationHead([GOOD], SamSegmenter(build_sam(CONFIG)))
    with torch.inference_mode():
        output = head([both(said, said)], [torch.zeros(1, 64, 24, 24)])[0]
    assert output.refined.shape == (2, 72, 96) and torch.isfinite(output.refined).all()
    assert output.coarse.shape[-1] == 64 and torch.equal(output.coarse[0], output.coarse[1])
    inside = (output.coarse[0] > 0).nonzero().float()
    # A cell is 64 / 12 logits wide; the padding's rows (12 of 96 pixels: a cell and a half) are cut off.
    cell = 64 / SIDE
    centre = torch.tensor([(row + 1 - 1.5) * cell, (column + 1) * cell])
    assert (inside.mean(0) - centre).abs().max() < cell
    assert len(inside) < 0.4 * output.coarse[0].numel()


def test_entropy_grows_with_the_number_of_places() -> None:
    one, two = np.zeros((9, 9)), np.zeros((9, 9))
    one[4, 4] = two[1, 1] = two[7, 7] = 1
    assert spatial_entropy(one) == 0 and spatial_entropy(two) == pytest.approx(np.log(2))
    assert spatial_entropy(np.ones((9, 9))) == float("inf")
    touching = np.zeros((9, 9))
    touching[3, 3] = touching[4, 4] = 1  # corners connect
    assert spatial_entropy(touching) == 0


@given(npst.arrays(np.float32, (6, 7), elements=st.floats(0, 1, width=32)))
def test_entropy_of_any_map_is_a_number_that_no_scale_changes(attention: np.ndarray) -> None:
    entropy = spatial_entropy(attention)
    assert entropy >= 0
    if np.isfinite(entropy) and attention.max() > 1e-3:
        assert spatial_entropy(attention * 4) == pytest.approx(entropy, abs=1e-5)
