"""Visual-CoT benchmark: a question, its answer, and the box of the region that helps to answer it.

Upstream: ``viscot_benchmark/benchmark/<split>.json`` of deepcs233/Visual-CoT, read by its
``llava/eval/model_cot_loader.py``. A split is a subset such as ``gqa``; photographs are ``cot/<subset>/<file>``.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, TypeAdapter

from flmm.data.archives import read_file
from flmm.data.images import ImageStore
from flmm.data.readers import INVERTED_BOX, NO_QUESTION, ZERO_AREA, Files, GroundingReader
from flmm.data.sample import Sample, Target, encode_rle
from flmm.data.upstream import Id, parse_json
from flmm.errors import InputError
from flmm.params import Dataset

# The second picture of an entry: the same file, and the box in its pixels.
_NUMBER = r"\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*"
_REGION = re.compile(rf"(.+)###\s*\[{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}\]\s*")
_REQUEST = "Please provide the bounding box coordinate of the region"


@dataclass(frozen=True, slots=True)
class _Turn:
    value: str


@dataclass(frozen=True, slots=True)
class _Entry:
    question_id: Id
    image: Annotated[list[str], Field(min_length=2)]
    conversations: Annotated[list[_Turn], Field(min_length=2)]


_ENTRIES = TypeAdapter(list[_Entry])


class VisualCoT(GroundingReader):
    """``<raw>/viscot_<split>.json`` with photographs in ``<raw>/cot.zip`` or the folder ``<raw>/cot``."""

    on_coco = False

    def __init__(self, raw: Path, name: str) -> None:
        """``name`` is the dataset's name in params.yaml; ``raw`` holds the upstream files."""
        self.raw = raw
        self.name = name
        self._images = ImageStore(raw)

    def image_ids(self, split: str) -> list[int]:
        return list(range(len(self._entries(split)[1])))

    def samples(self, split: str, exclude: Set[int], skipped: Counter[str]) -> Iterator[Sample]:
        where, entries = self._entries(split)
        for number, entry in enumerate(entries):
            asked = question(entry.conversations[0].value)
            answer = entry.conversations[-1].value.strip()
            if not asked:
                skipped[NO_QUESTION] += 1
                continue
            place = f"{where}: question {entry.question_id}"
            archive, image, box = _picture(entry, place)
            if box[0] > box[2] or box[1] > box[3]:
                skipped[INVERTED_BOX] += 1
                continue
            width, height = self._images.open(archive, image).size
            region = box_mask(box, height, width)
            if not region.any():
                skipped[ZERO_AREA] += 1
                continue
            target = Target("0", (answer,), encode_rle(region), split, True, False, is_box=True)
            yield Sample(
                sample_id=f"{self.name}-{split}-{number:06d}",
                dataset=self.name,
                split=split,
                image_id=number,
                archive=archive,
                image=image,
                height=height,
                width=width,
                targets=(target,),
                narrative=(),
                question=asked,
            )

    def _entries(self, split: str) -> tuple[str, list[_Entry]]:
        file = f"viscot_{split}.json"
        where, data = read_file(self.raw, file, f"viscot_benchmark/benchmark/{split}.json")
        return where, parse_json(_ENTRIES, data, where)


def question(text: str) -> str:
    """The first turn without its picture mark and without the request for a box."""
    return text.removeprefix("<image>\n").split(_REQUEST)[0].strip()


def box_mask(box: tuple[float, float, float, float], height: int, width: int) -> np.ndarray:
    """The pixels of a box (left, top, right, bottom) as (height, width) bool, clipped to the photograph."""
    left, right = (min(max(round(x), 0), width) for x in (box[0], box[2]))
    top, bottom = (min(max(round(y), 0), height) for y in (box[1], box[3]))
    mask = np.zeros((height, width), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def _picture(entry: _Entry, where: str) -> tuple[str, str, tuple[float, float, float, float]]:
    """Archive, name and box.

    Raises:
        InputError: the second picture names no box, or the path has no folder (names ``where``).
    """
    match = _REGION.fullmatch(entry.image[1])
    archive, _, image = entry.image[0].partition("/")
    if not match or not image:
        raise InputError(f"{where}: its pictures {entry.image[:2]} are not a path and a path with a box")
    try:
        left, top, right, bottom = (float(value) for value in match.groups()[1:])
        if not all(map(math.isfinite, (left, top, right, bottom))):
            raise ValueError("too large")
    except ValueError as error:
        raise InputError(f"{where}: {match.group(0)!r} holds no box of four numbers") from error
    return archive, image, (left, top, right, bottom)


def files(name: str, dataset: Dataset, split: str) -> Files:
    """The questions, and the photographs, whose sizes are in no annotation."""
    return Files((f"viscot_{split}.json", "cot.zip"), ("cot.zip",))


def open_reader(raw: Path, name: str, dataset: Dataset) -> VisualCoT:
    """A reader of ``<raw>``; files are opened when a split is asked for."""
    return VisualCoT(raw, name)
