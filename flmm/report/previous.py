"""This run beside the previous one: the headlines of both, kept in a file that outlives the page it is shown on."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from flmm.errors import InputError
from flmm.evaluation.records import Record
from flmm.files import read_json, write_json
from flmm.report import labels
from flmm.report.tabulate import MISSING, Cell, Row, Table, cell

KEPT = 2  # of each suite: the latest run and the one before it


class Run(BaseModel):
    """The headlines of one run, and what tells it from others, as on the page."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    made: str
    commit: str
    params_hash: str
    seed: int
    records: list[Record]


_RUNS = TypeAdapter(dict[str, list[Run]])


def remember(file: Path, suite: str, run: Run) -> Run | None:
    """Keep the run as its suite's latest in ``file``, and give the one before it; None where there is none.

    The same numbers again, as of a page that is only rendered anew, are the same run: it keeps its date and commit.

    Raises:
        InputError: the file is there but holds something else.
    """
    history = _read(file)
    runs = history.get(suite, [])
    if run.records and (not runs or runs[-1].records != run.records):
        runs = [*runs, run][-KEPT:]
        history[suite] = runs
    write_json(file, {name: [each.model_dump() for each in kept] for name, kept in history.items()})
    return runs[-2] if run.records and len(runs) == KEPT else None


def _read(file: Path) -> dict[str, list[Run]]:
    if not file.exists():
        return {}
    try:
        return _RUNS.validate_python(read_json(file))
    except ValidationError as error:
        raise InputError(
            f"{file}: not what `flmm report` writes; delete it, and the page is made without the previous run"
        ) from error


def previous(before: Run | None, records: Sequence[Record], backbones: Sequence[str]) -> Table | None:
    """Each headline of both runs and what it changed by; None where they have none in common.

    ``records``: the headlines of this run.
    """
    if before is None:
        return None
    earlier = {_place(record): record for record in before.records}
    if not any(_place(record) in earlier for record in records):
        return None
    groups = [
        tuple(_row(record, earlier.get(_place(record))) for record in records if record.backbone == backbone)
        for backbone in backbones
    ]
    note = (
        f"Before: {before.made}, commit {before.commit}, params {before.params_hash}, seed {before.seed}. Units and "
        "intervals as above; ≈ marks a difference whose two intervals overlap: these runs do not tell them apart."
    )
    columns = ("Before", "Now", "Difference")
    return Table(
        "Beside the previous run", note, ("Backbone", "Result"), columns, tuple(filter(None, groups))
    )


def changes(table: Table) -> str:
    """In few words how much differs."""
    cells = [row.cells[-1] for group in table.groups for row in group]
    compared = [each for each in cells if each.kind == "value"]
    apart = sum(not each.mark for each in compared)
    return f"{apart} of {len(compared)} results differ by more than their intervals"


def _place(record: Record) -> tuple[str, ...]:
    return (
        record.backbone, record.benchmark, record.split, record.protocol, record.head, record.metric,
    )  # fmt: skip


def _row(now: Record, before: Record | None) -> Row:
    name = f"{labels.benchmark_label(now.benchmark)} {now.split} {labels.metric_label(now.metric, now.benchmark)}"
    missing = Cell(MISSING, "missing")
    if before is None:
        return Row((now.backbone, name), (missing, cell(now), missing))
    return Row((now.backbone, name), (cell(before), cell(now), _difference(now, before)))


def _difference(now: Record, before: Record) -> Cell:
    overlap = now.low <= before.high and before.low <= now.high
    text = labels.format_value(now.value - before.value, now.metric, now.benchmark)
    changed = float(text)
    sign = "+" if changed > 0 else ""
    return Cell(f"{sign}{text}" if changed else text.removeprefix("-"), mark="within" if overlap else "")
