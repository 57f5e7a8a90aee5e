"""Image tokens and the rectangles that they stand for: single-grid families need nothing else."""

from collections.abc import Sequence

import torch
from PIL import Image

from flmm.backbones.base import Grid
from flmm.data.geometry import View, letterbox, squared
from flmm.errors import InputError


def image_columns(tokens: torch.Tensor, image_token: int, grid: Grid, model: str) -> torch.Tensor:
    """Places (rows x columns,) of the image tokens in the prompt ``tokens`` (S,), row-major.

    Raises:
        InputError: the image tokens are not this grid (names the model).
    """
    places = (tokens == image_token).nonzero().flatten()
    if len(places) != grid.rows * grid.columns:
        raise InputError(
            f"{model}: its {len(places)} image tokens are not a {grid.rows} x {grid.columns} grid: config.json "
            "(vision_config: image_size, patch_size) and processor_config.json (patch_size, "
            "vision_feature_select_strategy, num_additional_image_tokens, num_image_tokens) do not agree"
        )
    return places


def square_grid(name: str, side: int, patch: int, view: View) -> Grid:
    """The grid of a ``side`` x ``side`` pixel canvas cut into ``patch`` pixel squares."""
    return Grid(name, side // patch, side // patch, view)


def letterboxed(
    image: Image.Image, side: int, mean: Sequence[float], resample: int, smallest: int = 1
) -> tuple[Image.Image, View]:
    """The picture with its longest side resized to ``side``, centred on a square of the colour ``mean``
    (0-1); the other side is at least ``smallest`` pixels.

    Resized first and padded then, as the authors do (docs/families.md); nothing is cropped. The view says
    where the picture lies on the square.
    """
    view = letterbox(image.height, image.width, side, smallest)
    content = image.convert("RGB").resize(
        (view.content_width, view.content_height), Image.Resampling(resample)
    )
    return _on_canvas(content, view, mean), view


def padded(image: Image.Image, side: int, mean: Sequence[float], resample: int) -> tuple[Image.Image, View]:
    """The picture padded to a square with the colour ``mean`` (0-1), the square then resized to ``side`` (MGM).

    The view is in pixels of the square before it was resized, so that it is exact.
    """
    view = squared(image.height, image.width)
    canvas = _on_canvas(image.convert("RGB"), view, mean)
    return canvas.resize((side, side), Image.Resampling(resample)), view


def _on_canvas(content: Image.Image, view: View, mean: Sequence[float]) -> Image.Image:
    red, green, blue = (int(channel * 255) for channel in mean)
    canvas = Image.new("RGB", (view.width, view.height), (red, green, blue))
    canvas.paste(content, (view.left, view.top))
    return canvas
