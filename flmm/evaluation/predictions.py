"""The predictions table: one row per head, answer and phrase; every mask metric is computed from it alone.

Legend: P phrases, h w pixels of the ground truth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pycocotools import mask as coco_mask

from flmm.data.sample import Sample
from flmm.evaluation.tables import PREDICTION_SCHEMA

if TYPE_CHECKING:  # it brings torch along, which counting and `flmm score` do without
    from flmm.cache.reader import CachedAnswer


def prediction_rows(
    answer: CachedAnswer, masks: np.ndarray, *, dataset: str, split: str, head: str
) -> list[dict[str, object]]:
    """One row per phrase of an answer; ``masks``: (P, h, w) bool at the ground truth's size."""
    size = [answer.height, answer.width]
    predicted = _encode(masks)
    truths: list[Any] = [{"counts": phrase.rle.encode("ascii"), "size": size} for phrase in answer.phrases]
    rows = []
    for number, (phrase, mine, truth) in enumerate(zip(answer.phrases, predicted, truths, strict=True)):
        intersection, union = areas(mine, truth)
        rows.append(
            {
                "sample_id": answer.sample_id,
                "answer_id": answer.answer_id,
                "phrase": number,
                "target_id": phrase.target_id,
                "text": phrase.text,
                "dataset": dataset,
                "split": split,
                "protocol": answer.protocol,
                "head": head,
                "archive": answer.archive,
                "image": answer.image,
                "height": answer.height,
                "width": answer.width,
                "iou": iou(intersection, union),
                "intersection": intersection,
                "area_union": union,
                "rle": mine["counts"].decode("ascii"),
                "rle_truth": phrase.rle,
                "is_thing": phrase.is_thing,
                "is_plural": phrase.is_plural,
                "category": phrase.category,
            }
        )
    return rows


def _encode(masks: np.ndarray) -> list[Any]:
    # pycocotools wants (h, w, P) in column-major order.
    encoded: list[Any] = coco_mask.encode(np.asfortranarray(masks.transpose(1, 2, 0).astype(np.uint8)))
    return encoded


def areas(first: Any, second: Any) -> tuple[int, int]:
    """Intersection and union in pixels of two run-length masks of one size."""
    return (
        int(coco_mask.area(coco_mask.merge([first, second], intersect=True))),
        int(coco_mask.area(coco_mask.merge([first, second], intersect=False))),
    )


def iou(intersection: int, union: int) -> float:
    """Intersection over union, 0-1; 0 where both masks are empty, as ``flmm.benchmarks.metrics.iou``.

    Predicting does not import what counts, so that another metric asks for no new predictions.
    """
    return intersection / union if union else 0.0


def table_of(rows: list[dict[str, object]]) -> pa.Table:
    """Prediction rows as a table with ``PREDICTION_SCHEMA``."""
    return pa.Table.from_pylist(rows, schema=PREDICTION_SCHEMA)


def unit_id(sample: Sample) -> str:
    """The ``answer_id`` of the one answer to a sample's question."""
    return f"{sample.sample_id}/answer"


def counts(sample: Sample, mask: np.ndarray) -> np.ndarray:
    """What of a predicted mask (h, w) is compared: its box where only a box is annotated, and nothing ignored."""
    target = sample.targets[0]
    if target.is_box and mask.any():
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        mask = np.zeros_like(mask)
        mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    return mask & ~target.ignored(sample.height, sample.width) if target.ignore else mask
