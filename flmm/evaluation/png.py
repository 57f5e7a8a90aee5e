"""Panoptic narrative grounding: how its predictions are counted."""

from collections.abc import Mapping

import numpy as np

from flmm.evaluation import metrics


def scores(columns: Mapping[str, np.ndarray], protocol: str) -> dict[str, float]:
    """Average recall in percent, of all phrases and of things, stuff, singulars and plurals.

    Protocol ``paper`` counts every plural phrase as a thing (``flmm/datasets/png.py`` and
    ``scripts/multiprocess_eval_png.py`` of wusize/F-LMM); ``standard`` goes by the annotated category. A kind
    without phrases has no number.
    """
    plural = columns["is_plural"].astype(bool)
    thing = columns["is_thing"].astype(bool)
    if protocol == "paper":
        thing = thing | plural
    kinds = {
        "AR": np.ones_like(plural),
        "AR_things": thing,
        "AR_stuff": ~thing,
        "AR_singulars": ~plural,
        "AR_plurals": plural,
    }
    return {name: metrics.average_recall(columns["iou"][kind]) for name, kind in kinds.items() if kind.any()}
