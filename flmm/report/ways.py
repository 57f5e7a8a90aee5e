"""The chain of thought on the page: per benchmark a table of its ways, beside one another for each split."""

from collections.abc import Iterable

from flmm.benchmarks import Benchmark, benchmarks
from flmm.evaluation.records import Record
from flmm.files import read_json
from flmm.heads.names import PLAIN, REFINED
from flmm.params import Params
from flmm.pipeline import paths
from flmm.report import labels
from flmm.report.tabulate import MISSING, Cell, Row, Table, cell

_NOTE = (
    "The head’s refined mask is cut out with a margin and shown as a second picture; the question stays the same. "
    "Gains are over no chain of thought on the same questions, with paired intervals: one with 0 in it shows nothing."
)


def way_tables(params: Params, records: Iterable[Record]) -> list[Table]:
    """A table for each benchmark whose chain of thought was counted."""
    shown = [r for r in records if labels.is_way(r) and r.head in (PLAIN, REFINED)]
    found = []
    for each in benchmarks():
        mine = [r for r in shown if labels.benchmark_of(r.benchmark).name == each.name]
        if mine:
            found.append(_table(params, each, mine))
    return found


def _table(params: Params, benchmark: Benchmark, records: list[Record]) -> Table:
    counted = {r.metric for r in records}
    metrics = [metric.name for metric in benchmark.metrics if metric.name in counted]
    # The masks of a way that looks are refined ones, and so are its answers'; one look has no head.
    values = {(r.backbone, r.benchmark, r.split, r.protocol, r.metric): r for r in records}
    groups = []
    for backbone in params.backbones:
        for dataset, split in labels.places(r for r in records if r.backbone == backbone):
            rows = []
            for way in benchmark.ways:
                found = [values.get((backbone, dataset, split, way.name, metric)) for metric in metrics]
                cells = tuple(Cell(MISSING, "missing") if each is None else cell(each) for each in found)
                if any(found):
                    rows.append(Row((backbone, split, way.label), cells))
            groups.append(tuple(rows))
    headings = tuple(labels.metric_label(metric, records[0].benchmark) for metric in metrics)
    note = " ".join([_NOTE, *_problems(params, benchmark)])
    return Table(
        f"{benchmark.title}: a second look", note, ("Backbone", "Split", "Way"), headings, tuple(groups)
    )


def _problems(params: Params, benchmark: Benchmark) -> list[str]:
    """A sentence for every way of a backbone that got no second picture, or not always."""
    sentences = []
    for backbone in params.backbones:
        path = paths.evaluated(params, backbone, benchmark.name) / "facts.json"
        told = read_json(path).get("thoughts", {}) if path.exists() else {}
        for way in benchmark.ways:
            entry = told.get(way.name, {})
            if missing := int(entry.get("without_the_second", 0)):
                sentences.append(
                    f"{backbone}, {way.label}: {missing} of {entry['answers']} questions without a second picture "
                    f"({entry['why']})."
                )
    return sentences
