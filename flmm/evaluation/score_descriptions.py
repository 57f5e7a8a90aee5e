"""Anybody's grounded descriptions under GLaMM's rules, in the layout in which GLaMM's own script writes them.

A folder of ``<image id>.json``, each with ``caption``, ``phrases`` and ``pred_masks`` (COCO run lengths), or with
these under one key.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from flmm.benchmarks import Benchmark
from flmm.data.grandf import upstream_id
from flmm.data.sample import Sample
from flmm.data.segmentation import segmentation_mask
from flmm.data.upstream import parse_python
from flmm.errors import InputError
from flmm.evaluation.description_count import (
    Described,
    columns,
    of_captions,
    records_of_pictures,
    upstream_order,
)
from flmm.evaluation.pairs import Picture, Runs
from flmm.evaluation.score import SEED, SUITE, Score
from flmm.evaluation.similarity import Similarity
from flmm.files import read_json


@dataclass(frozen=True)
class _Said:
    caption: str
    phrases: list[str]
    pred_masks: list[Any]


_SAID = TypeAdapter(_Said)
_NOTHING = _Said("", [], [])


def score_descriptions(
    samples: Sequence[Sample],
    folder: Path,
    system: str,
    benchmark: Benchmark,
    model: Similarity | None = None,
) -> Score:
    """Every metric of the descriptions in ``folder``; ``system`` names who gave them.

    A picture without a file counts as described by nothing, and as missing.

    Raises:
        InputError: no such folder, a file of no picture of the samples, or a damaged one (names it).
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder; {benchmark.title} wants one with a JSON file per picture"
        )
    known = {upstream_id(sample) for sample in samples}
    given = {path.stem: path for path in sorted(folder.glob("*.json"))}
    if unknown := sorted(given.keys() - known):
        raise InputError(
            f"{folder}: {len(unknown)} files are of no picture of the samples, such as {unknown[0]}.json"
        )
    ordered = sorted(samples, key=lambda sample: upstream_order(sample.image))
    pictures = [_described(sample, given.get(upstream_id(sample))) for sample in ordered]
    counted = {**columns(pictures, model), **of_captions(pictures)}
    place = {"backbone": system, "head": system, "benchmark": samples[0].dataset, "split": samples[0].split}
    records = records_of_pictures(benchmark, pictures, counted, SEED, suite=SUITE, **place)
    return Score(records, len(samples), len(known) - len(given))


def _described(sample: Sample, path: Path | None) -> Described:
    said = _NOTHING if path is None else _read(path)
    size = [sample.height, sample.width]
    # A mask without a phrase stays a mask, and is like no phrase.
    phrases = [*said.phrases, *[""] * len(said.pred_masks)][: len(said.pred_masks)]
    return Described(
        image=f"{sample.archive}/{sample.image}",
        text=said.caption,
        captions=[piece.text for piece in sample.narrative],
        phrases=phrases,
        true_phrases=[target.sentences[0] for target in sample.targets],
        masks=Picture(
            [_runs(mask, sample, f"{path}: mask {n}") for n, mask in enumerate(said.pred_masks)],
            [{"size": size, "counts": target.rle.encode("ascii")} for target in sample.targets],
        ),
    )


def _read(path: Path) -> _Said:
    content = read_json(path)
    if isinstance(content, dict) and content and "caption" not in content:
        content = next(iter(content.values()))  # some systems file it under the picture's name
    return parse_python(_SAID, content, str(path))


def _runs(segmentation: Any, sample: Sample, where: str) -> Runs:
    """The run lengths again, by way of a mask: pycocotools itself reads past the end of a damaged string."""
    mask = segmentation_mask(segmentation, sample.height, sample.width, where)
    found: Runs = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return found
