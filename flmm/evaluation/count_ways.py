"""Numbers of the chain of thought: what each way answers and grounds, and what it gains over one look."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from flmm.benchmarks import Benchmark, Ratio
from flmm.benchmarks.base import PLAIN_WAY
from flmm.evaluation.intervals import gain_intervals, image_count, intervals
from flmm.evaluation.records import Record
from flmm.heads.names import ATTACHED, PLAIN

Rows = Sequence[Mapping[str, Any]]


def way_records(chosen: Benchmark, table: pa.Table, *, suite: str, backbone: str, seed: int) -> list[Record]:
    """Records of every data set, split and way of a table of thoughts; the way is the protocol.

    A way without any second picture has none, unless it talked about the first one instead (``words`` asked): its
    answers are not those of that way. Where only some pictures did not fit, their answers are empty and count so.
    """
    rows = table.to_pylist()
    records: list[Record] = []
    for dataset, split in sorted({(row["dataset"], row["split"]) for row in rows}):
        mine = [row for row in rows if (row["dataset"], row["split"]) == (dataset, split)]
        plain = _numbers(chosen, _of(mine, PLAIN_WAY.name))
        for way in chosen.ways:
            answered = _of(mine, way.name)
            if not answered or (chosen.words != "asked" and all(row["problem"] for row in answered)):
                continue
            place = {"suite": suite, "backbone": backbone, "benchmark": dataset, "split": split,
                     "protocol": way.name, "head": PLAIN if way.grounds == "nothing" else ATTACHED}  # fmt: skip
            others = plain if way.grounds != "nothing" else {}
            records += _records(chosen, answered, others, seed, place)
    return records


def _of(rows: Rows, way: str) -> Rows:
    return sorted((row for row in rows if row["protocol"] == way), key=lambda row: str(row["question_id"]))


def _numbers(chosen: Benchmark, rows: Rows) -> dict[str, Ratio]:
    assert chosen.count_ways is not None
    return chosen.count_ways({name: [row[name] for row in rows] for name in ("answer", "label", "grade")})


def _records(
    chosen: Benchmark, rows: Rows, plain: Mapping[str, Ratio], seed: int, place: Mapping[str, str]
) -> list[Record]:
    """A way's numbers and, where there are those of one look, its gains."""
    images = [f"{row['archive']}/{row['image']}" for row in rows]
    numbers = _numbers(chosen, rows)
    bounds = intervals(numbers, images, seed)
    found = [
        Record(metric=name, value=number.value, low=bounds[name][0], high=bounds[name][1],
               n=int(number.counted.sum()), images=image_count(number, images), **place)
        for name, number in numbers.items()
    ]  # fmt: skip
    shared = [name for name in chosen.gains if name in numbers and name in plain]
    gains = gain_intervals({name: numbers[name] for name in shared}, plain, images, seed)
    return found + [
        Record(metric=f"{name}_gain", value=numbers[name].value - plain[name].value, low=low, high=high,
               n=len(rows), images=len(set(images)), **place)
        for name, (low, high) in gains.items()
    ]  # fmt: skip
