"""Visual-CoT: how the boxes around its masks are counted."""

from flmm.benchmarks import metrics
from flmm.benchmarks.base import Benchmark, Columns, Headline, Metric, Ratio, short_answer
from flmm.heads.names import REFINED


def count(columns: Columns, protocol: str) -> dict[str, Ratio]:
    """Pr@0.5 (the benchmark's top-1 accuracy of detection) and mean IoU of boxes, percent, of all questions (N,)."""
    return {"Pr@0.5": metrics.precision_at(columns["iou"], 0.5), "gIoU": metrics.giou(columns["iou"])}


BENCHMARK = Benchmark(
    name="viscot",
    title="Visual-CoT",
    reader="viscot",
    datasets={"viscot": "Visual-CoT"},
    splits=(),
    words="answered",
    protocols=("answer-then-ground",),
    metrics=(Metric("Pr@0.5", "percent"), Metric("gIoU", "percent")),
    headline=Headline("Pr@0.5", "answer-then-ground", REFINED),
    count=count,
    prompt=short_answer,
    notes={"answer-then-ground": "Visual-CoT: share of boxes with IoU ≥ 0.5."},
    place=2,
)
