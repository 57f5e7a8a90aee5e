"""COCO annotations: instances (``instances.json``) and panoptic (JSON + id-coded PNGs)."""

from collections import Counter
from collections.abc import Iterable, Set
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from pydantic import TypeAdapter

from flmm.data.archives import Tree
from flmm.data.images import decode_id_map
from flmm.data.segmentation import segmentation_rle
from flmm.data.upstream import CategoryRecord, Id, ImageRecord, index, parse_json
from flmm.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class InstanceRecord:
    """COCO ``annotations[]`` of an instance file; the segmentation is checked where it is used."""

    id: Id
    image_id: Id
    category_id: Id
    segmentation: Any


@dataclass(frozen=True, slots=True)
class _InstanceFile:
    images: list[ImageRecord]
    annotations: list[InstanceRecord]
    categories: list[CategoryRecord]


@dataclass(frozen=True, slots=True)
class SegmentRecord:
    """Panoptic ``segments_info[]``."""

    id: Id
    category_id: Id


@dataclass(frozen=True, slots=True)
class PanopticRecord:
    """Panoptic ``annotations[]``: one id-coded PNG per image."""

    image_id: Id
    file_name: str
    segments_info: list[SegmentRecord]


@dataclass(frozen=True, slots=True)
class _PanopticFile:
    images: list[ImageRecord]
    annotations: list[PanopticRecord]
    categories: list[CategoryRecord]


_INSTANCES = TypeAdapter(_InstanceFile)
_PANOPTIC = TypeAdapter(_PanopticFile)


class Instances:
    """An instance annotation file, by id. ``where`` names the file in messages."""

    def __init__(self, tree: Tree, member: str, annotations: Set[int]) -> None:
        """Read ``member`` of ``tree``; only these ``annotations`` are kept, a quarter of RefCOCO's.

        Raises:
            InputError: absent, not JSON, a record is malformed or an id occurs twice.
        """
        self.where = f"{tree.where}: {member}"
        file = parse_json(_INSTANCES, tree.read(member), self.where)
        self._images = index(file.images, "image", self.where)
        kept = [record for record in file.annotations if record.id in annotations]
        self._annotations = index(kept, "annotation", self.where)
        self._categories = index(file.categories, "category", self.where)

    def image(self, image_id: int) -> ImageRecord:
        """The image's record.

        Raises:
            InputError: no such id (names file and id); so do the other look-ups.
        """
        return _look_up(self._images, image_id, "image", self.where)

    def annotation(self, annotation_id: int) -> InstanceRecord:
        """The annotation's record."""
        return _look_up(self._annotations, annotation_id, "annotation", self.where)

    def category(self, category_id: int) -> CategoryRecord:
        """The category's record."""
        return _look_up(self._categories, category_id, "category", self.where)

    def rle(self, annotation: InstanceRecord, skipped: Counter[str] | None = None) -> str | None:
        """The annotation's mask as run lengths at its image's size; None when no pixel is set.

        Polygons of too few corners are counted in ``skipped``, or refused without one.

        Raises:
            InputError: the segmentation is malformed or of another size (names file and annotation).
        """
        image = self.image(annotation.image_id)
        where = f"{self.where}: annotation {annotation.id}"
        return segmentation_rle(annotation.segmentation, image.height, image.width, where, skipped)


class Panoptic:
    """A panoptic annotation file and its masks; ``where`` names the file in messages."""

    def __init__(self, tree: Tree, name: str) -> None:
        """Read ``annotations/<name>.json``; masks are in ``annotations/<name>`` (folder or zip).

        Raises:
            InputError: absent, not JSON, a record is malformed or an id occurs twice.
        """
        member = f"annotations/{name}.json"
        self.where = f"{tree.where}: {member}"
        file = parse_json(_PANOPTIC, tree.read(member), self.where)
        self._images = index(file.images, "image", self.where)
        self._annotations = index(
            file.annotations, "panoptic annotation of image", self.where, key="image_id"
        )
        self._categories = index(file.categories, "category", self.where)
        self._name = name
        self._masks = tree.inner(f"annotations/{name}")

    def image(self, image_id: int) -> ImageRecord:
        """The image's record.

        Raises:
            InputError: no such id (names file and id); so do the other look-ups.
        """
        return _look_up(self._images, image_id, "image", self.where)

    def category(self, category_id: int) -> CategoryRecord:
        """The category's record."""
        return _look_up(self._categories, category_id, "category", self.where)

    def segments(self, image_id: int) -> dict[int, int]:
        """Segment id to category id of one image."""
        record = _look_up(self._annotations, image_id, "panoptic annotation of image", self.where)
        return {segment.id: segment.category_id for segment in record.segments_info}

    def segment_map(self, image_id: int) -> np.ndarray:
        """The (height, width) int32 map of segment ids, in column-major memory (as run lengths want it).

        Raises:
            InputError: the PNG is absent, damaged, no RGB id map, or of another size than the image.
        """
        record = _look_up(self._annotations, image_id, "panoptic annotation of image", self.where)
        image = self.image(image_id)
        member = f"{self._name}/{record.file_name}"
        where = f"{self._masks.where}: {member}"
        colours = decode_id_map(self._masks.read(member), where)
        height, width = colours.shape[:2]
        if (height, width) != (image.height, image.width):
            raise InputError(
                f"{where}: mask of {height}x{width} pixels for an image of {image.height}x{image.width}"
            )
        return segment_ids(colours)


def segment_ids(colours: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 to (H, W) int32: R + 256 G + 256² B (``rgb2id`` of cocodataset/panopticapi)."""
    weights = np.array([1, 256, 256 * 256], dtype=np.int32)
    return np.asfortranarray(colours.astype(np.int32) @ weights)


def segment_union(ids: np.ndarray, segments: Iterable[int]) -> np.ndarray:
    """The (H, W) bool mask of all pixels that belong to any of ``segments``."""
    mask = np.zeros(ids.shape, dtype=bool, order="F")
    for segment in segments:
        mask |= ids == segment
    return mask


def _look_up(records: dict[int, T], number: int, what: str, where: str) -> T:
    try:
        return records[number]
    except KeyError:
        raise InputError(f"{where}: has no {what} {number}") from None
