"""How long the steps of a run took, as Snakemake measured each job: ``logs/…/<job>.tsv``, beside the job's log."""

import csv
from pathlib import Path

from flmm.pipeline.outputs import record
from flmm.pipeline.step import Step
from flmm.tracking.results import Results


def seconds(results: Results, run: str) -> float | None:
    """The time of a run's steps together; None where one of them was not measured, or is not what was measured.

    A step's results that are newer than the measurement were restored by DVC, or made by another call.
    """
    found = [_measured(results, step) for step in results.steps(run)]
    return sum(each for each in found if each is not None) if found and None not in found else None


def measurement(suite: str, step: Step) -> Path:
    """Where the workflow's rules have Snakemake write what a job took."""
    path = Path("logs", suite, *(word for word in (step.backbone, step.name, step.item) if word))
    return path.with_name(f"{path.name}.tsv")


def _measured(results: Results, step: Step) -> float | None:
    path, made = measurement(results.params.suite, step), record(results.graph, step)
    try:
        if path.stat().st_mtime < made.stat().st_mtime:
            return None
        with path.open(encoding="utf-8", newline="") as file:
            return sum(float(row["s"]) for row in csv.DictReader(file, delimiter="\t"))
    except (OSError, KeyError, ValueError):  # cleaned away, or cut off with its job
        return None
