"""Panoptic narrative grounding: how its predictions are counted."""

import numpy as np

from flmm.benchmarks import metrics
from flmm.benchmarks.base import Benchmark, Columns, Headline, Metric, Ratio
from flmm.heads.names import REFINED


def count(columns: Columns, protocol: str) -> dict[str, Ratio]:
    """Average recall in percent, of all phrases, of things, stuff, singulars and plurals, and ``standard`` by category.

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
    if protocol == "standard":
        category = np.asarray(columns["category"])
        kinds |= {f"AR/{name}": category == name for name in sorted(set(category.tolist()))}
    recall = metrics.average_recall(columns["iou"])
    return {name: recall.of(kind) for name, kind in kinds.items() if kind.any()}


BENCHMARK = Benchmark(
    name="png",
    title="PNG",
    reader="png",
    datasets={"png": "PNG"},
    splits=("val",),
    words="spoken",
    protocols=("standard", "paper"),
    metrics=(
        Metric("AR", "percent", "AR, all"),
        Metric("AR_things", "percent", "AR, things"),
        Metric("AR_stuff", "percent", "AR, stuff"),
        Metric("AR_singulars", "percent", "AR, singulars"),
        Metric("AR_plurals", "percent", "AR, plurals"),
    ),
    headline=Headline("AR", "standard", REFINED),
    count=count,
    notes={
        "standard": "PNG: things and stuff by the annotated category.",
        "paper": "PNG: plural phrases count as things, as in the authors’ scripts.",
    },
    place=2,
)
