"""A model with two encoders sees the photograph's own pixels in the larger one, not an enlarged small picture."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from flmm.backbones import load
from flmm.backbones.grids import letterboxed, padded
from tests.families import deepseek_vl, deepseek_vl_hybrid, mgm

MEAN = (0.5, 0.4, 0.3)


def checkerboard(side: int) -> Image.Image:
    """Every pixel differs from its neighbours: the finest detail that a picture can hold."""
    rows, columns = np.indices((side, side))
    board = ((rows + columns) % 2 * 255).astype(np.uint8)
    return Image.fromarray(np.repeat(board[..., None], 3, axis=2))


@pytest.mark.parametrize(
    ("family", "options", "name", "side"),
    [
        (deepseek_vl_hybrid, {}, "high_res_pixel_values", deepseek_vl_hybrid.HIGH),
        (mgm, {"tiles": 1}, "pixel_values", 2 * mgm.SIDE),
        (mgm, {"tiles": 2}, "pixel_values", 4 * mgm.SIDE),
    ],
    ids=["deepseek_vl_hybrid", "mgm", "mgm-hd"],
)
def test_high_frequencies_reach_the_larger_encoder(
    family: Any, options: dict[str, int], name: str, side: int, tmp_path: Path
) -> None:
    backbone = load(family.build(tmp_path, **options), dtype="float32", device="cpu")
    pixels: torch.Tensor = backbone.encode(checkerboard(side), "x").inputs[name]
    assert pixels.shape[-2:] == (side, side)
    # Black and white after normalisation are about 3.7 deviations apart; an enlarged small picture is grey.
    assert pixels.std() > 1.5


def test_the_hybrid_s_small_picture_shows_what_the_large_one_shows(tmp_path: Path) -> None:
    backbone = load(deepseek_vl_hybrid.build(tmp_path), dtype="float32", device="cpu")
    ramp = np.linspace(0, 255, 200, dtype=np.uint8)[None, :, None].repeat(120, 0).repeat(3, 2)
    inputs = backbone.encode(Image.fromarray(ramp), "x").inputs
    small, large = inputs["pixel_values"][0, 0], inputs["high_res_pixel_values"][0, 0]
    pooled = torch.nn.functional.adaptive_avg_pool2d(large[None], small.shape[-1])[0]
    assert torch.corrcoef(torch.stack([small.flatten(), pooled.flatten()]))[0, 1] > 0.99


@pytest.mark.parametrize("family", [deepseek_vl, deepseek_vl_hybrid], ids=["deepseek_vl", "hybrid"])
@pytest.mark.parametrize("size", [(640, 426), (97, 61), (500, 499), (40, 200)], ids=str)
def test_the_processor_leaves_our_canvas_as_it_is(family: Any, size: tuple[int, int], tmp_path: Path) -> None:
    backbone = load(family.build(tmp_path), dtype="float32", device="cpu")
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8))
    canvas, _ = backbone.canvas(image)
    images = backbone.processor.image_processor
    inputs = backbone.encode(image, "x").inputs
    large = "high_res_pixel_values" in inputs
    mean, deviation = (
        (images.high_res_image_mean, images.high_res_image_std)
        if large
        else (images.image_mean, images.image_std)
    )
    found = inputs["high_res_pixel_values" if large else "pixel_values"][0]
    expected = torch.from_numpy(np.asarray(canvas, dtype=np.float32) / 255)
    expected = ((expected - torch.tensor(mean)) / torch.tensor(deviation)).permute(2, 0, 1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_640_x_426_at_336_has_223_rows() -> None:
    canvas, view = letterboxed(Image.new("RGB", (640, 426), (255, 0, 0)), 336, MEAN, Image.Resampling.BICUBIC)
    assert (view.content_height, view.content_width, view.top, view.left) == (223, 336, 56, 0)
    red = np.asarray(canvas)[:, :, 0] == 255
    assert red.all(axis=1).sum() == 223


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 90), st.integers(1, 90))
def test_padding_first_keeps_the_photograph_s_own_proportions(height: int, width: int) -> None:
    canvas, view = padded(Image.new("RGB", (width, height), (255, 0, 0)), 64, MEAN, Image.Resampling.BOX)
    assert canvas.size == (64, 64)
    longest = max(height, width)
    assert (view.height, view.width) == (longest, longest)
    assert (view.content_height, view.content_width) == (height, width)
    assert (view.top, view.left) == ((longest - height) // 2, (longest - width) // 2)
    share = (np.asarray(canvas, dtype=float)[:, :, 1] < 51).mean()  # red is 0 in green, the padding 102
    assert abs(share - height * width / longest**2) < 0.06
