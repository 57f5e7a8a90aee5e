"""Charts as plain geometry: the template draws them in the page's light and dark colours, no script."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flmm.errors import InputError
from flmm.evaluation.records import Record
from flmm.heads import names
from flmm.report import labels

# Curves: the quantities that `train` writes per step, in the order in which they are shown.
QUANTITIES = {
    "loss": "Loss, total",
    "loss_coarse_bce": "Coarse masks, BCE",
    "loss_coarse_dice": "Coarse masks, dice",
    "loss_refined_bce": "Refined masks, BCE",
    "loss_refined_dice": "Refined masks, dice",
    "lr": "Learning rate",
    "gradient_norm": "Gradient norm",
}
_POINTS = 160  # points per line; longer curves are averaged in equal bins


@dataclass(frozen=True)
class Dot:
    """A value on a scale of 0-100 in a row; ``kind`` is its CSS class: untrained, coarse or refined."""

    kind: str
    value: float
    label: str


@dataclass(frozen=True)
class DotRow:
    """One benchmark split: the control, the coarse and the refined masks on one line."""

    label: str
    dots: tuple[Dot, ...]


@dataclass(frozen=True)
class DotChart:
    """The dot rows of one backbone under one protocol; ``description`` says in words what a picture shows."""

    title: str
    rows: tuple[DotRow, ...]
    description: str


_DOTS = {
    names.refined(names.UNTRAINED): "untrained",
    names.COARSE: "coarse",
    names.REFINED: "refined",
}


def dot_charts(records: Sequence[Record], backbones: Sequence[str]) -> list[DotChart]:
    """Per backbone and protocol: untrained, coarse and refined masks on the main metric (percent)."""
    chosen = [r for r in labels.mains(records, asked=False) if r.head in _DOTS]
    charts = []
    for backbone in backbones:
        for protocol in labels.protocols(chosen):
            mine = [r for r in chosen if r.backbone == backbone and r.protocol == protocol]
            if mine:
                charts.append(_dot_chart(f"{backbone}, protocol “{protocol}”", mine))
    return charts


def _dot_chart(title: str, records: Sequence[Record]) -> DotChart:
    rows = []
    for benchmark, split in labels.places(records):
        dots = tuple(
            Dot(_DOTS[r.head], r.value, labels.format_value(r.value, r.metric, r.benchmark))
            for r in sorted(records, key=lambda r: labels.head_rank(r.head))
            if (r.benchmark, r.split) == (benchmark, split)
        )
        metric = labels.main_metric(benchmark)
        rows.append(DotRow(f"{labels.benchmark_label(benchmark)} {split}, {metric}", dots))
    words = "; ".join(
        f"{row.label}: " + ", ".join(f"{dot.kind} {dot.label}" for dot in row.dots) for row in rows
    )
    return DotChart(title, tuple(rows), words)


@dataclass(frozen=True)
class Line:
    """One backbone's curve; ``path`` is SVG path data inside the plot, ``number`` picks its colour."""

    name: str
    number: int
    path: str


@dataclass(frozen=True)
class Tick:
    """A gridline at ``at`` SVG units with its printed value."""

    at: float
    label: str


@dataclass(frozen=True)
class LineChart:
    """One quantity over the optimiser's steps, a line per backbone; sizes in SVG units."""

    title: str
    width: int
    height: int
    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    description: str


def read_curves(path: Path) -> list[dict[str, float]]:
    """Read ``train``'s curves.jsonl: one mapping of numbers per optimiser step.

    Raises:
        InputError: a line is not JSON (names the file and the line).
    """
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise InputError(
                f"{path}:{number}: not valid JSON; delete the file and run train again"
            ) from error
    return rows


def line_charts(curves: dict[str, list[dict[str, float]]]) -> list[LineChart]:
    """One chart per quantity; ``curves`` maps a backbone to its rows."""
    charts = []
    for key, title in QUANTITIES.items():
        series = {
            name: [(row["step"], row[key]) for row in rows if key in row and math.isfinite(row[key])]
            for name, rows in curves.items()
        }
        series = {name: _binned(points) for name, points in series.items() if points}
        if series:
            charts.append(_line_chart(title, series, list(curves)))
    return charts


def _binned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Means over equal bins of consecutive points, at most ``_POINTS`` of them."""
    size = math.ceil(len(points) / _POINTS)
    bins = [points[start : start + size] for start in range(0, len(points), size)]
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in bins]


def _line_chart(title: str, series: dict[str, list[tuple[float, float]]], names: list[str]) -> LineChart:
    width, height = 260, 120
    xs = [x for points in series.values() for x, _ in points]
    ys = [y for points in series.values() for _, y in points]
    x_values, y_values = nice_ticks(0.0, max(xs), 4), nice_ticks(min(0.0, *ys), max(ys), 4)
    x_high, y_low, y_high = max(max(xs), 1e-12), y_values[0], y_values[-1]

    def place(x: float, y: float) -> tuple[float, float]:
        return x / x_high * width, height - (y - y_low) / (y_high - y_low) * height

    lines = tuple(
        Line(
            name,
            names.index(name),
            "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in (place(*p) for p in points)),
        )
        for name, points in series.items()
    )
    words = "; ".join(
        f"{name}: from {points[0][1]:.3g} to {points[-1][1]:.3g}" for name, points in series.items()
    )
    return LineChart(
        title, width, height, lines,
        tuple(Tick(place(x, y_low)[0], f"{x:g}") for x in x_values if x <= x_high),
        tuple(Tick(place(0.0, y)[1], f"{y:.3g}") for y in y_values),
        f"{title} over {max(xs):g} steps. {words}.",
    )  # fmt: skip


def nice_ticks(low: float, high: float, count: int) -> list[float]:
    """Values 1, 2 or 5 times a power of ten apart that cover ``low`` to ``high`` in about ``count`` steps."""
    if high - low < 1e-9:
        high = low + 1.0
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]
