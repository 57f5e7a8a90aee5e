"""Metric records: one flat row per number, the only shape in which results leave the evaluation."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, TypeAdapter, ValidationError

from flmm.benchmarks.base import Number
from flmm.errors import InputError
from flmm.evaluation.intervals import image_count, intervals
from flmm.files import read_json

FiniteFloat = Annotated[float, Field(allow_inf_nan=False)]


class Record(BaseModel):
    """One number. ``benchmark``: the data set, such as refcoco+. ``head``: a name of ``flmm.heads.names``.

    ``value``: percent for masks, a fraction for answers, as the benchmark's metrics say (``flmm.benchmarks``).
    ``low`` and ``high``: its 95 % interval, in the same unit (``flmm.evaluation.intervals``). ``n``: how many phrases
    or questions it counts, on how many ``images``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    suite: str
    backbone: str
    head: str
    benchmark: str
    split: str
    protocol: str
    metric: str
    value: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat
    n: NonNegativeInt
    images: NonNegativeInt


_RECORDS = TypeAdapter(list[Record])


def read_records(path: Path) -> list[Record]:
    """Read one metrics.json.

    Raises:
        InputError: the file is absent, is not JSON, or holds something else than flat records (such as the ones
        without an interval that earlier versions wrote).
    """
    try:
        return _RECORDS.validate_python(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: record {where}: {first['msg']}, got {first['input']!r}") from error


def sort_records(records: Iterable[Record]) -> list[Record]:
    """Records in the one order that metrics.json keeps, so that equal results are equal bytes."""
    return sorted(
        records,
        key=lambda r: (r.suite, r.backbone, r.benchmark, r.split, r.protocol, r.head, r.metric, r.value),
    )


def records_of(numbers: Mapping[str, Number], images: Sequence[str], seed: int, **place: str) -> list[Record]:
    """A record for each metric, with its interval over ``images`` (one per row); ``place``: the other fields."""
    bounds = intervals(numbers, images, seed)
    return [
        Record(
            metric=metric, value=number.value, low=bounds[metric][0], high=bounds[metric][1],
            n=int(number.counted.sum()), images=image_count(number, images), **place,
        )
        for metric, number in numbers.items()
    ]  # fmt: skip
