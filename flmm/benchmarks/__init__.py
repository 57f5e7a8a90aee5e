"""The benchmarks: one file each, one object in it. A new file is a new benchmark (docs/add-a-benchmark.md).

Nothing here loads a model or a picture, so that checks, the workflow and the CLI's help can ask the objects.
"""

from flmm.benchmarks.base import (
    Benchmark,
    Headline,
    Metric,
    Number,
    Ratio,
    Weighed,
    benchmark,
    benchmarks,
    names,
    of_dataset,
)

__all__ = [
    "Benchmark",
    "Headline",
    "Metric",
    "Number",
    "Ratio",
    "Weighed",
    "benchmark",
    "benchmarks",
    "names",
    "of_dataset",
]
