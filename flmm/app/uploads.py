"""Pictures that come in: a file from outside becomes a small RGB picture or one sentence, and the file is deleted."""

import io
from pathlib import Path

from PIL import Image

from flmm.data.images import DECODE_ERRORS, decode_image
from flmm.errors import InputError
from flmm.shapes.world.photographs import Photograph
from flmm.shapes.world.scenes import scene_seed

MAX_MEGABYTES = 20
MAX_MEGAPIXELS = 50
SIDE = 640  # pixels of the longer side at most, which bounds the memory of every mask
SMALLEST = 8  # pixels of the shorter side
EXAMPLES = 6


def read_upload(path: Path, folder: Path) -> Image.Image:
    """The picture of a file in the uploads' folder, RGB, upright, no longer than ``SIDE``; the file is gone afterwards.

    Raises:
        InputError: not in that folder, too large (bytes or pixels), too small, or not a picture.
    """
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError("The file did not arrive; upload it again.")
    try:
        if path.stat().st_size > MAX_MEGABYTES * 1_000_000:
            raise InputError(f"The file is larger than {MAX_MEGABYTES} MB; choose a smaller picture.")
        data = path.read_bytes()
    except OSError as error:
        raise InputError("The file did not arrive; upload it again.") from error
    finally:
        path.unlink(missing_ok=True)
    return read_picture(data)


def read_picture(data: bytes) -> Image.Image:
    """As ``read_upload``, of a file's bytes."""
    width, height = _size(data)
    if width * height > MAX_MEGAPIXELS * 1_000_000:
        raise InputError(
            f"The picture has {width * height / 1e6:.0f} megapixels; at most {MAX_MEGAPIXELS} can be read."
        )
    try:
        picture = decode_image(data, "The file", upright=True)
    except InputError as error:
        raise InputError("The file is damaged: it begins like a picture but cannot be read.") from error
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    if min(picture.size) < SMALLEST:
        raise InputError(f"The picture is {width} x {height} pixels; that is too narrow to see anything.")
    return picture


def _size(data: bytes) -> tuple[int, int]:
    """Width and height as the header tells them; no pixel is decoded."""
    try:
        with Image.open(io.BytesIO(data)) as opened:
            return opened.size
    except Image.DecompressionBombError as error:
        raise InputError(
            f"The picture has more than {MAX_MEGAPIXELS} megapixels; choose a smaller one."
        ) from error
    except DECODE_ERRORS as error:
        raise InputError(
            "The file is not a picture that can be read (PNG, JPEG, WebP, GIF, BMP or TIFF)."
        ) from error


def examples() -> list[Image.Image]:
    """Scenes of coloured shapes, the same at every start, none of which a shipped model was trained on."""
    return [
        Image.fromarray(Photograph(0, scene_seed("app", 7, index)).scene.image) for index in range(EXAMPLES)
    ]
