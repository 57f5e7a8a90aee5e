"""Masks drawn from their run lengths are the masks that were annotated."""

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flmm.data.sample import decode_rle, encode_rle
from flmm.training.masks import drawn, runs_of


@given(st.integers(1, 40), st.integers(1, 70), st.data())
def test_any_masks_come_back(height: int, width: int, data: st.DataObject) -> None:
    """Noise has short runs, blocks long ones, and both begin and end with zeros or ones."""
    noise = arrays.arrays(bool, (height, width))
    corner = st.tuples(st.integers(0, height), st.integers(0, width)).map(
        lambda at: (np.arange(height)[:, None] < at[0]) & (np.arange(width) < at[1])
    )
    masks = data.draw(st.lists(st.one_of(noise, corner, corner.map(np.logical_not)), min_size=1, max_size=4))
    runs = runs_of([encode_rle(mask) for mask in masks], (height, width))
    found = drawn(runs, len(masks), (height, width))
    assert found.is_contiguous()
    np.testing.assert_array_equal(found.numpy(), np.stack(masks).astype(np.uint8))


def test_long_runs_and_many_of_them() -> None:
    """Numbers of several characters, growing and shrinking ones."""
    y, x = np.mgrid[:900, :1200]
    mask = (y - 400) ** 2 / 9000 + (x - 500) ** 2 / 90000 + 0.4 * np.sin(x / 7) * np.cos(y / 5) < 1
    rle = encode_rle(mask)
    found = drawn(runs_of([rle, rle], mask.shape), 2, mask.shape).numpy()
    np.testing.assert_array_equal(found, np.stack([decode_rle(rle, *mask.shape)] * 2).astype(np.uint8))


def test_a_mask_of_another_image_is_refused() -> None:
    with pytest.raises(ValueError, match="a mask of 12 pixels on an image of 5 x 3"):
        runs_of([encode_rle(np.ones((3, 4), bool))], (3, 5))
