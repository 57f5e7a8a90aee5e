"""Where an image lies inside what a model sees: the only place that resizes, pads, crops, and undoes it."""

import math
from dataclasses import dataclass

import torch
from torch.nn import functional as F


@dataclass(frozen=True)
class View:
    """The image's rectangle (top, left, content_height, content_width) on a canvas (height, width).

    All in canvas pixels. Letterboxing puts the content inside the canvas; a centre crop lets it reach beyond
    (negative top or left).
    """

    height: int
    width: int
    top: int
    left: int
    content_height: int
    content_width: int


def letterbox(image_height: int, image_width: int, side: int, smallest: int = 1) -> View:
    """The view of an image whose longest side becomes ``side``, centred on a square canvas.

    The other side is rounded down, as in the authors' processors (640 x 426 at 336 has 223 rows), but is at least
    ``smallest``.
    """
    longest = max(image_height, image_width)
    height, width = (max(smallest, length * side // longest) for length in (image_height, image_width))
    return View(side, side, (side - height) // 2, (side - width) // 2, height, width)


def squared(image_height: int, image_width: int) -> View:
    """The view of an image at its own size, centred on the smallest square that holds it (MGM)."""
    return letterbox(image_height, image_width, max(image_height, image_width))


def unpadded_canvas(image: tuple[int, int], canvas: tuple[int, int], patch: int) -> View:
    """The view of an image (h, w) on a canvas of tiles (h, w) from which whole patches of padding were removed.

    LLaVA-Next: the image is centred on the canvas, its longer side (relative to the canvas) filling it; the model
    then drops as many patches on both sides as hold padding only, by its own rounding. Up to half a patch of padding
    stays, so the content may begin inside the first patch, or reach a little beyond the border.
    """
    scale = min(canvas[0] / image[0], canvas[1] / image[1])
    content = [min(side, math.ceil(length * scale)) for length, side in zip(image, canvas, strict=True)]
    kept, start = [], []
    for axis in (0, 1):
        cells = canvas[axis] // patch
        wanted = int(round(image[axis] * min(c // patch / i for c, i in zip(canvas, image, strict=True)), 7))
        dropped = (cells - wanted) // 2
        kept.append((cells - 2 * dropped) * patch)
        start.append((canvas[axis] - content[axis]) // 2 - dropped * patch)
    return View(kept[0], kept[1], start[0], start[1], content[0], content[1])


def unpad(maps: torch.Tensor, view: View) -> torch.Tensor:
    """Cut the padding off maps (..., H, W) that cover the whole canvas.

    Pixel rule of the authors: ``top = int(b_h * H / P_h)``, ``height = int(h * H / P_h + 0.5)``, likewise for
    the width, with b the offset, h the content and P the padded size. At least one row and one column are
    left: that rule cuts everything off an image more than a hundred times longer than wide.
    """
    rows, columns = maps.shape[-2:]
    top, left = int(max(view.top, 0) * rows / view.height), int(max(view.left, 0) * columns / view.width)
    height = max(1, int(min(view.content_height, view.height) * rows / view.height + 0.5))
    width = max(1, int(min(view.content_width, view.width) * columns / view.width + 0.5))
    return maps[..., top : top + height, left : left + width]


def resize_bilinear(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Maps (P, H, W) at another size, bilinear between pixel centres, without smoothing when they shrink."""
    if maps.shape[-2:] == size:
        return maps
    return F.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def resize_nearest(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Maps (P, H, W) at another size; every value is an old one (torch's ``nearest``, rounding down)."""
    return F.interpolate(maps[:, None].float(), size=size, mode="nearest")[:, 0].to(maps.dtype)


def training_targets(masks: torch.Tensor, view: View, size: tuple[int, int]) -> torch.Tensor:
    """Ground truth (P, h, w) at the size of the logits, as float 0 or 1: (P, H, W).

    By way of the image's size inside the LMM's input (``view``), both steps nearest, as the authors.
    """
    processed = resize_nearest(masks.float(), (view.content_height, view.content_width))
    return resize_nearest(processed, size)


def longest_side_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    """(h, w) scaled so that the longer becomes ``side``, rounded half up (SAM's ``ResizeLongestSide``).

    The shorter keeps one pixel at least, where SAM's own rounding leaves a picture of 1 x 5000 none.
    """
    scale = side / max(size)
    return max(1, int(size[0] * scale + 0.5)), max(1, int(size[1] * scale + 0.5))


def pad_to_square(maps: torch.Tensor, side: int, *, value: float) -> torch.Tensor:
    """Maps (P, H, W) padded right and below to (P, side, side), as SAM pads."""
    rows, columns = maps.shape[-2:]
    return F.pad(maps, (0, side - columns, 0, side - rows), value=value)


def bounding_boxes(masks: torch.Tensor) -> torch.Tensor:
    """Bool masks (P, h, w) -> (P, 4) float boxes (x0, y0, x1 + 1, y1 + 1) around the true pixels.

    An empty mask has no box: the whole image (0, 0, w, h) stands for it, as in the authors' code.
    """
    height, width = masks.shape[-2:]
    x0, x1 = _extent(masks.any(dim=1))
    y0, y1 = _extent(masks.any(dim=2))
    boxes = torch.stack([x0, y0, x1, y1], dim=1).float()
    whole = boxes.new_tensor([0, 0, width, height])
    return torch.where(masks.flatten(1).any(dim=1)[:, None], boxes, whole)


def _extent(occupied: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """First true position and one past the last of each row of (P, n)."""
    ones = occupied.to(torch.uint8)
    return ones.argmax(dim=1), occupied.shape[1] - ones.flip(1).argmax(dim=1)


def scale_boxes(boxes: torch.Tensor, old: tuple[int, int], new: tuple[int, int]) -> torch.Tensor:
    """Boxes (P, 4) as (x0, y0, x1, y1) of an image of size ``old`` (h, w), in the pixels of size ``new``."""
    factor_x, factor_y = new[1] / old[1], new[0] / old[0]
    return boxes * boxes.new_tensor([factor_x, factor_y, factor_x, factor_y])
