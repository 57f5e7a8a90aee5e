"""The comparison of backbones: the one number of every benchmark and split, with its interval, on one screen."""

from collections.abc import Iterable, Sequence

from flmm.evaluation.records import Record
from flmm.report import labels
from flmm.report.tabulate import MISSING, Cell, Row, Table, cell

NOTE = (
    "The trained head’s refined masks in percent, answers as fractions; below each its 95 % interval over images. "
    "The best of a column is marked ★; ≈ marks those whose interval overlaps the best one’s, so that this run does not "
    "tell them apart."
)


def overview(records: Iterable[Record], backbones: Sequence[str]) -> Table | None:
    """Backbone x benchmark, a row per backbone; None where there is no number yet."""
    chosen = headline_records(list(records))
    if not chosen:
        return None
    places = labels.places(chosen)
    values = {(r.backbone, r.benchmark, r.split): r for r in chosen}
    columns = [
        _marked([values.get((backbone, *place)) for backbone in backbones]) for place in places
    ]  # one list of cells per column
    rows = tuple(
        Row((backbone,), tuple(column[number] for column in columns))
        for number, backbone in enumerate(backbones)
    )
    headings = tuple(
        f"{labels.benchmark_label(dataset)} {split} {labels.metric_label(labels.main_metric(dataset), dataset)}"
        for dataset, split in places
    )
    return Table("Backbones compared", NOTE, ("Backbone",), headings, (rows,))


def headline_records(records: Sequence[Record]) -> list[Record]:
    """Those of each benchmark's headline; under its first protocol that was run, where its own was not."""
    found = []
    for dataset in dict.fromkeys(r.benchmark for r in records):
        chosen = labels.benchmark_of(dataset)
        headline = chosen.headline
        mine = [
            r for r in records
            if (r.benchmark, r.head, r.metric) == (dataset, headline.head, headline.metric)
        ]  # fmt: skip
        run = {r.protocol for r in mine}
        protocol = next((name for name in (headline.protocol, *chosen.protocols) if name in run), None)
        found += [r for r in mine if r.protocol == protocol]
    return found


def _marked(column: Sequence[Record | None]) -> list[Cell]:
    """The cells of one column; with several numbers the best is marked, and those that it cannot be told from."""
    present = [record for record in column if record is not None]
    best = max(present, key=lambda record: record.value)
    return [
        Cell(MISSING, "missing") if each is None else cell(each, _mark(each, best, present))
        for each in column
    ]


def _mark(record: Record, best: Record, present: Sequence[Record]) -> str:
    if len(present) < 2:
        return ""
    if record.value == best.value:
        return "best"
    return "within" if record.high >= best.low else ""
