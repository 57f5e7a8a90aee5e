"""What fine-tuning costs: LMMs that were fine-tuned for masks, beside the frozen ones: masks and answers of both."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from flmm.evaluation.records import Record, read_records
from flmm.params import Params
from flmm.pipeline import paths
from flmm.pipeline.steps import Graph
from flmm.report import labels
from flmm.report.tabulate import MISSING, Cell, Row, Table, cell

NOTE = (
    "An LMM that was fine-tuned for masks, beside the frozen one that it is compared with: masks in percent, answers "
    "as fractions. The frozen LMM’s masks are its trained head’s refined ones; the head was attached as it answered."
)


def gather(params: Params) -> tuple[dict[str, list[Record]], list[Path]]:
    """The records of each rival of the backbones that run, and the files that are not there (yet)."""
    files = {step.item: paths.rival(params, step.item) / "metrics.json" for step in Graph(params).rivals}
    found = {name: read_records(path) for name, path in files.items() if path.exists()}
    return found, [path for name, path in files.items() if name not in found]


def rivals(params: Params, records: Sequence[Record], found: Mapping[str, Sequence[Record]]) -> Table | None:
    """Per frozen backbone its row and those of its rivals; None where there is no rival.

    ``records``: of the backbones. ``found``: by rival. Columns are what any rival was evaluated on, by the metric that
    stands for each data set.
    """
    numbers = {name: [r for r in rows if _is_main(r)] for name, rows in found.items()}
    columns = labels.places(r for rows in numbers.values() for r in rows)
    if not columns:
        return None
    protocols = {(r.benchmark, r.split): r.protocol for rows in numbers.values() for r in rows}
    frozen_by = {name: params.active.rivals[name].frozen for name in numbers}
    groups = []
    for frozen in dict.fromkeys(frozen_by.values()):
        mine = [r for r in records if r.backbone == frozen and _is_main(r) and _is_headed(r)]
        mine = [r for r in mine if protocols.get((r.benchmark, r.split)) == r.protocol]
        rows = [_row(f"{frozen}, frozen", mine, columns)]
        rows += [
            _row(f"{name}, fine-tuned", numbers[name], columns)
            for name, of in frozen_by.items()
            if of == frozen
        ]
        groups.append(tuple(rows))
    headings = tuple(
        f"{labels.benchmark_label(dataset)} {split} {labels.metric_label(labels.main_metric(dataset), dataset)}"
        for dataset, split in columns
    )
    return Table("What fine-tuning costs", NOTE, ("LMM",), headings, tuple(groups))


def _is_main(record: Record) -> bool:
    return record.metric == labels.main_metric(record.benchmark)


def _is_headed(record: Record) -> bool:
    return record.head == labels.benchmark_of(record.benchmark).headline.head


def _row(name: str, records: Sequence[Record], columns: Sequence[tuple[str, str]]) -> Row:
    values = {(r.benchmark, r.split): r for r in records}
    cells = (values.get(place) for place in columns)
    return Row((name,), tuple(Cell(MISSING, "missing") if each is None else cell(each) for each in cells))
