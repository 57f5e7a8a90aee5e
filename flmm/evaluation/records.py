"""Metric records: one flat row per number, the only shape in which results leave the evaluation."""

from typing import TypedDict


class Record(TypedDict):
    """One number: percent for masks, a fraction for answers (``docs/protocols.md``)."""

    suite: str
    backbone: str
    head: str
    benchmark: str
    split: str
    protocol: str
    metric: str
    value: float
