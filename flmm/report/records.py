"""The records of all backbones, gathered from what `count` wrote, and what is not there yet."""

from pathlib import Path

from flmm.evaluation.records import Record, read_records, sort_records
from flmm.params import Params
from flmm.pipeline import paths

__all__ = ["Record", "gather", "read_records", "sort_records"]


def gather(params: Params) -> tuple[list[Record], list[Path]]:
    """All records of the params' backbones, sorted, and the files that are not there (yet)."""
    records: list[Record] = []
    missing: list[Path] = []
    for backbone in params.backbones:
        path = paths.metrics(params, backbone)
        if path.exists():
            records += read_records(path)
        else:
            missing.append(path)
    return sort_records(records), missing
