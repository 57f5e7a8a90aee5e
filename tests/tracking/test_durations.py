"""How long steps took is read from where the workflow has it measured, and from nowhere where it does not hold."""

import os
import re
from pathlib import Path

from flmm.files import write_text
from flmm.params import Params
from flmm.pipeline.outputs import record
from flmm.tracking.durations import jobs, measurement, seconds, system
from flmm.tracking.results import RUNS, Results
from tests.tracking.test_tracking import BACKBONE, empty_store, params

__all__ = ["empty_store", "params"]  # fixtures
RULES = Path(__file__).resolve().parents[2] / "workflow" / "rules"


def test_every_step_of_a_run_is_measured_where_it_is_looked_for(params: Params) -> None:
    text = "\n".join(path.read_text() for path in RULES.glob("*.smk"))
    patterns = [
        path for path in re.findall(r'"(logs/.*\.tsv)"', text) if "{P." not in path and "{share}" not in path
    ]
    results = Results(params, BACKBONE)
    for step in (step for run in RUNS for step in results.steps(run)):
        items = dict.fromkeys(("part", "archive", "benchmark", "source", "seed", "rival"), step.item)
        paths = {path.format(suite="shapes", backbone=step.backbone, **items) for path in patterns}
        assert str(measurement("shapes", step)) in paths


def test_a_run_lasted_as_long_as_its_steps_together(params: Params) -> None:
    results = Results(params, BACKBONE)
    steps = results.steps("extract")
    for number, step in enumerate(steps):
        line = f"90.5\t0:01:30\t{800 + number}\t-\t20.5"
        write_text(measurement("shapes", step), f"s\th:m:s\tmax_rss\tio_in\tcpu_time\n{line}\n")
    assert seconds(jobs(results, "extract")) == 90.5 * len(steps)
    assert system(jobs(results, "extract")) == {
        "system/cpu_seconds": 20.5 * len(steps),
        "system/peak_memory_megabytes": 799 + len(steps),
    }
    assert seconds(jobs(results, "embed")) is None and not system(
        jobs(results, "embed")
    )  # nothing was measured
    made = measurement("shapes", steps[0]).stat().st_mtime + 10
    os.utime(record(results.graph, steps[0]), (made, made))  # restored by DVC since
    assert jobs(results, "extract") == []


def test_a_measurement_that_was_cut_off_is_none(params: Params) -> None:
    results = Results(params, BACKBONE)
    for step in results.steps("embed"):
        write_text(measurement("shapes", step), "s\th:m:s\n-\t")
    assert jobs(results, "embed") == []
