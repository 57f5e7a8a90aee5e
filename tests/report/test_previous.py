"""This run beside the previous one: what is kept, what counts as another run, and how a difference reads."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flmm import report
from flmm.errors import InputError
from flmm.evaluation.records import Record
from flmm.params import Params
from flmm.pipeline import paths
from flmm.report.previous import Run, changes, previous, remember
from tests.report.conftest import made_up_records, write

Tree = Callable[..., Path]
TITLE = "Beside the previous run"


def record(value: float, *, doubt: float = 2.0, **other: Any) -> Record:
    place: dict[str, Any] = {
        "suite": "shapes", "backbone": "a", "head": "unet+sam", "benchmark": "refcoco", "split": "val",
        "protocol": "standard", "metric": "cIoU", "n": 90, "images": 30,
    }  # fmt: skip
    return Record(value=value, low=value - doubt, high=value + doubt, **place | other)


def run(*records: Record, made: str = "2026-01-01") -> Run:
    return Run(made=made, commit="c" * 12, params_hash="d" * 12, seed=7, records=list(records))


def test_a_run_is_another_one_when_its_numbers_are(tmp_path: Path) -> None:
    file = tmp_path / "history.json"
    first, second, third = (run(record(value), made=f"day {value}") for value in (50.0, 60.0, 70.0))
    assert remember(file, "shapes", first) is None
    assert remember(file, "shapes", first) is None
    assert remember(file, "shapes", second) == first
    again = run(record(60.0), made="day after")
    assert remember(file, "shapes", again) == first
    assert remember(file, "shapes", run()) is None  # nothing was counted yet: no run
    assert remember(file, "shapes", third) == second  # of the day on which its numbers were first made
    assert len(json.loads(file.read_text())["shapes"]) == 2


def test_a_suite_is_compared_with_itself(tmp_path: Path) -> None:
    file = tmp_path / "history.json"
    remember(file, "shapes", run(record(50.0)))
    assert remember(file, "paper", run(record(60.0))) is None
    assert remember(file, "shapes", run(record(70.0))) == run(record(50.0))


@pytest.mark.parametrize("content", ['{"shapes": [{"made": 3}]}', "[]", '{"shapes": '])
def test_a_damaged_history_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "history.json"
    file.write_text(content)
    with pytest.raises(InputError, match=r"history\.json"):
        remember(file, "shapes", run(record(50.0)))


def test_a_difference_inside_the_intervals_is_marked() -> None:
    before = run(record(50.0), record(50.0, split="testA"), record(50.0, split="testB"))
    now = [record(54.0), record(45.9, split="testA"), record(49.98, split="testB")]
    now.append(record(9.0, benchmark="png", metric="AR"))
    table = previous(before, now, ["a"])
    assert table is not None
    rows = [
        (row.headings[1], row.cells[0].text, row.cells[1].text, row.cells[2].text, row.cells[2].mark)
        for group in table.groups for row in group
    ]  # fmt: skip
    assert rows == [
        ("RefCOCO val cIoU", "50.0", "54.0", "+4.0", "within"),  # touching intervals overlap
        ("RefCOCO testA cIoU", "50.0", "45.9", "-4.1", ""),
        ("RefCOCO testB cIoU", "50.0", "50.0", "0.0", "within"),
        ("PNG val AR, all", "–", "9.0", "–", ""),
    ]
    assert changes(table) == "1 of 3 results differ by more than their intervals"
    assert "2026-01-01, commit cccccccccccc, params dddddddddddd, seed 7" in table.note
    assert previous(before, [record(1.0, backbone="b")], ["b"]) is None
    assert previous(None, now, ["a"]) is None


def test_the_page_and_its_files_show_both_runs(params: Params, tree: Tree, tmp_path: Path) -> None:
    out = tmp_path / "reports"
    tree()
    report.build(params, out=out)
    assert TITLE not in (out / "index.html").read_text(encoding="utf-8")
    for path in out.glob("*.*"):
        if path.name != report.HISTORY:
            path.unlink()  # as Snakemake does before it runs the step again
    records = [each for found in made_up_records("shapes-llava").values() for each in found]
    changed = [{**each, **{name: each[name] / 2 for name in ("value", "low", "high")}} for each in records]
    write(paths.metrics(params, "shapes-llava"), changed)
    report.build(params, out=out)
    page = (out / "index.html").read_text(encoding="utf-8")
    assert page.count(f"<caption>{TITLE}") == 1
    assert "previous run: 8 of 8 results differ" in page
    lines = (out / "tables/beside-the-previous-run.csv").read_text(encoding="utf-8").splitlines()
    before, now = (
        next(
            each for each in rows
            if (each["head"], each["benchmark"], each["split"], each["metric"], each["protocol"])
            == ("unet+sam", "refcoco", "val", "cIoU", "standard")
        )["value"]
        for rows in (records, changed)
    )  # fmt: skip
    (row,) = [line.split(",") for line in lines if ",RefCOCO val cIoU," in line]
    assert (row[2], row[5], row[8]) == (f"{before:.1f}", f"{now:.1f}", f"{now - before:.1f}")
    assert f">−{before - now:.1f}<" in page  # for people with a real minus
    report.build(params, out=out)
    assert (out / "index.html").read_text(encoding="utf-8") == page
