"""The colours of phrases and of their masks."""

from collections.abc import Iterable

import numpy as np
from PIL import Image

# Told apart by people who see few colours, too (after Okabe and Ito), on light and dark.
COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (204, 121, 167))
_SHARE = 0.45  # of a mask's colour over the picture


def colour(number: int) -> tuple[int, int, int]:
    """The colour of a phrase, counted from 0; there are few, and they come again."""
    return COLOURS[number % len(COLOURS)]


def painted(picture: Image.Image, masks: Iterable[np.ndarray]) -> Image.Image:
    """The picture with each mask (h, w) in the colour of its number."""
    shown = np.asarray(picture.convert("RGB"), np.float32).copy()  # (h, w, 3)
    for number, mask in enumerate(masks):
        shown[mask] = (1 - _SHARE) * shown[mask] + _SHARE * np.array(colour(number), np.float32)
    return Image.fromarray(shown.astype(np.uint8))
