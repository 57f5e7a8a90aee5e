"""Second looks on the page: a table for each benchmark, a row for each way, and why one had no second picture."""

from pathlib import Path
from typing import Any

import pytest

from flmm.evaluation.records import Record
from flmm.params import Params
from flmm.pipeline import paths
from flmm.report.page import tables
from flmm.report.ways import way_tables
from tests.report.conftest import write


def record(benchmark: str, split: str, protocol: str, metric: str, value: float, **changes: Any) -> Record:
    head = "none" if protocol == "plain" else "unet+sam"
    plain: dict[str, Any] = {
        "suite": "shapes", "backbone": "shapes-llava", "head": head, "benchmark": benchmark, "split": split,
        "protocol": protocol, "metric": metric, "value": value, "low": value, "high": value, "n": 9, "images": 3,
    }  # fmt: skip
    return Record(**plain | changes)


RECORDS = [
    record("viscot", "shapes", "answer-then-ground", "Pr@0.5", 11.0),
    record("viscot", "shapes", "named-object", "Pr@0.5", 22.0),
    record("viscot", "shapes", "named-object", "Pr@0.5", 99.0, head="unet"),
    record("viscot", "shapes", "named-object", "exact", 33.0),
    record("viscot", "shapes", "named-object", "exact_gain", -4.0),
    record("viscot", "shapes", "plain", "exact", 37.0),
    record("pope", "random", "upstream", "accuracy", 0.5),
    record("pope", "random", "look-first", "accuracy", 0.75),
    record("pope", "random", "plain", "accuracy", 0.7),
]


def test_ways_have_tables_of_their_own_and_are_in_no_other(
    params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = tables(params, RECORDS, {}, {}, None)
    assert [table.title for table in found.ways] == ["Visual-CoT: a second look", "POPE: a second look"]
    viscot = found.ways[0]
    rows = {row.headings[2]: [cell.text for cell in row.cells] for group in viscot.groups for row in group}
    assert rows == {
        "v1: name the object, ground it, look again": ["22.0", "33.0", "-4.0"],
        "v3: no chain of thought": ["–", "37.0", "–"],
    }
    others = [t for t in found.all if t not in found.ways]
    shown = {cell.text for table in others for group in table.groups for row in group for cell in row.cells}
    assert {"11.0", "0.500"} <= shown and not {"22.0", "33.0", "99.0", "0.750"} & shown


def test_why_there_was_no_second_picture_is_under_the_table(
    params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = {
        "answers": 9,
        "with_two_pictures": 0,
        "without_the_second": 9,
        "why": "reads one picture at a time",
    }
    write(
        paths.evaluated(params, "shapes-llava", "viscot") / "facts.json", {"thoughts": {"named-object": told}}
    )
    note = way_tables(params, RECORDS)[0].note
    assert "9 of 9 questions without a second picture (reads one picture at a time)" in note
