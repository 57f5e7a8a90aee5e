"""metrics.json: flat, typed, sorted; and the terminal's table made from it."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from flmm import report
from flmm.errors import InputError
from flmm.evaluation.records import read_records, sort_records
from flmm.params import Params
from flmm.report.charts import line_charts, nice_ticks, read_curves
from flmm.report.table import print_table

Tree = Callable[..., Path]
INTERVAL = ["low", "high", "n", "images"]
KEYS = ["suite", "backbone", "head", "benchmark", "split", "protocol", "metric", "value"]


def test_metrics_json_holds_every_record_sorted_with_exactly_the_agreed_keys(
    params: Params, tree: Tree, tmp_path: Path
) -> None:
    results = tree()
    report.build(params, out=tmp_path)
    records = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    written = [
        record
        for path in sorted(results.glob("*/*/count/metrics.json"))
        for record in json.loads(path.read_text(encoding="utf-8"))
    ]
    assert len(records) == len(written) and all(record in records for record in written)
    assert all(
        sorted(record) == sorted(KEYS + INTERVAL) and isinstance(record["value"], float) for record in records
    )
    typed = read_records(tmp_path / "metrics.json")
    assert typed == sort_records(reversed(typed))


@pytest.mark.parametrize("value", ["NaN", "Infinity", '"81.2"', "null"])
def test_a_value_that_is_no_finite_number_is_refused_by_name(tmp_path: Path, value: str) -> None:
    path = tmp_path / "metrics.json"
    text = ", ".join(f'"{key}": "x"' for key in KEYS[:-1])
    path.write_text(f'[{{{text}, "value": {value}}}]', encoding="utf-8")
    with pytest.raises(InputError, match=r"metrics\.json: record 0\.value"):
        read_records(path)


def test_the_terminal_table_shows_every_main_figure(params: Params, tree: Tree, tmp_path: Path) -> None:
    tree()
    report.build(params, out=tmp_path)
    out = io.StringIO()
    print_table(tmp_path / "metrics.json", Console(file=out, width=100))
    text = out.getvalue()
    mains = [r for r in read_records(tmp_path / "metrics.json") if r.metric in {"cIoU", "AR"}]
    assert mains and all(f"{r.value:.1f}" in text for r in mains)
    for word in ("shapes-llava", "untrained, refined", "RefCOCO", "testB", "POPE", "adversarial", "MMBench"):
        assert word in text


def test_a_data_set_that_no_benchmark_lists_is_shown_like_the_one_whose_name_it_begins_with(
    tmp_path: Path,
) -> None:
    place = dict.fromkeys(KEYS[:-1], "x") | {"protocol": "upstream", "metric": "accuracy"}
    place |= {"low": 0.8, "high": 0.9, "n": 8, "images": 4}
    records = [{**place, "benchmark": name, "value": 0.875} for name in ("pope_medical", "somebodys")]
    (tmp_path / "metrics.json").write_text(json.dumps(records), encoding="utf-8")
    out = io.StringIO()
    print_table(tmp_path / "metrics.json", Console(file=out, width=200))
    assert "pope_medical" in out.getvalue() and "0.875" in out.getvalue()
    assert "somebodys" not in out.getvalue()  # read like RES, it has no cIoU here


def test_the_terminal_table_of_no_results_says_so(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text("[]", encoding="utf-8")
    out = io.StringIO()
    print_table(tmp_path / "metrics.json", Console(file=out, width=200))
    assert "no results yet" in out.getvalue()


def test_a_broken_line_of_the_curves_is_named(tmp_path: Path) -> None:
    path = tmp_path / "curves.jsonl"
    path.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo', encoding="utf-8")
    with pytest.raises(InputError, match=r"curves\.jsonl:2"):
        read_curves(path)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=700))
def test_a_curve_stays_inside_its_plot(losses: list[float]) -> None:
    (chart,) = line_charts({"a": [{"step": step, "loss": loss} for step, loss in enumerate(losses, start=1)]})
    points = [tuple(map(float, point.split())) for point in chart.lines[0].path[1:].split("L")]
    assert len(points) <= 160
    assert all(-0.1 <= x <= chart.width + 0.1 and -0.1 <= y <= chart.height + 0.1 for x, y in points)


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6), st.integers(2, 6))
def test_ticks_cover_the_range_in_few_round_steps(low: float, span: float, count: int) -> None:
    ticks = nice_ticks(low, low + span, count)
    slack = 1e-6 * max(1.0, abs(low), abs(low + span))
    assert ticks[0] <= low + slack and ticks[-1] >= low + span - slack
    assert 2 <= len(ticks) <= 2 * count + 3
