"""What DVC shows of a report: the headline numbers and the curves."""

import csv
import io
from typing import Any

from flmm.evaluation.records import Record
from flmm.report.headline import POINTS, curves_csv, headline, headline_csv


def record(benchmark: str, metric: str, value: float, **others: Any) -> Record:
    values = {"suite": "shapes", "backbone": "b", "head": "unet+sam", "split": "val", "protocol": "standard"}
    counted = {"value": value, "low": value, "high": value, "n": 9, "images": 9}
    return Record(**{**values, **others}, **counted, benchmark=benchmark, metric=metric)


RECORDS = [
    record("pope", "accuracy", 0.912345, split="random", protocol="upstream"),
    record("refcoco", "cIoU", 61.234567),
    record("refcoco", "cIoU", 50.0, split="testA"),
    record("refcoco", "cIoU", 1.0, head="untrained"),
    record("refcoco", "cIoU", 2.0, protocol="paper"),
    record("refcoco", "gIoU", 3.0),
    record("nobody's", "cIoU", 4.0),
]


def test_each_benchmark_s_own_number_rounded_and_nothing_else() -> None:
    assert headline(RECORDS) == {
        "b": {"refcoco": {"val": 61.2346, "testA": 50.0}, "pope": {"random": 0.9123}}
    }
    assert list(headline(reversed(RECORDS))["b"]) == ["refcoco", "pope"]


def test_bars_are_percent() -> None:
    rows = list(csv.reader(io.StringIO(headline_csv(RECORDS))))
    assert rows[0] == ["result", "percent"]
    assert rows[1:] == [
        ["RefCOCO val, b", "61.2346"],
        ["RefCOCO testA, b", "50.0"],
        ["POPE random, b", "91.2345"],
    ]


def test_long_curves_are_means_of_windows_and_short_ones_end_earlier() -> None:
    long = [{"step": step, "loss": float(step)} for step in range(1, 2 * POINTS + 1)]
    rows = list(csv.DictReader(io.StringIO(curves_csv({"a": long, "b": long[:4]}))))
    assert [(row["step"], row["a"]) for row in rows if row["a"]][:2] == [("2", "1.5"), ("4", "3.5")]
    assert len([row for row in rows if row["a"]]) == POINTS
    assert [row["step"] for row in rows if row["b"]] == ["1", "2", "3", "4"]
