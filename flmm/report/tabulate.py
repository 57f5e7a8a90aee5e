"""Tables of the page as plain data: rows of already formatted cells, and the template only prints them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from flmm.evaluation.records import Record
from flmm.heads import names
from flmm.report import labels
from flmm.report.published import GROUNDING, SOURCE

MISSING = "–"
# What all benchmarks of a kind of words have in common; the rest of a table's note is the benchmarks' own.
WORDS_NOTES = {
    "spoken": "",
    "answered": "The LMM answers a question that names no region, and its answer’s own words make the mask.",
    "described": "The LMM describes the picture, and the phrases of its own description make the masks.",
    "asked": "Fractions of questions answered right, by the upstream answer rules.",
}
_CONTROLS = (names.UNTRAINED, names.refined(names.UNTRAINED))


@dataclass(frozen=True)
class Cell:
    """One value as programs read it; ``kind`` is a CSS class: ``value``, ``missing`` or ``published``.

    ``low`` and ``high``: its interval as printed, ``count``: of how many it is; all empty where it has none. ``mark``:
    ``best`` of its column, ``within`` the best one's interval, or nothing.
    """

    text: str
    kind: str = "value"
    low: str = ""
    high: str = ""
    count: str = ""
    mark: str = ""

    @property
    def shown(self) -> str:
        """The text for people: a negative number has a real minus."""
        return _minus(self.text)

    @property
    def interval(self) -> str:
        """Both bounds for people, ``78.0–82.0``; with a word between them where a minus would meet the dash."""
        joint = " to " if "-" in (self.low[:1], self.high[:1]) else "–"
        return f"{_minus(self.low)}{joint}{_minus(self.high)}"


def _minus(text: str) -> str:
    """A leading hyphen before a digit as a minus."""
    return re.sub(r"^-(?=\d)", "−", text)


@dataclass(frozen=True)
class Row:
    """Row headings (one per leading column; the first of a group spans it) and the cells."""

    headings: tuple[str, ...]
    cells: tuple[Cell, ...]
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """``corner``: headings of the leading columns. ``groups``: rows that belong together, ruled apart."""

    title: str
    note: str
    corner: tuple[str, ...]
    columns: tuple[str, ...]
    groups: tuple[tuple[Row, ...], ...] = field(default=())

    @property
    def slug(self) -> str:
        """A file's name for it."""
        return re.sub(r"[^a-z0-9+]+", "-", self.title.lower()).strip("-") or "table"


def comparison(records: Iterable[Record], protocol: str, backbones: list[str], suite: str) -> Table | None:
    """Backbone x benchmark under one protocol: coarse and refined masks beside the untrained control.

    Published figures follow the authors' scripts, so they stand under protocol ``paper`` only.
    """
    chosen = [r for r in labels.mains(records, asked=False) if r.protocol == protocol]
    if not chosen:
        return None
    values = {(r.backbone, r.head, r.benchmark, r.split): r for r in chosen}
    places = labels.places(chosen)
    heads = sorted({r.head for r in chosen}, key=labels.head_rank)
    groups = [
        tuple(
            Row(
                (backbone, labels.head_label(head)),
                tuple(_cell(values.get((backbone, head, *place))) for place in places),
                _row_kind(head),
            )
            for head in heads
        )
        for backbone in backbones
    ]
    note = _note(places, protocol)
    if protocol == "paper":
        groups += [(row,) for row in _published(places)]
        note = f"{note} {published_note(suite)}".strip()
    columns = tuple(f"{labels.benchmark_label(b)} {s} {labels.main_metric(b)}" for b, s in places)
    return Table(f"Masks, protocol “{protocol}”", note, ("Backbone", "Masks from"), columns, tuple(groups))


def _note(places: list[tuple[str, str]], protocol: str) -> str:
    """The sentences of the benchmarks that occur, after what their kind of words has in common."""
    shown = list(
        {each.name: each for each in (labels.benchmark_of(dataset) for dataset, _ in places)}.values()
    )
    common = dict.fromkeys(WORDS_NOTES[each.words] for each in shown)
    own = (each.notes.get(protocol, "") for each in shown)
    return " ".join(sentence for sentence in (*common, *own) if sentence)


def _row_kind(head: str) -> str:
    return "lead" if head == names.REFINED else "control" if head in _CONTROLS else ""


def published_note(suite: str) -> str:
    """What a reader must know before putting the paper's numbers beside ours."""
    if suite == "shapes":
        return (
            f"Published rows: {SOURCE}, on COCO photographs with 7-billion-parameter LMMs. "
            "The shapes suite is another data set: these numbers cannot be compared with the rows above them."
        )
    return f"Published rows: {SOURCE}."


def _published(places: list[tuple[str, str]]) -> tuple[Row, ...]:
    return tuple(
        Row(
            (f"{row.backbone} (published)", "refined masks, COCO photographs"),
            tuple(
                Cell(f"{row.values[place]:.1f}", "published")
                if place in row.values
                else Cell(MISSING, "missing")
                for place in places
            ),
            "published",
        )
        for row in GROUNDING
    )


def answers(records: Iterable[Record], backbones: list[str]) -> Table | None:
    """POPE and MMBench: what the frozen LMM answers plainly and with the head attached."""
    chosen = labels.mains(records, asked=True)
    if not chosen:
        return None
    places = labels.places(chosen)
    values = {(r.backbone, r.head, r.benchmark, r.split): r for r in chosen}
    heads = sorted({r.head for r in chosen}, key=labels.head_rank)
    columns, groups = _answer_columns(places), []
    for backbone in backbones:
        rows = []
        for head in heads:
            cells = tuple(
                _mean([values.get((backbone, head, *place)) for place in column.places]) for column in columns
            )
            rows.append(Row((backbone, labels.head_label(head, places[0][0])), cells))
        groups.append(tuple(rows))
    note = _note(places, chosen[0].protocol)
    titles = tuple(column.title for column in columns)
    return Table("Answers", note, ("Backbone", "Answers from"), titles, tuple(groups))


@dataclass(frozen=True)
class _Column:
    """A column of answers: the number of one split, or the mean of several."""

    title: str
    places: tuple[tuple[str, str], ...]


def _answer_columns(places: list[tuple[str, str]]) -> list[_Column]:
    """A column per split, and after a data set's splits their mean where its benchmark asks for one."""
    columns = []
    for dataset in dict.fromkeys(dataset for dataset, _ in places):
        mine = [place for place in places if place[0] == dataset]
        label, metric = labels.benchmark_label(dataset), labels.main_metric(dataset)
        columns += [
            _Column(f"{label} {split} {labels.metric_label(metric, dataset)}", ((dataset, split),))
            for _, split in mine
        ]
        if labels.benchmark_of(dataset).averaged and len(mine) > 1:
            columns.append(_Column(f"{label} mean of {len(mine)} splits", tuple(mine)))
    return columns


def full(records: Iterable[Record]) -> list[Table]:
    """Every record, one table per benchmark; ``metric/category`` metrics get one with a row per category."""
    records = list(records)
    tables = []
    for benchmark in sorted({r.benchmark for r in records}, key=labels.dataset_rank):
        mine = [r for r in records if r.benchmark == benchmark]
        tables.append(_full_table(benchmark, [r for r in mine if "/" not in r.metric]))
        # Of masks only those of the method: controls would make the table wider than any screen.
        shown = {names.PLAIN, labels.benchmark_of(benchmark).headline.head}
        categories = [r for r in mine if "/" in r.metric and r.head in shown]
        if categories:
            tables.append(_category_table(benchmark, categories))
    return [table for table in tables if table.groups]


def _full_table(benchmark: str, records: list[Record]) -> Table:
    metrics = sorted({r.metric for r in records}, key=lambda metric: labels.metric_rank(benchmark, metric))
    values = {(r.split, r.protocol, r.backbone, r.head, r.metric): r for r in records}
    keys = sorted(
        {(r.split, r.protocol, r.backbone, r.head) for r in records},
        key=lambda k: (
            k[2], labels.split_rank(benchmark, k[0]), labels.protocol_rank(k[1]), labels.head_rank(k[3]),
        ),
    )  # fmt: skip
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for split, protocol, backbone, head in keys:
        cells = tuple(_cell(values.get((split, protocol, backbone, head, metric))) for metric in metrics)
        kind = "" if labels.is_asked(benchmark) else _row_kind(head)
        count = max(
            r.n
            for r in records
            if (r.split, r.protocol, r.backbone, r.head) == (split, protocol, backbone, head)
        )
        headings = (backbone, f"{split}, {protocol} (n = {count:,})", labels.head_label(head, benchmark))
        groups.setdefault((backbone, split, protocol), []).append(Row(headings, cells, kind))
    return Table(
        labels.benchmark_label(benchmark),
        "",
        ("Backbone", "Split, protocol", "Head"),
        tuple(labels.metric_label(metric, benchmark) for metric in metrics),
        tuple(tuple(rows) for rows in groups.values()),
    )


def _category_table(benchmark: str, records: list[Record]) -> Table:
    columns = sorted({(r.backbone, r.split, r.protocol, r.head, r.metric.split("/", 1)[0]) for r in records})
    values = {(r.backbone, r.split, r.protocol, r.head, *r.metric.split("/", 1)): r for r in records}
    rows = tuple(
        Row((category,), tuple(_cell(values.get((*column, category))) for column in columns))
        for category in sorted({r.metric.split("/", 1)[1] for r in records})
    )
    return Table(
        f"{labels.benchmark_label(benchmark)} by category",
        "",
        ("Category",),
        tuple(
            f"{backbone} {split}, {labels.head_label(head, benchmark)}, {labels.metric_label(metric, benchmark)}"
            for backbone, split, _, head, metric in columns
        ),
        (rows,),
    )


def _cell(record: Record | None) -> Cell:
    return Cell(MISSING, "missing") if record is None else cell(record)


def cell(record: Record, mark: str = "") -> Cell:
    """A record as a cell with its interval."""
    value, low, high = (
        labels.format_value(number, record.metric, record.benchmark)
        for number in (record.value, record.low, record.high)
    )
    return Cell(value, low=low, high=high, count=f"n = {record.n:,} on {record.images:,} images", mark=mark)


def _mean(records: list[Record | None]) -> Cell:
    present = [record for record in records if record is not None]
    if len(present) < len(records):  # a mean over some of the splits would be another figure
        return Cell(MISSING, "missing")
    if len(present) == 1:
        return cell(present[0])
    mean = sum(r.value for r in present) / len(present)
    return Cell(labels.format_value(mean, present[0].metric, present[0].benchmark))
