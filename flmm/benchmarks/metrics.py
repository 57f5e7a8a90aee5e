"""The numbers of the evaluation, from arrays alone: no file, no model, no protocol.

Mask metrics are percent (0-100), answer metrics fractions (0-1), as the literature prints them.
"""

from collections.abc import Hashable, Sequence

import numpy as np

from flmm.benchmarks.base import Ratio

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


def mean(values: np.ndarray | Sequence[bool], scale: float = 1.0) -> Ratio:
    """``scale`` times the mean of values (N,)."""
    over = np.asarray(values, dtype=float)
    return Ratio(over, np.ones(len(over)), np.ones(len(over), dtype=bool), scale)


def ciou(intersections: np.ndarray, unions: np.ndarray) -> Ratio:
    """Cumulative IoU in percent: the sum of all intersections over the sum of all unions, in pixels (N,).

    mmdet ``RefSegMetric`` (``cIoU``), LAVT ``test.py`` (overall IoU).
    """
    return Ratio(intersections, unions, np.ones(len(unions), dtype=bool), 100.0)


def giou(ious: np.ndarray) -> Ratio:
    """Mean IoU over phrases (N,) in percent (LISA calls it gIoU, LAVT and mmdet mIoU)."""
    return mean(ious, 100.0)


def precision_at(ious: np.ndarray, threshold: float) -> Ratio:
    """Share of phrases (N,) with IoU >= ``threshold``, in percent (LAVT ``test.py``)."""
    return mean(ious >= threshold, 100.0)


def average_recall(ious: np.ndarray) -> Ratio:
    """PNG average recall in percent: the area under share(IoU >= t), left Riemann sum with step 1e-5.

    Upstream (``scripts/multiprocess_eval_png.py`` of wusize/F-LMM, after the PNG benchmark's own script)
    loops over the thresholds. The sums commute: each phrase adds one rectangle per threshold that it reaches, and
    which is the last one follows from its IoU, up to a rounding that the loop's own comparison settles.
    """
    last = len(_AR_EDGES) - 1
    near = np.clip((ious / _AR_STEP).astype(int), 0, last)
    above = np.minimum(near + 1, last)
    reached = near + (ious >= _AR_EDGES[near]) + ((above > near) & (ious >= _AR_EDGES[above]))
    return mean(reached, 100.0 * _AR_STEP)


def binary_scores(predicted: Sequence[bool], labels: Sequence[bool]) -> dict[str, Ratio]:
    """POPE's scores, as fractions, with yes as the positive class (``evaluate.py`` of AoiDragon/POPE).

    Where upstream divides by zero (no yes was said, or none was right) the score is 0. F1, the harmonic mean of
    precision and recall, is twice the hits over what was said to be yes and what is.
    """
    said, true = np.asarray(predicted, dtype=bool), np.asarray(labels, dtype=bool)
    hits, everything = (said & true).astype(float), np.ones(len(said), dtype=bool)
    return {
        "accuracy": mean(said == true),
        "precision": mean(hits).of(said),
        "recall": mean(hits).of(true),
        "F1": Ratio(2 * hits, said.astype(float) + true, everything),
        "yes_ratio": mean(said),
    }


def circular_accuracy(groups: Sequence[Hashable], correct: Sequence[bool]) -> Ratio:
    """Share of groups, 0-1, of which every member is right (MMBench: all rotations of a question).

    A group counts as its first row; the others weigh nothing.
    """
    right: dict[Hashable, bool] = {}
    first: list[bool] = []
    for group, hit in zip(groups, correct, strict=True):
        first.append(group not in right)
        right[group] = right.get(group, True) and hit
    return mean([right[group] for group in groups]).of(np.array(first, dtype=bool))
