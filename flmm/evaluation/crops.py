"""What is looked at a second time: the part of a picture around a mask.

Boxes are left, top, right, bottom in pixels, the last two exclusive.
"""

from math import ceil, floor

import numpy as np
from PIL import Image

Box = tuple[int, int, int, int]


def box_around(mask: np.ndarray) -> Box | None:
    """The box around the pixels of a mask (h, w); None around none."""
    if not mask.any():
        return None
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def grown(box: Box, margin: float, width: int, height: int) -> Box:
    """A box made larger on each side by a share of its own width and height, within the picture."""
    left, top, right, bottom = box
    across, down = margin * (right - left), margin * (bottom - top)
    return (
        max(0, floor(left - across)),
        max(0, floor(top - down)),
        min(width, ceil(right + across)),
        min(height, ceil(bottom + down)),
    )


def enlarged(image: Image.Image, box: Box) -> Image.Image:
    """A part of a picture, its longer side as long as the whole picture's.

    Some families make image tokens by the pixel: a small part as it is would be seen no better than before.
    """
    part = image.crop(box)
    scale = max(image.size) / max(part.size)
    size = (max(1, round(part.width * scale)), max(1, round(part.height * scale)))
    return part.resize(size, Image.Resampling.BICUBIC)
