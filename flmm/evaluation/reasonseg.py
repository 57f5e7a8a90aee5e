"""ReasonSeg: how its predictions are counted (``train.py`` ``validate`` of dvlab-research/LISA)."""

from collections.abc import Mapping

import numpy as np

from flmm.evaluation import metrics


def scores(columns: Mapping[str, np.ndarray], protocol: str) -> dict[str, float]:
    """GIoU and cIoU, percent, of all questions (N,), and of long and short queries where there are some.

    Ignored pixels are in no intersection and no union. Where nothing was to be found and nothing was, IoU is 1.
    """
    kinds = {"": np.ones(len(columns["iou"]), dtype=bool)}
    kinds |= {f"_{name}": columns["category"] == f"{name} query" for name in ("long", "short")}
    found: dict[str, float] = {}
    for suffix, kind in kinds.items():
        if kind.any():
            unions = columns["area_union"][kind]
            found[f"gIoU{suffix}"] = metrics.giou(np.where(unions > 0, columns["iou"][kind], 1.0))
            found[f"cIoU{suffix}"] = metrics.ciou(columns["intersection"][kind], unions)
    return found
