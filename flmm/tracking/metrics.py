"""The metrics of a run, from the records and the curves of a training."""

import json
from typing import Any

from flmm.evaluation.records import read_records
from flmm.params import Params
from flmm.pipeline import paths
from flmm.report.headline import mains, to_percent
from flmm.report.labels import benchmark_label
from flmm.tracking.names import Point, metric_names


def curves(lines: list[str]) -> dict[str, list[Point]]:
    """The points of every curve of ``curves.jsonl``."""
    points: dict[str, list[Point]] = {}
    for line in lines:
        for name, value in step_metrics(json.loads(line)).items():
            points.setdefault(name, []).append((int(json.loads(line)["step"]), value))
    return points


def step_metrics(record: dict[str, Any]) -> dict[str, float]:
    """One training step's metrics."""
    return {name: float(value) for name, value in record.items() if name != "step"}


def scores(params: Params, backbone: str) -> dict[str, list[Point]]:
    """Every number, in its own unit: ``<data set>/<split>/<protocol>/<head>/<metric>``."""
    records = read_records(paths.metrics(params, backbone))
    places = ["/".join((r.benchmark, r.split, r.protocol, r.head, r.metric)) for r in records]
    return {name: [(0, record.value)] for name, record in zip(metric_names(places), records, strict=True)}


def bounds(params: Params, backbone: str, names: list[str]) -> dict[str, list[Point]]:
    """The interval of each score, beside it: ``<name>/low`` and ``<name>/high``."""
    records = read_records(paths.metrics(params, backbone))
    return {
        f"{name}/{bound}": [(0, value)]
        for name, record in zip(names, records, strict=True)
        for bound, value in (("low", record.low), ("high", record.high))
    }


def headlines(params: Params, backbone: str) -> dict[str, list[Point]]:
    """About ten numbers, one per data set and split, named as on the report page, all in percent."""
    found = mains(read_records(paths.metrics(params, backbone)))
    names = [
        f"headline/{benchmark_label(record.benchmark)} {record.split} {record.metric}" for record in found
    ]
    return {
        name: [(0, to_percent(record) * record.value)]
        for name, record in zip(metric_names(names), found, strict=True)
    }
