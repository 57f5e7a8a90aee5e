"""The report: ``reports/metrics.json`` (flat records) and one self-contained page, ``reports/index.html``."""

from pathlib import Path

from flmm.files import write_json, write_text
from flmm.params import Params
from flmm.report.page import render
from flmm.report.records import gather

__all__ = ["build"]


def build(params: Params, *, out: Path) -> None:
    """Gather the records of the params' backbones and write both files into ``out``.

    What is not there is shown as missing; nothing is made up for it.

    Raises:
        InputError: a result file is there but is not what its step writes.
    """
    records, missing = gather(params)
    page = render(params, records, missing)
    write_json(out / "metrics.json", [record.model_dump() for record in records])
    write_text(out / "index.html", page)
