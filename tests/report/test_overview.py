"""The comparison of backbones, and the tables as files."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from flmm import report
from flmm.evaluation.records import Record
from flmm.params import Params
from flmm.pipeline import paths
from flmm.report.export import as_csv, as_latex, write_tables
from flmm.report.overview import overview
from flmm.report.tabulate import Cell, Row, Table, full
from tests.report.conftest import write


def record(backbone: str, value: float, *, doubt: float = 2.0, **other: Any) -> Record:
    place: dict[str, Any] = {
        "suite": "shapes", "head": "unet+sam", "benchmark": "refcoco", "split": "val", "protocol": "standard",
        "metric": "cIoU", "n": 90, "images": 30,
    }  # fmt: skip
    return Record(backbone=backbone, value=value, low=value - doubt, high=value + doubt, **place | other)


def marks(records: list[Record], backbones: list[str]) -> list[list[str]]:
    found = overview(records, backbones)
    assert found is not None
    return [[cell.mark for cell in row.cells] for group in found.groups for row in group]


def test_the_best_is_marked_and_what_this_run_cannot_tell_from_it() -> None:
    values = {"a": 80.0, "b": 83.0, "c": 70.0}
    records = [record(name, value) for name, value in values.items()]
    assert marks(records, ["a", "b", "c"]) == [["within"], ["best"], [""]]
    # Touching intervals overlap; apart they do not.
    assert marks([record("a", 79.0), record("b", 83.0)], ["a", "b"]) == [["within"], ["best"]]
    assert marks([record("a", 78.9), record("b", 83.0)], ["a", "b"]) == [[""], ["best"]]
    assert marks([record("a", 80.0)], ["a", "b"]) == [[""], [""]]  # nothing to compare with


def test_it_holds_the_one_number_of_each_benchmark() -> None:
    records = [
        record("a", 80.0), record("a", 1.0, metric="gIoU"), record("a", 2.0, head="unet"),
        record("a", 3.0, protocol="paper"), record("a", 60.0, split="testA"),
        record("a", 50.0, benchmark="png", metric="AR", protocol="paper"),  # `standard` was not run
        record("a", 0.9, doubt=0.01, benchmark="pope", split="random", metric="accuracy", protocol="upstream"),
    ]  # fmt: skip
    found = overview(records, ["a"])
    assert found is not None
    assert found.columns == (
        "RefCOCO val cIoU", "RefCOCO testA cIoU", "PNG val AR, all", "POPE random accuracy",
    )  # fmt: skip
    ((row,),) = found.groups
    assert [cell.text for cell in row.cells] == ["80.0", "60.0", "50.0", "0.900"]
    assert (row.cells[0].low, row.cells[0].high, row.cells[0].count) == (
        "78.0",
        "82.0",
        "n = 90 on 30 images",
    )
    assert overview([record("a", 1.0, metric="gIoU")], ["a"]) is None


def table() -> Table:
    cells = (Cell("80.0", low="78.0", high="82.0", mark="best"), Cell("–", "missing"), Cell("7"))
    return Table(
        "Masks & “more”", "100 % of them", ("Backbone",), ("cIoU", "gIoU", "n"), ((Row(("a_b, 1",), cells),),)
    )


def test_csv_has_the_bounds_beside_their_number() -> None:
    rows = list(csv.reader(io.StringIO(as_csv(table()))))
    assert rows == [
        ["Backbone", "cIoU", "cIoU low", "cIoU high", "gIoU", "n"],
        ["a_b, 1", "80.0", "78.0", "82.0", "", "7"],
    ]


def test_latex_is_escaped_and_marks_the_best() -> None:
    text = as_latex(table())
    assert r"\caption{Masks \& ``more''. 100 \% of them}" in text
    assert r"a\_b, 1 & \textbf{80.0} {\scriptsize 78.0--82.0} & -- & 7 \\" in text
    assert text.count(r"\begin{") == text.count(r"\end{") == 2 and text.isascii()


def test_an_interval_below_zero_reads_as_one(params: Params, tree: Any, tmp_path: Path) -> None:
    below, across = Cell("-18.0", low="-32.0", high="-4.0"), Cell("-1.0", low="-3.0", high="1.0")
    assert (below.shown, below.interval, across.interval) == ("−18.0", "−32.0 to −4.0", "−3.0 to 1.0")
    assert Cell("5", low="0.5", high="9.5").interval == "0.5–9.5" and Cell("–", "missing").shown == "–"
    gains = Table("Gains", "", ("Way",), ("gain",), ((Row(("v1",), (below,)), Row(("v2",), (across,))),))
    rows = list(csv.reader(io.StringIO(as_csv(gains))))
    assert [list(map(float, row[1:])) for row in rows[1:]] == [[-18.0, -32.0, -4.0], [-1.0, -3.0, 1.0]]
    text = as_latex(gains)
    assert r"v1 & $-$18.0 {\scriptsize $-$32.0 to $-$4.0} \\" in text and text.isascii()
    tree()
    gain = {"benchmark": "viscot", "split": "shapes", "protocol": "named-object", "metric": "exact_gain"}
    lost = record("shapes-llava", -18.0, doubt=14.0, **gain)
    write(paths.metrics(params, "shapes-llava"), [lost.model_dump()])
    report.build(params, out=tmp_path)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert ">−18.0<small" in page and ">−32.0 to −4.0</small>" in page and "-32.0" not in page


def test_tables_of_an_earlier_page_go(tmp_path: Path) -> None:
    (tmp_path / "old.csv").write_text("x")
    write_tables([table()], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["masks-more.csv", "masks-more.tex"]


def test_every_table_of_results_has_its_files(params: Params, tree: Any, tmp_path: Path) -> None:
    tree()
    report.build(params, out=tmp_path)
    names = {path.name for path in (tmp_path / "tables").iterdir()}
    slugs = {
        "backbones-compared", "masks-protocol-standard", "masks-protocol-paper", "answers", "refcoco", "png",
        "pope", "mmbench", "mmbench-by-category", "words", "what-fine-tuning-costs",
    }  # fmt: skip
    assert names == {f"{slug}.{ending}" for slug in slugs for ending in ("csv", "tex")}
    with (tmp_path / "tables" / "refcoco.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 2 * 4 * 3  # protocols, heads, splits


def test_categories_of_masks_are_shown_of_the_refined_masks_alone() -> None:
    records = [
        record("b", value, head=head, benchmark="png", metric=metric)
        for head, value in (("unet", 40.0), ("unet+sam", 60.0), ("untrained+sam", 1.0))
        for metric in ("AR", "AR/red circle", "AR/sky")
    ]
    _, found = full(records)
    assert found.slug == "png-by-category" and len(found.columns) == 1
    shown = [(row.headings, row.cells[0].text) for group in found.groups for row in group]
    assert shown == [(("red circle",), "60.0"), (("sky",), "60.0")]


@pytest.mark.parametrize(
    ("resumed", "words"), [(0, "3 min 05 s on A CPU"), (40, "3 min 05 s since its last interruption on A")]
)
def test_duration_and_hardware_are_told(
    params: Params, tree: Any, tmp_path: Path, resumed: int, words: str
) -> None:  # fmt: skip
    tree()
    timing = {
        "seconds": 185.2,
        "hardware": "A CPU, 2 cores",
        "device": "cpu",
        "threads": 1,
        "resumed_after_step": resumed,
    }
    write(paths.trained(params, "shapes-llava") / "timing.json", timing)
    report.build(params, out=tmp_path)
    assert f"shapes-llava: {words}" in (tmp_path / "index.html").read_text(encoding="utf-8")
