"""What the steps of a run took, as Snakemake measured each job: ``logs/…/<job>.tsv``, beside the job's log."""

import csv
from pathlib import Path

from flmm.pipeline.outputs import record
from flmm.pipeline.step import Step
from flmm.tracking.results import Results

Job = dict[str, float]  # a line of such a file, by its headings
SYSTEM = "system/"  # what metrics begin with that MLflow shows under system metrics


def jobs(results: Results, run: str) -> list[Job]:
    """What Snakemake measured of each step of a run; empty where one was not, or is not what was measured.

    A step's results that are newer than the measurement were restored by DVC, or made by another call.
    """
    found = [_measured(results, step) for step in results.steps(run)]
    known = [job for each in found if each is not None for job in each]
    return [] if None in found else known


def seconds(measured: list[Job]) -> float | None:
    """The time of all jobs together; None of none."""
    return sum(job["s"] for job in measured) if measured else None


def system(measured: list[Job]) -> dict[str, float]:
    """CPU time and megabytes read and written of all jobs together, and the most memory that one of them held."""
    summed = {"cpu_seconds": "cpu_time", "megabytes_read": "io_in", "megabytes_written": "io_out"}
    columns = {**summed, "peak_memory_megabytes": "max_rss"}
    known = {name: [job[column] for job in measured if column in job] for name, column in columns.items()}
    return {
        f"{SYSTEM}{name}": sum(values) if name in summed else max(values)
        for name, values in known.items()
        if values and len(values) == len(measured)
    }


def measurement(suite: str, step: Step) -> Path:
    """Where the workflow's rules have Snakemake write what a job took."""
    path = Path("logs", suite, *(word for word in (step.backbone, step.name, step.item) if word))
    return path.with_name(f"{path.name}.tsv")


def _measured(results: Results, step: Step) -> list[Job] | None:
    path, made = measurement(results.params.suite, step), record(results.graph, step)
    try:
        if path.stat().st_mtime < made.stat().st_mtime:
            return None
        with path.open(encoding="utf-8", newline="") as file:
            found = [_numbers(row) for row in csv.DictReader(file, delimiter="\t")]
    except OSError:  # cleaned away
        return None
    return found if found and all("s" in job for job in found) else None  # or cut off with its job


def _numbers(row: dict[str, str]) -> Job:
    """The columns that hold a number: a job that was over too soon has "-" in some."""
    found = {}
    for name, text in row.items():
        try:
            found[name] = float(text)
        except (TypeError, ValueError):
            continue
    return found
