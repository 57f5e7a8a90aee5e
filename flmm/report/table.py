"""The table in the terminal that ends ``make reproduce``: backbone x benchmark, the main metric of each."""

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from flmm.evaluation.records import Record, read_records
from flmm.params import Params
from flmm.pipeline import paths
from flmm.report import labels, rivals


def print_table(metrics_path: Path, console: Console | None = None) -> None:
    """Print masks (one table per protocol) and answers from ``reports/metrics.json``.

    Raises:
        InputError: the file is absent or holds something else than records.
    """
    console = console or Console()
    found = [r for r in read_records(metrics_path) if r.metric == labels.main_metric(r.benchmark)]
    records = [r for r in found if not labels.is_way(r)]  # second looks are on the page
    if not records:
        console.print(f"{metrics_path}: no results yet")
        return
    for protocol in labels.protocols(records):
        console.print(_table(protocol, [r for r in records if r.protocol == protocol]))


def print_rivals(params: Params, console: Console | None = None) -> None:
    """Print what fine-tuning costs, from the rivals' records and ``reports/metrics.json``; nothing without a rival."""
    found, _ = rivals.gather(params)
    shown = rivals.rivals(params, read_records(paths.reports() / "metrics.json"), found)
    if shown is None:
        return
    table = Table(
        title=shown.title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False
    )
    table.add_column("LMM", no_wrap=True)
    for name in shown.columns:
        table.add_column(name.replace(" ", "\n"), justify="right")
    for group in shown.groups:
        for row in group:
            table.add_row(*row.headings, *(each.text for each in row.cells))
        table.add_section()
    (console or Console()).print(table)


def _table(protocol: str, records: Sequence[Record]) -> Table:
    """Rows are backbones and heads; columns are the benchmarks' splits under one protocol."""
    is_answers = all(labels.is_asked(r.benchmark) for r in records)
    places = labels.places(records)
    title = "Answers (fraction right)" if is_answers else f"Masks, protocol “{protocol}” (percent)"
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("backbone", no_wrap=True)
    table.add_column("answers from" if is_answers else "masks from", no_wrap=True)
    for benchmark, split in places:
        metric = labels.main_metric(benchmark).removesuffix("_accuracy")
        table.add_column(
            f"{labels.benchmark_label(benchmark)}\n{split}\n{metric}", justify="right", overflow="fold"
        )
    values = {
        (r.backbone, r.head, r.benchmark, r.split): labels.format_value(r.value, r.metric, r.benchmark)
        for r in records
    }
    for backbone in sorted({r.backbone for r in records}):
        heads = sorted(
            {r.head for r in records if r.backbone == backbone},
            key=labels.head_rank,
        )
        for number, head in enumerate(heads):
            cells = [values.get((backbone, head, *place), "–") for place in places]
            name = labels.short_head_label(head, is_answers)
            style = "bold" if name == "refined" else "dim" if name.startswith("untrained") else None
            table.add_row(backbone if number == 0 else "", name, *cells, style=style)
        table.add_section()
    return table
