"""Referring expression segmentation (RefCOCO, RefCOCO+, RefCOCOg): how its predictions are counted."""

from flmm.benchmarks import metrics
from flmm.benchmarks.base import Benchmark, Columns, Headline, Metric, Ratio
from flmm.heads.names import REFINED


def count(columns: Columns, protocol: str) -> dict[str, Ratio]:
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


BENCHMARK = Benchmark(
    name="res",
    title="RES",
    reader="refcoco",
    datasets={"refcoco": "RefCOCO", "refcoco+": "RefCOCO+", "refcocog": "RefCOCOg"},
    splits=("val", "testA", "testB", "test"),
    words="spoken",
    protocols=("standard", "paper"),
    metrics=(
        Metric("cIoU", "percent"),
        Metric("gIoU", "percent"),
        *(Metric(f"Pr@{threshold}", "percent") for threshold in metrics.PRECISION_THRESHOLDS),
    ),
    headline=Headline("cIoU", "standard", REFINED),
    count=count,
    notes={
        "standard": "RES: every sentence is a sample of its own, seen alone.",
        "paper": "RES: the first sentence of each object, all of an image’s in one answer (the authors’ scripts).",
    },
    place=1,
)
