"""The report: flat records, what DVC compares, one self-contained page, its tables as files, and what was before."""

from pathlib import Path

from flmm.files import write_json, write_text
from flmm.params import Params
from flmm.pipeline import paths
from flmm.report import facts, rivals, seeds
from flmm.report.charts import read_curves
from flmm.report.export import FOLDER, write_tables
from flmm.report.headline import curves_csv, headline, headline_csv, mains
from flmm.report.page import render, tables
from flmm.report.previous import Run, remember
from flmm.report.records import gather

__all__ = ["build"]

# The headlines of the last runs. It is none of the outputs that are deleted before the step runs.
HISTORY = "history.json"


def build(params: Params, *, out: Path) -> None:
    """Gather the records of the params' backbones and write all files into ``out``.

    What is not there is shown as missing; nothing is made up for it.

    Raises:
        InputError: a result file is there but is not what its step writes; so is the history of an earlier page.
    """
    records, missing = gather(params)
    fine_tuned, absent = rivals.gather(params)
    heads, waiting = seeds.gather(params)
    now = facts.provenance(params)
    run = Run(
        made=now.made, commit=now.commit, params_hash=now.params_hash, seed=now.seed, records=mains(records)
    )
    before = remember(out / HISTORY, params.suite, run)
    found = tables(params, records, fine_tuned, heads, before)
    page = render(params, records, [*missing, *absent, *waiting], found)
    write_json(out / "metrics.json", [record.model_dump() for record in records])
    write_json(out / "headline.json", headline(records))
    write_text(out / "headline.csv", headline_csv(records))
    files = {name: paths.trained(params, name) / "curves.jsonl" for name in params.backbones}
    curves = {name: read_curves(path) for name, path in files.items() if path.exists()}
    write_text(out / "curves.csv", curves_csv(curves))
    write_tables(found.all, out / FOLDER)
    write_text(out / "index.html", page)
