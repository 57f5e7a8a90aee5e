"""The report: ``reports/metrics.json`` (flat records) and one self-contained page, ``reports/index.html``."""

from pathlib import Path

from flmm.files import write_json, write_text
from flmm.params import Params
from flmm.report.page import render
from flmm.report.records import gather

__all__ = ["build"]


def build(params: Params, *, results: Path, samples: Path, out: Path) -> None:
    """Gather every metrics.json of the params' backbones and benchmarks and write both files into ``out``.

    ``results`` is the folder of all suites' results, ``samples`` the suite's samples with their summary.json.
    What is not there is shown as missing; nothing is made up for it.

    Raises:
        InputError: a result file is there but is not what its step writes.
    """
    records, missing = gather(params, results)
    page = render(params, records, missing, results=results, samples=samples)
    write_json(out / "metrics.json", [record.model_dump() for record in records])
    write_text(out / "index.html", page)
