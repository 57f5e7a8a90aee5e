"""The page's tables as files: CSV for programs, LaTeX (booktabs) for papers."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from flmm.files import write_text
from flmm.report.tabulate import Cell, Table

FOLDER = "tables"
_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--", "“": "``", "”": "''", "’": "'", "≥": r"$\geq$",
    "\u202f": r"\,", "★": r"$\star$", "≈": r"$\approx$", "−": "$-$", "±": r"$\pm$",
}  # fmt: skip


def write_tables(tables: Iterable[Table], out: Path) -> None:
    """Write ``out/<slug>.csv`` and ``.tex`` of each table, and remove those of an earlier page.

    Raises:
        StepError: a file cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    written = set()
    for table in tables:
        for ending, text in (("csv", as_csv(table)), ("tex", as_latex(table))):
            path = out / f"{table.slug}.{ending}"
            write_text(path, text)
            written.add(path)
    for stale in {*out.glob("*.csv"), *out.glob("*.tex")} - written:
        stale.unlink()


def as_csv(table: Table) -> str:
    """A row per row; a column per value, and after it its bounds where the column has any."""
    bounded = [
        any(row.cells[index].low for group in table.groups for row in group)
        for index in range(len(table.columns))
    ]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    heading = list(table.corner)
    for name, has_bounds in zip(table.columns, bounded, strict=True):
        heading += [name, f"{name} low", f"{name} high"] if has_bounds else [name]
    writer.writerow(heading)
    for group in table.groups:
        for row in group:
            values: list[str] = list(row.headings)
            for cell, has_bounds in zip(row.cells, bounded, strict=True):
                text = "" if cell.kind == "missing" else cell.text
                values += [text, cell.low, cell.high] if has_bounds else [text]
            writer.writerow(values)
    return out.getvalue()


def as_latex(table: Table) -> str:
    """A ``table`` with a ``tabular`` of the package booktabs; intervals are small, best values bold."""
    lines = [
        r"\begin{table}", r"\centering", rf"\caption{{{_tex(' '.join((table.title + '.', table.note)).strip())}}}",
        rf"\begin{{tabular}}{{{'l' * len(table.corner)}{'r' * len(table.columns)}}}", r"\toprule",
        _line([_tex(name) for name in (*table.corner, *table.columns)]),
    ]  # fmt: skip
    for group in table.groups:
        lines.append(r"\midrule")
        lines += [_line([*map(_tex, row.headings), *map(_tex_cell, row.cells)]) for row in group]
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}", ""]
    return "\n".join(lines)


def _tex_cell(cell: Cell) -> str:
    text = rf"\textbf{{{_tex(cell.shown)}}}" if cell.mark == "best" else _tex(cell.shown)
    near = r"$\approx$" if cell.mark == "within" else ""
    return rf"{near}{text} {{\scriptsize {_tex(cell.interval)}}}" if cell.low else f"{near}{text}"


def _line(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def _tex(text: str) -> str:
    return "".join(_TEX.get(sign, sign) for sign in text)
