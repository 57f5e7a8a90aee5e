"""Panoptic Narrative Grounding: ``png_coco_<split>2017.json`` over COCO's panoptic masks.

One sample per narrative; its pieces are the utterances as they are, and a phrase's mask is the union of its segments.
Every utterance with segments is a target, as for the authors of F-LMM (their ``flmm/datasets/png.py``); those of PNG
ask for a noun besides (``data/pre_process.py`` of github.com/BCV-Uniandes/PNG), which ``is_noun`` keeps.
"""

from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from flmm.data.archives import find_tree, read_file
from flmm.data.coco import Panoptic, segment_union
from flmm.data.readers import (
    EVALUATION_IMAGE,
    NO_TARGET,
    NO_WORDS,
    NOT_A_NOUN,
    ZERO_AREA,
    Files,
    GroundingReader,
)
from flmm.data.sample import Piece, Sample, Target, encode_rle
from flmm.data.upstream import Id, parse_json
from flmm.errors import InputError
from flmm.params import Dataset

PANOPTIC_ARCHIVE = "panoptic_annotations_trainval2017"


@dataclass(frozen=True, slots=True)
class _Segment:
    utterance: str
    segment_ids: list[Id]
    plural: bool
    noun: bool


@dataclass(frozen=True, slots=True)
class _Narrative:
    image_id: Id
    segments: list[_Segment]


_NARRATIVES = TypeAdapter(list[_Narrative])


class PNG(GroundingReader):
    """The narratives of train and val; a split's files are read when it is asked for."""

    def __init__(self, raw: Path, name: str) -> None:
        """``name`` is the dataset's name in params.yaml; ``raw`` holds the upstream files."""
        self.raw = raw
        self.name = name
        self._open: tuple[str, str, list[_Narrative]] | None = None

    def image_ids(self, split: str) -> list[int]:
        return [narrative.image_id for narrative in self._narratives(split)[1]]

    def samples(self, split: str, exclude: Set[int], skipped: Counter[str]) -> Iterator[Sample]:
        where, narratives = self._narratives(split)
        name = f"panoptic_{split}2017"
        panoptic = Panoptic(find_tree(self.raw, PANOPTIC_ARCHIVE, f"annotations/{name}.json"), name)
        for number, narrative in enumerate(narratives):
            if narrative.image_id in exclude:
                skipped[EVALUATION_IMAGE] += 1
                continue
            pieces, targets = _read(narrative, panoptic, f"{where}: narrative {number}", skipped)
            if not targets:
                skipped[NO_TARGET] += 1
                continue
            image = panoptic.image(narrative.image_id)
            yield Sample(
                sample_id=f"{self.name}-{split}-{number:06d}",
                dataset=self.name,
                split=split,
                image_id=narrative.image_id,
                archive=f"{split}2017",
                image=image.file_name,
                height=image.height,
                width=image.width,
                targets=targets,
                narrative=pieces,
            )

    def _narratives(self, split: str) -> tuple[str, list[_Narrative]]:
        # One split at a time: train's narratives take most of a gigabyte.
        if self._open is None or self._open[0] != split:
            file = f"png_coco_{split}2017.json"
            where, data = read_file(self.raw, file, f"annotations/{file}")
            self._open = (split, where, parse_json(_NARRATIVES, data, where))
        return self._open[1:]


def _read(
    narrative: _Narrative, panoptic: Panoptic, where: str, skipped: Counter[str]
) -> tuple[tuple[Piece, ...], tuple[Target, ...]]:
    """The narrative's pieces and targets; a phrase that cannot be grounded stays as plain words, counted."""
    categories = panoptic.segments(narrative.image_id)
    ids: np.ndarray | None = None  # the mask is read only when a phrase needs it
    pieces: list[Piece] = []
    targets: list[Target] = []
    for number, segment in enumerate(narrative.segments):
        target = -1
        if segment.segment_ids and not segment.utterance.strip():
            skipped[NO_WORDS] += 1
        elif segment.segment_ids:
            for missing in (number for number in segment.segment_ids if number not in categories):
                raise InputError(
                    f"{where}: segment {missing} is not one of image {narrative.image_id} in {panoptic.where}"
                )
            ids = panoptic.segment_map(narrative.image_id) if ids is None else ids
            mask = segment_union(ids, segment.segment_ids)
            if mask.any():
                target = len(targets)
                targets.append(_target(number, segment, mask, panoptic, categories))
                skipped[NOT_A_NOUN] += not segment.noun
            else:
                skipped[ZERO_AREA] += 1
        pieces.append(Piece(segment.utterance, target))
    return tuple(pieces), tuple(targets)


def _target(
    number: int, segment: _Segment, mask: np.ndarray, panoptic: Panoptic, categories: dict[int, int]
) -> Target:
    """One grounded phrase; its category is its first segment's."""
    category = panoptic.category(categories[segment.segment_ids[0]])
    return Target(
        target_id=str(number),
        sentences=(segment.utterance,),
        rle=encode_rle(mask),
        category=category.name,
        is_thing=category.isthing,
        is_plural=segment.plural,
        is_noun=segment.noun,
    )


def files(name: str, dataset: Dataset, split: str) -> Files:
    """The narratives, COCO's panoptic annotations, and the split's photographs."""
    return Files((f"png_coco_{split}2017.json", f"{PANOPTIC_ARCHIVE}.zip"), (f"{split}2017.zip",))


def open_reader(raw: Path, name: str, dataset: Dataset) -> PNG:
    """A reader of ``<raw>``; files are opened when a split is asked for."""
    return PNG(raw, name)
