"""The numbers of the evaluation, from arrays alone: no file, no model, no protocol.

Mask metrics are percent (0-100), answer metrics fractions (0-1), as the literature prints them.
"""

from collections.abc import Hashable, Sequence

import numpy as np

PRECISION_THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)

# The lower edges of the rectangles under the recall curve, computed as upstream computes them. Upstream pairs
# each edge with the next one, so that the last (0.99999) opens no rectangle: a perfect model scores 99.999.
_AR_STEP = 1e-5
_AR_EDGES = np.arange(0, 1, _AR_STEP)[:-1]


def iou(intersections: np.ndarray, unions: np.ndarray) -> np.ndarray:
    """Intersection over union per phrase (N,) in 0-1; 0 where both masks are empty (LAVT ``test.py``)."""
    safe = np.where(unions > 0, unions, 1)
    ratios: np.ndarray = np.where(unions > 0, intersections / safe, 0.0)
    return ratios


def ciou(intersections: np.ndarray, unions: np.ndarray) -> float:
    """Cumulative IoU in percent: the sum of all intersections over the sum of all unions, in pixels (N,).

    mmdet ``RefSegMetric`` (``cIoU``), LAVT ``test.py`` (overall IoU).
    """
    total = int(np.sum(unions, dtype=np.int64))
    return 100.0 * int(np.sum(intersections, dtype=np.int64)) / total if total else 0.0


def giou(ious: np.ndarray) -> float:
    """Mean IoU over phrases (N,) in percent (LISA calls it gIoU, LAVT and mmdet mIoU)."""
    return 100.0 * float(np.mean(ious))


def precision_at(ious: np.ndarray, threshold: float) -> float:
    """Share of phrases (N,) with IoU >= ``threshold``, in percent (LAVT ``test.py``)."""
    return 100.0 * float(np.mean(ious >= threshold))


def average_recall(ious: np.ndarray) -> float:
    """PNG average recall in percent: the area under share(IoU >= t), left Riemann sum with step 1e-5.

    Upstream (``scripts/multiprocess_eval_png.py`` of wusize/F-LMM, after the PNG benchmark's own script)
    loops over the thresholds. The sums commute: each phrase adds one rectangle per threshold that it reaches,
    which a binary search counts, with the same comparisons as the loop.
    """
    reached = np.searchsorted(_AR_EDGES, ious, side="right")
    return 100.0 * float(np.mean(reached)) * _AR_STEP


def binary_scores(predicted: Sequence[bool], labels: Sequence[bool]) -> dict[str, float]:
    """POPE's scores, as fractions, with yes as the positive class (``evaluate.py`` of AoiDragon/POPE).

    Where upstream divides by zero (no yes was said, or none was right) the score is 0.
    """
    said, true = np.asarray(predicted, dtype=bool), np.asarray(labels, dtype=bool)
    hits = int(np.sum(said & true))
    precision = hits / int(said.sum()) if said.any() else 0.0
    recall = hits / int(true.sum()) if true.any() else 0.0
    return {
        "accuracy": float(np.mean(said == true)),
        "precision": precision,
        "recall": recall,
        "F1": 2 * precision * recall / (precision + recall) if hits else 0.0,
        "yes_ratio": float(np.mean(said)),
    }


def circular_accuracy(groups: Sequence[Hashable], correct: Sequence[bool]) -> float:
    """Share of groups, 0-1, of which every member is right (MMBench: all rotations of a question)."""
    right: dict[Hashable, bool] = {}
    for group, hit in zip(groups, correct, strict=True):
        right[group] = right.get(group, True) and hit
    return sum(right.values()) / len(right)
