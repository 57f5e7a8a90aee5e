"""A data set of one's own: photographs in a zip, and per split a COCO-format file whose annotations have phrases.

docs/own-data.md. The words of an annotation are its ``phrase``, else its ``caption``, else its category's name.
"""

import hashlib
import io
import re
from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydantic import TypeAdapter

from flmm.data.archives import Tree, open_tree, read_file
from flmm.data.images import DECODE_ERRORS
from flmm.data.readers import (
    EMPTY_SENTENCE,
    EVALUATION_IMAGE,
    NO_TARGET,
    NO_WORDS,
    ZERO_AREA,
    Files,
    GroundingReader,
)
from flmm.data.sample import Sample, Target, encode_rle
from flmm.data.segmentation import segmentation_mask
from flmm.data.upstream import CategoryRecord, Id, ImageRecord, index, parse_json
from flmm.errors import InputError
from flmm.params import Dataset

# COCO's photographs under their own names, whose numbers RefCOCO and PNG share.
_COCO = re.compile(r"(?:.*/)?(?:COCO_(?:train|val)2014_)?(\d{12})\.jpg")


@dataclass(frozen=True, slots=True)
class _Annotation:
    id: Id
    image_id: Id
    segmentation: Any
    category_id: Id | None = None
    phrase: str | list[str] | None = None
    caption: str | list[str] | None = None
    iscrowd: bool = False


@dataclass(frozen=True, slots=True)
class _File:
    images: list[ImageRecord]
    annotations: list[_Annotation]
    categories: list[CategoryRecord] = field(default_factory=list)


_FILE = TypeAdapter(_File)


class CocoPhrases(GroundingReader):
    """``<raw>/<name>_<split>.json`` with photographs in ``<raw>/<name>.zip``, or in the folder of that name."""

    on_coco = False

    def __init__(self, raw: Path, name: str) -> None:
        """``name`` is the dataset's name in params.yaml; ``raw`` holds the files."""
        self.raw = raw
        self.name = name

    def image_ids(self, split: str) -> list[int]:
        _, file = self._read(split)
        return [_number(self.name, image.file_name) for image in file.images]

    def samples(self, split: str, exclude: Set[int], skipped: Counter[str]) -> Iterator[Sample]:
        where, file = self._read(split)
        categories = index(file.categories, "category", where)
        mine = _by_image(file, where)
        tree = open_tree(self.raw, self.name)
        for image in file.images:
            number = _number(self.name, image.file_name)
            if number in exclude:
                skipped[EVALUATION_IMAGE] += 1
                continue
            targets = tuple(_targets(mine[image.id], categories, image, where, skipped))
            if not targets:
                skipped[NO_TARGET] += 1
                continue
            _check_photograph(tree, self.name, image, where)
            yield Sample(
                sample_id=f"{self.name}-{split}-{image.id:012d}",
                dataset=self.name,
                split=split,
                image_id=number,
                archive=self.name,
                image=image.file_name,
                height=image.height,
                width=image.width,
                targets=targets,
                narrative=(),
            )

    def _read(self, split: str) -> tuple[str, _File]:
        where, data = read_file(self.raw, f"{self.name}_{split}.json")
        file = parse_json(_FILE, data, where)
        index(file.images, "photograph", where, key="file_name")
        return where, file


def words(annotation: _Annotation, category: CategoryRecord | None) -> tuple[list[str], bool]:
    """What an annotation is called, as written, and whether that is its category's name.

    The first of ``phrase``, ``caption`` and the category's name that is there; nothing where none is.
    """
    for given in (annotation.phrase, annotation.caption):
        if given is not None:
            return ([given] if isinstance(given, str) else given), False
    return ([] if category is None else [category.name]), category is not None


def _number(archive: str, file_name: str) -> int:
    """A photograph's number: COCO's own, else one that the same file of the same archive always gets.

    Beyond COCO's numbers, so that no photograph is taken for one of RefCOCO's or PNG's.
    """
    if found := _COCO.fullmatch(file_name):
        return int(found[1])
    digest = hashlib.sha256(f"{archive}/{file_name}".encode(errors="surrogatepass")).digest()
    return 1 << 62 | int.from_bytes(digest[:8], "big") >> 2


def _by_image(file: _File, where: str) -> dict[int, list[_Annotation]]:
    images = index(file.images, "image", where)
    index(file.annotations, "annotation", where)
    found: dict[int, list[_Annotation]] = {number: [] for number in images}
    for annotation in file.annotations:
        if annotation.image_id not in found:
            raise InputError(f"{where}: annotation {annotation.id}: has no image {annotation.image_id}")
        found[annotation.image_id].append(annotation)
    return found


def _targets(
    annotations: list[_Annotation],
    categories: dict[int, CategoryRecord],
    image: ImageRecord,
    where: str,
    skipped: Counter[str],
) -> Iterator[Target]:
    """One per annotation; those that only a category names are one per category, all of its pixels."""
    groups: dict[tuple[str, int], list[_Annotation]] = {}
    for annotation in annotations:
        category = _category(annotation, categories, where)
        _, by_category = words(annotation, category)
        key = ("category", category.id) if by_category and category else ("annotation", annotation.id)
        groups.setdefault(key, []).append(annotation)
    for (kind, number), group in groups.items():
        category = _category(group[0], categories, where)
        given, _ = words(group[0], category)
        sentences = tuple(text.strip() for text in given if text.strip())
        skipped[EMPTY_SENTENCE] += len(given) - len(sentences)
        mask = np.zeros((image.height, image.width), dtype=bool)
        for one in group:
            place = f"{where}: annotation {one.id}"
            mask |= segmentation_mask(one.segmentation, image.height, image.width, place, skipped)
        if not mask.any() or not sentences:
            skipped[NO_WORDS if mask.any() else ZERO_AREA] += 1
            continue
        yield Target(
            target_id=str(number) if kind == "annotation" else f"{kind}-{number}",
            sentences=sentences,
            rle=encode_rle(mask),
            category=category.name if category else "",
            is_thing=category is None or category.isthing,
            is_plural=len(group) > 1 or group[0].iscrowd,
        )


def _category(
    annotation: _Annotation, categories: dict[int, CategoryRecord], where: str
) -> CategoryRecord | None:
    number = annotation.category_id
    if number is None:
        return None
    if number not in categories:
        raise InputError(f"{where}: annotation {annotation.id}: has no category {number}")
    return categories[number]


def _check_photograph(tree: Tree, archive: str, image: ImageRecord, where: str) -> None:
    """That the photograph is there, and of the size on which its masks lie.

    Raises:
        InputError: it is not (names the file and both sizes).
    """
    inside = f"{archive}/{image.file_name}"
    member = inside if tree.has(inside) else image.file_name
    if not tree.has(member):
        raise InputError(f"{where}: image {image.id}: {tree.where} has no file {image.file_name!r}")
    try:
        with Image.open(io.BytesIO(tree.read(member))) as opened:
            width, height = opened.size
    except DECODE_ERRORS as error:
        raise InputError(f"{tree.where}: {member}: not a readable picture ({error})") from error
    if (width, height) != (image.width, image.height):
        turned = (height, width) == (image.width, image.height)
        hint = "; it is stored turned: save it upright (its EXIF is not looked at)" if turned else ""
        raise InputError(
            f"{tree.where}: {member}: {width} x {height} pixels, but {where} says {image.width} x "
            f"{image.height}{hint}"
        )


def files(name: str, dataset: Dataset, split: str) -> Files:
    """The annotations of a split; the photographs of all splits are in one archive, and looked at by prepare, too."""
    archive = f"{name}.zip"
    return Files((f"{name}_{split}.json", archive), (archive,))


def open_reader(raw: Path, name: str, dataset: Dataset) -> CocoPhrases:
    """A reader of ``<raw>``; files are opened when a split is asked for."""
    return CocoPhrases(raw, name)
