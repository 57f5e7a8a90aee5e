"""GranD-f's evaluation files (GLaMM): a caption per photograph, its phrases, and a mask per phrase.

Upstream: ``eval/gcg/evaluate.py`` of mbzuai-oryx/groundingLMM. ``<split>_gcg_coco_caption_gt.json`` has a caption and
its phrases (``labels``) per image, ``<split>_gcg_coco_mask_gt.json`` the masks; the n-th annotation of an image is the
mask of its n-th label. An image's id is its file's name without the ending.
"""

from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from flmm.data.archives import read_file
from flmm.data.readers import NO_CAPTION, NO_TARGET, UNPAIRED, ZERO_AREA, Files, GroundingReader
from flmm.data.sample import Piece, Sample, Target
from flmm.data.segmentation import segmentation_rle
from flmm.data.upstream import Side, parse_json
from flmm.errors import InputError
from flmm.params import Dataset

PICTURES = "GranDf_HA_images"
ANNOTATIONS = "annotations/val_test"
_Name = str | int


@dataclass(frozen=True, slots=True)
class _Image:
    id: _Name


@dataclass(frozen=True, slots=True)
class _Caption:
    image_id: _Name
    caption: str
    labels: list[str]


@dataclass(frozen=True, slots=True)
class _CaptionFile:
    images: list[_Image]
    annotations: list[_Caption]


@dataclass(frozen=True, slots=True)
class _Runs:
    size: Annotated[list[Side], Field(min_length=2, max_length=2)]
    counts: Any


@dataclass(frozen=True, slots=True)
class _Mask:
    image_id: _Name
    segmentation: _Runs


@dataclass(frozen=True, slots=True)
class _MaskFile:
    annotations: list[_Mask]


_CAPTIONS, _MASKS = TypeAdapter(_CaptionFile), TypeAdapter(_MaskFile)


class GranDf(GroundingReader):
    """A sample per photograph: a target per phrase, and the reference captions as pieces without a target."""

    on_coco = False

    def __init__(self, raw: Path, name: str) -> None:
        """``name`` is the dataset's name in params.yaml; ``raw`` holds the upstream files."""
        self.raw = raw
        self.name = name

    def image_ids(self, split: str) -> list[int]:
        return list(range(len(self._captions(split).images)))

    def samples(self, split: str, exclude: Set[int], skipped: Counter[str]) -> Iterator[Sample]:
        captions = self._captions(split)
        place, data = read_file(self.raw, mask_file(split), f"{ANNOTATIONS}/{mask_file(split)}")
        said: dict[str, list[_Caption]] = {}
        for caption in captions.annotations:
            said.setdefault(str(caption.image_id), []).append(caption)
        masks: dict[str, list[_Mask]] = {}
        for mask in parse_json(_MASKS, data, place).annotations:
            masks.setdefault(str(mask.image_id), []).append(mask)
        for number, image in enumerate(captions.images):
            name = str(image.id)
            mine, told = masks.get(name, []), said.get(name, [])
            if not any(one.caption.strip() for one in told):
                skipped[NO_CAPTION] += 1
                continue
            # Upstream takes the phrases of an image's first caption.
            if len(mine) != len(told[0].labels):
                skipped[UNPAIRED] += 1
                continue
            height, width = _size(mine, f"{place}: image {name}") if mine else (0, 0)
            targets = tuple(_targets(mine, told[0].labels, height, width, f"{place}: image {name}", skipped))
            if not targets:
                skipped[NO_TARGET] += 1
                continue
            yield Sample(
                sample_id=f"{self.name}-{split}-{number:06d}",
                dataset=self.name,
                split=split,
                image_id=number,
                archive=PICTURES,
                image=f"val_test/{name}.jpg",
                height=height,
                width=width,
                targets=targets,
                narrative=tuple(Piece(one.caption.strip(), -1) for one in told if one.caption.strip()),
            )

    def _captions(self, split: str) -> _CaptionFile:
        where, data = read_file(self.raw, caption_file(split), f"{ANNOTATIONS}/{caption_file(split)}")
        return parse_json(_CAPTIONS, data, where)


def caption_file(split: str) -> str:
    """The captions and phrases of a split."""
    return f"{split}_gcg_coco_caption_gt.json"


def mask_file(split: str) -> str:
    """The masks of a split."""
    return f"{split}_gcg_coco_mask_gt.json"


def upstream_id(sample: Sample) -> str:
    """The id under which upstream knows a sample's photograph."""
    return Path(sample.image).stem


def _size(masks: list[_Mask], where: str) -> tuple[int, int]:
    sizes = {tuple(mask.segmentation.size) for mask in masks}
    if len(sizes) > 1:
        raise InputError(f"{where}: its masks are of {len(sizes)} sizes: {sorted(sizes)}")
    height, width = masks[0].segmentation.size
    return height, width


def _targets(
    masks: list[_Mask], labels: list[str], height: int, width: int, where: str, skipped: Counter[str]
) -> Iterator[Target]:
    for number, (mask, label) in enumerate(zip(masks, labels, strict=True)):
        runs = {"size": mask.segmentation.size, "counts": mask.segmentation.counts}
        rle = segmentation_rle(runs, height, width, where)
        if rle is None:
            skipped[ZERO_AREA] += 1
            continue
        yield Target(str(number), (label.strip(),), rle, "object", is_thing=True, is_plural=False)


def files(name: str, dataset: Dataset, split: str) -> Files:
    """Captions and masks of a split; the photographs of val and test are in one archive."""
    return Files((caption_file(split), mask_file(split)), (f"{PICTURES}.zip",))


def open_reader(raw: Path, name: str, dataset: Dataset) -> GranDf:
    """A reader of ``<raw>``; files are opened when a split is asked for."""
    return GranDf(raw, name)
