"""The few numbers that stand for a run, and its curves, as DVC shows and compares them (``metrics`` and ``plots``)."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

from flmm.benchmarks import of_dataset
from flmm.evaluation.records import Record
from flmm.report import labels
from flmm.report.overview import headline_records

DIGITS = 4  # behind the point
POINTS = 500  # of a curve

Headlines = dict[str, dict[str, dict[str, float]]]


def mains(records: Iterable[Record]) -> list[Record]:
    """The headline of each benchmark, in reading order, as on the page; a data set of no benchmark has none."""
    return sorted(
        (record for record in headline_records(list(records)) if of_dataset(record.benchmark)),
        key=lambda r: (r.backbone, labels.dataset_rank(r.benchmark), labels.split_rank(r.benchmark, r.split)),
    )


def headline(records: Iterable[Record]) -> Headlines:
    """Backbone -> data set -> split -> number, in the benchmark's unit: percent for masks, fractions for answers."""
    found: Headlines = {}
    for record in mains(records):
        splits = found.setdefault(record.backbone, {}).setdefault(record.benchmark, {})
        splits[record.split] = round(record.value, DIGITS)
    return found


def headline_csv(records: Iterable[Record]) -> str:
    """The same as rows for bars: what it is of, and percent."""
    rows: list[list[str | float]] = []
    for record in mains(records):
        name = f"{labels.benchmark_label(record.benchmark)} {record.split}, {record.backbone}"
        rows.append([name, round(to_percent(record) * record.value, DIGITS)])
    return _csv(["result", "percent"], rows)


def to_percent(record: Record) -> int:
    """By what a headline and its interval are multiplied to be percent: 1 for masks, 100 for answers."""
    metrics = labels.benchmark_of(record.benchmark).metrics
    unit = next(each.unit for each in metrics if each.name == record.metric)
    return 1 if unit == "percent" else 100


def curves_csv(curves: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """The loss of every training by step, a column per backbone; of a long one means over windows of steps.

    ``curves``: by backbone, the lines of ``curves.jsonl``. Columns may end at different steps.
    """
    columns = {backbone: _windows(rows) for backbone, rows in curves.items()}
    steps = sorted({step for column in columns.values() for step in column})
    rows = [[step, *(column.get(step, "") for column in columns.values())] for step in steps]
    return _csv(["step", *columns], rows)


def _windows(rows: Sequence[Mapping[str, float]]) -> dict[int, float]:
    """Mean loss by last step of each window."""
    size = max(1, -(-len(rows) // POINTS))
    windows = [rows[start : start + size] for start in range(0, len(rows), size)]
    return {
        int(window[-1]["step"]): round(sum(row["loss"] for row in window) / len(window), DIGITS)
        for window in windows
    }


def _csv(header: list[str], rows: Iterable[list[str | float]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()
