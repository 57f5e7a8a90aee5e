"""A cell of the grid shows the part of the raw photograph that the grid's view names."""

import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from flmm.backbones.lmm import TransformersBackbone
from tests.tiny_models import PATCH, SIDE

SIZES = [(96, 192), (192, 96), (120, 120), (97, 61)]  # (height, width)


def embedded(backbone: TransformersBackbone, picture: np.ndarray) -> tuple[torch.Tensor, object]:
    """Patch embeddings (rows, columns, D) before any patch sees another, and the grid."""
    encoded = backbone.encode(Image.fromarray(picture), "x")
    grid = encoded.grids[0]
    with torch.no_grad():
        patches = backbone.model.model.vision_tower.embeddings(encoded.inputs["pixel_values"])[0, 1:]
    return patches.reshape(grid.rows, grid.columns, -1), grid


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_bright_spot_moves_most_the_cell_that_the_view_names(
    backbone: TransformersBackbone, size: tuple[int, int]
) -> None:
    height, width = size
    dark = np.full((height, width, 3), 90, dtype=np.uint8)
    before, grid = embedded(backbone, dark)
    view = grid.view  # type: ignore[attr-defined]
    assert (view.height, view.width) == (SIDE, SIDE)
    seen = set()
    for row, column in itertools.product(range(SIDE // PATCH), repeat=2):
        # The part of the cell that shows the photograph, brought back to the photograph's own pixels.
        top, bottom = (max(row * PATCH, view.top), min((row + 1) * PATCH, view.top + view.content_height))
        left, right = (
            max(column * PATCH, view.left),
            min((column + 1) * PATCH, view.left + view.content_width),
        )
        if bottom - top < 3 or right - left < 3:
            continue
        y = int(((top + bottom) / 2 - view.top) / view.content_height * height)
        x = int(((left + right) / 2 - view.left) / view.content_width * width)
        bright = dark.copy()
        bright[y - 2 : y + 3, x - 2 : x + 3] = 255
        after, _ = embedded(backbone, bright)
        moved = (after - before).norm(dim=-1)
        assert divmod(int(moved.argmax()), SIDE // PATCH) == (row, column)
        seen.add((row, column))
    assert len(seen) >= view.content_height * view.content_width / PATCH**2


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_cells_in_the_padding_never_move(backbone: TransformersBackbone, size: tuple[int, int]) -> None:
    height, width = size
    before, grid = embedded(backbone, np.full((height, width, 3), 90, dtype=np.uint8))
    after, _ = embedded(backbone, np.full((height, width, 3), 200, dtype=np.uint8))
    moved = (after - before).norm(dim=-1) > 0
    view = grid.view  # type: ignore[attr-defined]
    for row, column in itertools.product(range(SIDE // PATCH), repeat=2):
        touches_rows = (row + 1) * PATCH > view.top and row * PATCH < view.top + view.content_height
        touches_columns = (column + 1) * PATCH > view.left and column * PATCH < view.left + view.content_width
        assert moved[row, column] == (touches_rows and touches_columns)


def test_the_padding_has_the_processors_mean_colour(backbone: TransformersBackbone) -> None:
    picture = Image.new("RGB", (120, 40), (255, 255, 255))
    pixels = backbone.encode(picture, "x").inputs["pixel_values"][0]  # (3, S, S), normalised
    assert pixels[:, 0].abs().max() < 0.02  # the mean colour becomes zero, up to its rounding to 8 bits
    assert pixels[:, SIDE // 2].min() > 1


def test_image_features_lie_row_major_in_the_sequence(
    backbone: TransformersBackbone, image: Image.Image
) -> None:
    encoded = backbone.encode(image, "x")
    with torch.no_grad():
        features = backbone.model.get_image_features(encoded.inputs["pixel_values"]).pooler_output[0]
        handle_states: list[torch.Tensor] = []
        hook = backbone.model.get_decoder().register_forward_pre_hook(
            lambda _module, _args, kwargs: handle_states.append(kwargs["inputs_embeds"]), with_kwargs=True
        )
        backbone.model(**encoded.inputs)
        hook.remove()
    assert torch.equal(handle_states[0][0, encoded.columns[0]], features)
