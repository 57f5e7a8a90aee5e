"""COCO ``segmentation`` values (polygons, run lengths, crowds) as masks, checked before C code sees them."""

from collections import Counter
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pycocotools import mask as coco_mask
from pydantic import Field, TypeAdapter

from flmm.data.readers import SLIVER
from flmm.data.sample import encode_rle
from flmm.data.upstream import parse_python
from flmm.errors import InputError

_Coordinate = Annotated[float, Field(allow_inf_nan=False)]
_Length = Annotated[int, Field(gt=0)]  # compared with the image's before anything is made of it
_CORNERS = 3


@dataclass(frozen=True, slots=True)
class _Runs:
    size: tuple[_Length, _Length]
    counts: Any  # text or numbers


_POLYGONS = TypeAdapter(list[list[_Coordinate]])
_RUNS = TypeAdapter(_Runs)


def segmentation_mask(
    segmentation: Any, height: int, width: int, where: str, skipped: Counter[str] | None = None
) -> np.ndarray:
    """A COCO ``segmentation`` as (height, width) bool.

    Polygons (united), compressed or uncompressed run lengths (crowds), as pycocotools' ``annToRLE``, or a list of run
    lengths (united). An empty list is an empty mask. Polygons of fewer than three corners have no inside: they are
    left out and counted in ``skipped``, or refused without one.

    Raises:
        InputError: a form that COCO does not have, another size than the image's, or runs or points that
            leave the image (names ``where``).
    """
    if isinstance(segmentation, list):
        if segmentation and all(isinstance(part, dict) for part in segmentation):
            parts = [_run_lengths_mask(part, height, width, where) for part in segmentation]
            return np.logical_or.reduce(parts)
        polygons = parse_python(_POLYGONS, segmentation, where)
        return _polygon_mask(_with_inside(polygons, where, skipped), height, width, where)
    return _run_lengths_mask(segmentation, height, width, where)


def segmentation_rle(
    segmentation: Any, height: int, width: int, where: str, skipped: Counter[str] | None = None
) -> str | None:
    """The same as compressed run lengths; None when no pixel is set.

    Raises:
        InputError: see ``segmentation_mask``.
    """
    mask = segmentation_mask(segmentation, height, width, where, skipped)
    return encode_rle(mask) if mask.any() else None


def _run_lengths_mask(segmentation: Any, height: int, width: int, where: str) -> np.ndarray:
    runs = parse_python(_RUNS, segmentation, where)
    if runs.size != (height, width):
        raise InputError(
            f"{where}: mask of {runs.size[0]}x{runs.size[1]} pixels for an image of {height}x{width}"
        )
    return runs_mask(_counts(runs.counts, where), height, width, where)


def _counts(counts: Any, where: str) -> list[int]:
    """Run lengths as numbers; a round trip through floats (3.0) does them no harm."""
    if isinstance(counts, str):
        return _decode_counts(counts, where)
    numbers: list[Any] = counts if isinstance(counts, list) else [None]
    if not all(_is_length(number) for number in numbers):
        raise InputError(
            f"{where}: counts: neither text nor a list of whole numbers, got {str(counts)[:80]!r}"
        )
    return [int(number) for number in numbers]


def _is_length(number: Any) -> bool:
    """A whole number that is not negative; true and false are none."""
    if isinstance(number, bool) or not isinstance(number, int | float):
        return False
    return number >= 0 and number == number // 1


def _with_inside(polygons: list[list[float]], where: str, skipped: Counter[str] | None) -> list[list[float]]:
    kept = [polygon for polygon in polygons if len(polygon) >= 2 * _CORNERS]
    if skipped is None and len(kept) < len(polygons):
        raise InputError(f"{where}: a polygon has fewer than three corners")
    if skipped is not None:
        skipped[SLIVER] += len(polygons) - len(kept)
    return kept


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
