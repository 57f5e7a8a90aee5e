"""Metric records: what `evaluate` measured, one flat row per number, gathered from all its files."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from flmm.pipeline import paths
from flmm.errors import InputError
from flmm.files import read_json
from flmm.params import Params

FiniteFloat = Annotated[float, Field(allow_inf_nan=False)]


class Record(BaseModel):
    """One measured number.

    ``head``: ``none`` (the plain LMM), ``untrained`` and ``localization`` (the baseline without training), each also
    as ``…+sam``, ``unet`` (coarse masks) or ``unet+sam`` (refined masks). ``value``: percent for masks, a fraction
    0-1 for answers.
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


_RECORDS = TypeAdapter(list[Record])


def metrics_path(params: Params, results: Path, backbone: str, benchmark: str) -> Path:
    """Where ``evaluate`` leaves the records of one backbone and benchmark under the folder ``results``."""
    return results / params.suite / backbone / "evaluate" / benchmark / "metrics.json"


def read_records(path: Path) -> list[Record]:
    """Read one metrics.json.

    Raises:
        InputError: the file is absent, is not JSON, or holds something else than flat records.
    """
    try:
        return _RECORDS.validate_python(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: record {where}: {first['msg']}, got {first['input']!r}") from error


def gather(params: Params, results: Path) -> tuple[list[Record], list[Path]]:
    """All records of the params' backbones and benchmarks, sorted, and the files that are not there (yet)."""
    records: list[Record] = []
    missing: list[Path] = []
    for backbone in params.backbones:
        for benchmark in paths.benchmarks(params):
            path = metrics_path(params, results, backbone, benchmark)
            if path.exists():
                records += read_records(path)
            else:
                missing.append(path)
    return sort_records(records), missing


def sort_records(records: Iterable[Record]) -> list[Record]:
    """Records in the one order that metrics.json keeps, so that equal results are equal bytes."""
    return sorted(
        records,
        key=lambda r: (r.suite, r.backbone, r.benchmark, r.split, r.protocol, r.head, r.metric, r.value),
    )
