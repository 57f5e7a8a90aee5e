"""COCO ``segmentation`` values (polygons, run lengths, crowds) as masks, checked before C code sees them."""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pycocotools import mask as coco_mask
from pydantic import Field, TypeAdapter

from flmm.data.sample import encode_rle
from flmm.data.upstream import Side, parse_python
from flmm.errors import InputError

_Coordinate = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class _Runs:
    size: tuple[Side, Side]
    counts: str | list[Annotated[int, Field(ge=0, strict=True)]]


_POLYGONS = TypeAdapter(list[Annotated[list[_Coordinate], Field(min_length=6)]])
_RUNS = TypeAdapter(_Runs)


def segmentation_mask(segmentation: Any, height: int, width: int, where: str) -> np.ndarray:
    """A COCO ``segmentation`` as (height, width) bool.

    Polygons (united), compressed or uncompressed run lengths (crowds), as pycocotools' ``annToRLE``.
    An empty list of polygons is an empty mask.

    Raises:
        InputError: a form that COCO does not have, another size than the image's, or runs or points that
            leave the image (names ``where``).
    """
    if isinstance(segmentation, list):
        return _polygon_mask(parse_python(_POLYGONS, segmentation, where), height, width, where)
    runs = parse_python(_RUNS, segmentation, where)
    if runs.size != (height, width):
        raise InputError(
            f"{where}: mask of {runs.size[0]}x{runs.size[1]} pixels for an image of {height}x{width}"
        )
    counts = _decode_counts(runs.counts, where) if isinstance(runs.counts, str) else runs.counts
    return runs_mask(counts, height, width, where)


def segmentation_rle(segmentation: Any, height: int, width: int, where: str) -> str | None:
    """The same as compressed run lengths; None when no pixel is set.

    Raises:
        InputError: see ``segmentation_mask``.
    """
    mask = segmentation_mask(segmentation, height, width, where)
    return encode_rle(mask) if mask.any() else None


def runs_mask(counts: list[int], height: int, width: int, where: str) -> np.ndarray:
    """Column-major run lengths, zeros first, as (height, width) bool.

    Raises:
        InputError: they do not add up to the image.
    """
    total = sum(counts)
    if total != height * width:
        raise InputError(f"{where}: run lengths cover {total} pixels of an image with {height * width}")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(width, height).T


def _polygon_mask(polygons: list[list[float]], height: int, width: int, where: str) -> np.ndarray:
    if not polygons:
        return np.zeros((height, width), dtype=bool)
    for polygon in polygons:
        points = np.asarray(polygon)
        limits = np.resize([width, height], len(polygon))
        # Upstream polygons stick out by a pixel at most; far points would make pycocotools allocate forever.
        if len(polygon) % 2 or (points < -limits).any() or (points > 2 * limits).any():
            raise InputError(
                f"{where}: a polygon has an odd number of coordinates or lies far outside the image"
            )
    merged = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    mask: np.ndarray = coco_mask.decode(merged)
    return mask.astype(bool)


def _decode_counts(text: str, where: str) -> list[int]:
    """Compressed run lengths as numbers (cocoapi's maskApi.c ``rleFrString``, which reads past a bad end)."""
    counts: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 30:
            raise InputError(f"{where}: not compressed run lengths")
        value |= (code & 0x1F) << shift
        shift += 5
        if code & 0x20:
            continue
        if code & 0x10:  # sign bit of the last group
            value |= -1 << shift
        # From the fourth on, a run is stored as the difference to the run two before it.
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
        if counts[-1] < 0:
            raise InputError(f"{where}: a run length is negative")
    if shift:
        raise InputError(f"{where}: compressed run lengths are cut short")
    return counts
