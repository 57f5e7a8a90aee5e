"""Predicted and true masks of one picture, paired as GLaMM's evaluation does (``eval/gcg/evaluate.py``).

Legend: D predicted masks, G true ones.
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

THRESHOLD = 0.5  # of IoU, and of the similarity of two phrases
Runs = dict[str, Any]  # COCO run lengths: size and counts


@dataclass(frozen=True)
class Picture:
    """The masks of one picture as COCO run lengths of one size."""

    predicted: Sequence[Runs]
    true: Sequence[Runs]


def ious(picture: Picture) -> np.ndarray:
    """Intersection over union (D, G)."""
    if not picture.predicted or not picture.true:
        return np.zeros((len(picture.predicted), len(picture.true)))
    found: np.ndarray = coco_mask.iou(list(picture.predicted), list(picture.true), [0] * len(picture.true))
    return found


def paired(overlaps: np.ndarray) -> list[tuple[int, int]]:
    """One-to-one pairs of a (D, G) matrix: the highest IoU of what is left, while it is above 0."""
    left, found = overlaps.copy(), []
    while left.size and left.max() > 0:
        row, column = np.unravel_index(int(left.argmax()), left.shape)
        found.append((int(row), int(column)))
        left[row, :] = 0
        left[:, column] = 0
    return found


def mean_iou(overlaps: np.ndarray) -> float:
    """Mean IoU of the pairs, 0-1; 0 where there is none. Masks without a partner are not in it, as upstream."""
    pairs = paired(overlaps)
    return float(np.mean([overlaps[pair] for pair in pairs])) if pairs else 0.0


def recalled(overlaps: np.ndarray, similar: np.ndarray) -> int:
    """How many true masks were found: pairs as above with an IoU and a similarity (D, G) of 0.5 or more.

    As upstream, the first pair in the order of IoU that fails one of the two ends the search.
    """
    found = 0
    for column, row in paired(overlaps.T):  # of equal IoUs upstream takes the first true mask here
        pair = (row, column)
        if overlaps[pair] < THRESHOLD or similar[pair] < THRESHOLD:
            break
        found += 1
    return found


def hits(pictures: Sequence[Picture]) -> list[np.ndarray]:
    """Per picture whether COCO's evaluation matches each predicted mask at IoU 0.5, (D,) bool.

    All masks have one class and one score; of more than 100 in a picture the others are dropped.
    """
    truth, said = (_coco(pictures, side) for side in ("true", "predicted"))
    evaluation = COCOeval(truth, said, "segm")
    settings = evaluation.params
    settings.iouThrs, settings.maxDets = np.array([THRESHOLD]), [100]
    settings.areaRng, settings.areaRngLbl = [[0, 1e10]], ["all"]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.evaluate()
    return [
        np.zeros(0, dtype=bool) if each is None else np.asarray(each["dtMatches"][0]) > 0
        for each in evaluation.evalImgs
    ]


def _coco(pictures: Sequence[Picture], side: str) -> COCO:
    """The masks of one side as COCO's annotations, pictures numbered in their order."""
    annotations: list[dict[str, Any]] = []
    images = []
    for number, picture in enumerate(pictures):
        everything = [*picture.true, *picture.predicted]
        height, width = everything[0]["size"] if everything else (1, 1)
        images.append({"id": number, "height": height, "width": width})
        for runs in picture.true if side == "true" else picture.predicted:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": 1,
                    "segmentation": runs,
                    "area": float(coco_mask.area(runs)),
                    "iscrowd": 0,
                    "score": 1.0,
                }
            )
    made = COCO()
    made.dataset = {"images": images, "categories": [{"id": 1, "name": "object"}], "annotations": annotations}
    with contextlib.redirect_stdout(io.StringIO()):
        made.createIndex()
    return made
