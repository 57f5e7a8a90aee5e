"""ReasonSeg: how its predictions are counted (``train.py`` ``validate`` of dvlab-research/LISA)."""

import numpy as np

from flmm.benchmarks import metrics
from flmm.benchmarks.base import Benchmark, Columns, Headline, Metric, Ratio, short_answer
from flmm.heads.names import REFINED


def count(columns: Columns, protocol: str) -> dict[str, Ratio]:
    """GIoU and cIoU, percent, of all questions (N,), and of long and short queries where there are some.

    Ignored pixels are in no intersection and no union. Where nothing was to be found and nothing was, IoU is 1.
    """
    kinds = {"": np.ones(len(columns["iou"]), dtype=bool)}
    kinds |= {f"_{name}": columns["category"] == f"{name} query" for name in ("long", "short")}
    unions = columns["area_union"]
    giou = metrics.giou(np.where(unions > 0, columns["iou"], 1.0))
    ciou = metrics.ciou(columns["intersection"], unions)
    found: dict[str, Ratio] = {}
    for suffix, kind in kinds.items():
        if kind.any():
            found |= {f"gIoU{suffix}": giou.of(kind), f"cIoU{suffix}": ciou.of(kind)}
    return found


BENCHMARK = Benchmark(
    name="reasonseg",
    title="ReasonSeg",
    reader="reasonseg",
    datasets={"reasonseg": "ReasonSeg"},
    splits=("val", "test"),
    words="answered",
    protocols=("answer-then-ground",),
    metrics=(
        Metric("gIoU", "percent"),
        Metric("cIoU", "percent"),
        Metric("gIoU_long", "percent", "gIoU, long queries"),
        Metric("cIoU_long", "percent", "cIoU, long queries"),
        Metric("gIoU_short", "percent", "gIoU, short queries"),
        Metric("cIoU_short", "percent", "cIoU, short queries"),
    ),
    headline=Headline("gIoU", "answer-then-ground", REFINED),
    count=count,
    prompt=short_answer,
    notes={"answer-then-ground": "ReasonSeg: mean IoU (gIoU) without the ignored pixels."},
    place=1,
)
