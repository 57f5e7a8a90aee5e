"""Visual-CoT: how the boxes around its masks are counted."""

from collections.abc import Mapping

import numpy as np

from flmm.evaluation import metrics


def scores(columns: Mapping[str, np.ndarray], protocol: str) -> dict[str, float]:
    """Pr@0.5 (the benchmark's top-1 accuracy of detection) and mean IoU of boxes, percent, of all questions (N,)."""
    return {"Pr@0.5": metrics.precision_at(columns["iou"], 0.5), "gIoU": metrics.giou(columns["iou"])}
