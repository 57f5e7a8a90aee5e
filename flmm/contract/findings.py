"""What a check of the contract says, and what it shows the model."""

from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Finding:
    """One property of the contract: whether it holds, and what was measured."""

    name: str
    holds: bool
    detail: str


def noise(height: int, width: int) -> Image.Image:
    """A seeded picture of noise."""
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)
