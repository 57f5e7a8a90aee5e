"""Phrases of a data set of one's own (docs/own-data.md): counted as referring expression segmentation is."""

from flmm.benchmarks.base import Benchmark, Headline
from flmm.benchmarks.res import BENCHMARK as RES
from flmm.heads.names import REFINED

BENCHMARK = Benchmark(
    name="phrases",
    title="Phrases",
    reader="coco_phrases",
    datasets={"phrases": "Phrases"},
    splits=("val", "test"),
    words="spoken",
    protocols=RES.protocols,
    metrics=RES.metrics,
    headline=Headline("cIoU", "standard", REFINED),
    count=RES.count,
    notes={
        "standard": "Phrases: every phrase is a sample of its own, seen alone.",
        "paper": "Phrases: the first phrase of each object, all of an image’s in one answer.",
    },
    place=3,
)
