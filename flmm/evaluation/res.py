"""Referring expression segmentation (RefCOCO, RefCOCO+, RefCOCOg): how its predictions are counted."""

from collections.abc import Mapping

import numpy as np

from flmm.evaluation import metrics


def scores(columns: Mapping[str, np.ndarray], protocol: str) -> dict[str, float]:
    """cIoU, gIoU and Pr@0.5…0.9, percent, of the rows (N,) of one split, protocol and head.

    The protocols differ in what was spoken (``flmm.protocols``), so their rows differ and are counted alike:
    ``scripts/multiprocess_eval_refcoco.py`` of wusize/F-LMM with mmdet's ``RefSegMetric`` (``paper``) and
    LAVT's ``test.py`` (``standard``).
    """
    ious = columns["iou"]
    return {
        "cIoU": metrics.ciou(columns["intersection"], columns["area_union"]),
        "gIoU": metrics.giou(ious),
        **{f"Pr@{t}": metrics.precision_at(ious, t) for t in metrics.PRECISION_THRESHOLDS},
    }
