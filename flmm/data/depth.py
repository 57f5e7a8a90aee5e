"""Pictures of more than 8 bits per channel, scaled to 8; ones whose white is anybody's guess are refused."""

import numpy as np
from PIL import Image

from flmm.errors import InputError

_WHITE_16 = 65535
# Formats whose 32-bit integers Pillow fills with 16-bit values scaled to 65535.
_SIXTEEN_IN_32 = {"PNG", "PPM"}


def eight_bits(image: Image.Image, where: str) -> Image.Image:
    """The picture itself, or 8-bit grey (mode L) of one with 16 bits, 32-bit integers or floats.

    Pillow's own conversion cuts such values off at 255: 16-bit grey becomes white, floats of 0 to 1 black.
    16 bits are divided by 257, floats from 0 to 1 multiplied by 255.

    Raises:
        InputError: 32-bit integers or floats of another range (names ``where``): what is white is not known.
    """
    if image.mode.startswith("I;16"):
        return _scaled(np.asarray(image), _WHITE_16)
    if image.mode == "I":
        values = np.asarray(image)
        if image.format in _SIXTEEN_IN_32 and values.min() >= 0 and values.max() <= _WHITE_16:
            return _scaled(values, _WHITE_16)
        raise _unknown(where, "32-bit integers", values)
    if image.mode == "F":
        values = np.asarray(image)
        if np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1:
            return _scaled(values, 1)
        raise _unknown(where, "floats", values)
    return image


def _scaled(values: np.ndarray, white: int) -> Image.Image:
    return Image.fromarray(np.round(values.astype(np.float64) * (255 / white)).astype(np.uint8))


def _unknown(where: str, kind: str, values: np.ndarray) -> InputError:
    return InputError(
        f"{where}: a picture of {kind} from {values.min():g} to {values.max():g}, which does not say what is white; "
        "save it with 8 bits per channel"
    )
