"""Resizing, padding, boxes and targets: their inverses and the authors' pixel rules."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_anything.utils.transforms import ResizeLongestSide

from flmm.data.geometry import (
    View,
    bounding_boxes,
    letterbox,
    longest_side_size,
    pad_to_square,
    resize_nearest,
    scale_boxes,
    training_targets,
    unpad,
)

SIDES = st.integers(min_value=1, max_value=700)


@st.composite
def boxes(draw: st.DrawFn) -> tuple[int, int, int, int, int, int]:
    """Image height and width, and a box (x0, y0, x1, y1) of at least one pixel inside it."""
    height, width = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    x0, y0 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    return height, width, x0, y0, draw(st.integers(x0 + 1, width)), draw(st.integers(y0 + 1, height))


@settings(deadline=None)
@given(boxes())
def test_the_box_of_a_filled_rectangle_is_the_rectangle(case: tuple[int, int, int, int, int, int]) -> None:
    height, width, x0, y0, x1, y1 = case
    mask = torch.zeros(1, height, width, dtype=torch.bool)
    mask[0, y0:y1, x0:x1] = True
    assert bounding_boxes(mask).tolist() == [[x0, y0, x1, y1]]


def test_a_box_spans_scattered_pixels_and_an_empty_mask_s_box_is_the_whole_image() -> None:
    masks = torch.zeros(3, 5, 7, dtype=torch.bool)
    masks[0, 1, 5] = masks[0, 3, 2] = True
    masks[2, 4, 6] = True
    assert bounding_boxes(masks).tolist() == [[2, 1, 6, 4], [0, 0, 7, 5], [6, 4, 7, 5]]


@settings(deadline=None)
@given(SIDES, SIDES, st.sampled_from([192, 336, 1024]))
def test_the_longest_side_rule_is_sam_s_own(height: int, width: int, side: int) -> None:
    theirs = ResizeLongestSide.get_preprocess_shape(height, width, side)
    assert longest_side_size((height, width), side) == tuple(max(1, each) for each in theirs)


@settings(deadline=None)
@given(SIDES, SIDES)
def test_boxes_scale_as_sam_scales_them(height: int, width: int) -> None:
    box = torch.tensor([[0.0, 1.0, 5.0, 9.0]])
    sam = ResizeLongestSide(1024).apply_boxes_torch(box, (height, width))
    ours = scale_boxes(box, (height, width), longest_side_size((height, width), 1024))
    torch.testing.assert_close(ours, sam)


@settings(deadline=None)
@given(SIDES, SIDES, st.sampled_from([24, 64, 336]))
def test_unpadding_a_letterboxed_canvas_leaves_the_image_and_nothing_else(
    height: int, width: int, side: int
) -> None:
    view = letterbox(height, width, side)
    canvas = torch.zeros(side, side)
    canvas[view.top : view.top + view.content_height, view.left : view.left + view.content_width] = 1
    inside = unpad(canvas, view)
    assert inside.shape == (view.content_height, view.content_width)
    assert bool((inside == 1).all())
    assert max(inside.shape) == side


@settings(deadline=None)
@given(SIDES, SIDES, st.sampled_from([24, 37, 64]))
def test_unpadded_logits_have_the_authors_size(height: int, width: int, side: int) -> None:
    view = letterbox(height, width, 336)
    inside = unpad(torch.zeros(2, side, side), view)
    assert inside.shape[1] == max(1, int(view.content_height * side / 336 + 0.5))
    assert inside.shape[2] == max(1, int(view.content_width * side / 336 + 0.5))


@pytest.mark.parametrize("height", [1, 3, 6, 2000])
def test_even_an_extreme_aspect_ratio_keeps_a_pixel(height: int) -> None:
    view = letterbox(height, 2000 if height < 2000 else 2, 336)
    inside = unpad(torch.zeros(1, 64, 64), view)
    assert min(inside.shape) == 1


def test_training_targets_stay_in_place_and_binary() -> None:
    mask = torch.zeros(1, 8, 16, dtype=torch.bool)
    mask[0, :4, 8:] = True  # upper right quarter
    targets = training_targets(mask, View(32, 32, 8, 0, 16, 32), (4, 8))
    expected = torch.zeros(4, 8)
    expected[:2, 4:] = 1
    assert torch.equal(targets[0], expected)
    assert targets.dtype == torch.float32


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 80), st.integers(1, 80))
def test_nearest_resizing_invents_no_value(rows: int, columns: int, new_rows: int, new_columns: int) -> None:
    maps = torch.arange(rows * columns).reshape(1, rows, columns)
    resized = resize_nearest(maps, (new_rows, new_columns))
    assert resized.shape == (1, new_rows, new_columns)
    assert resized.dtype == maps.dtype
    assert resized[0, 0, 0] == 0
    assert set(resized.flatten().tolist()) <= set(range(rows * columns))


def test_padding_goes_right_and_below() -> None:
    padded = pad_to_square(torch.ones(1, 2, 3), 4, value=-7)
    assert padded[0].tolist() == [[1, 1, 1, -7], [1, 1, 1, -7], [-7] * 4, [-7] * 4]
