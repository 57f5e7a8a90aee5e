"""Around each step's work: nothing old stays, its inputs are of the right keys, and its record is written last."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from flmm.errors import InputError
from flmm.files import remove_temporary, write_json
from flmm.params import Params
from flmm.pipeline.keys import Keys
from flmm.pipeline.outputs import outputs, record, recorded
from flmm.pipeline.step import VOLATILE, Step
from flmm.pipeline.steps import Graph


@dataclass
class Running:
    """A step at work: its key, the keys around it, and facts that its record shall hold besides."""

    keys: Keys
    key: str
    facts: dict[str, Any] = field(default_factory=dict)


@contextlib.contextmanager
def step_runs(params: Params, step: Step, *, partly: bool = False) -> Iterator[Running]:
    """Yield the step at work; afterwards the results are of its key, or of none if it failed.

    ``partly``: one of several jobs that prepare a step's work: its results and its record are left to the step.

    Raises:
        InputError: the params ask for no such step, or what it reads is absent or of other params, code or data.
    """
    graph = Graph(params)
    reads = graph.reads(step)
    keys = Keys(graph)
    key = keys.known(step)
    for read in reads:
        if read.name not in VOLATILE and recorded(graph, read) != keys.key(read):
            raise InputError(
                f"{step}: {record(graph, read)} is absent or of other params, code or data; run `snakemake`, or "
                f"`{command(read)}` first"
            )
    running = Running(keys, key)
    if partly:
        yield running
        return
    for path in outputs(graph, step):
        path.unlink(missing_ok=True)
        remove_temporary(path)
    yield running
    made_of = {"own": keys.own(step), "reads": {str(read): keys.key(read) for read in reads}}
    write_json(record(graph, step), {"step": str(step), "key": key, **made_of, **running.facts})
    keys.hashes.save()


def command(step: Step) -> str:
    """The shell command of a step."""
    option = {
        "digest": "source",
        "download": "source",
        "prepare": "part",
        "extract": "part",
        "embed": "archive",
        "rival": "rival",
        "repeat": "seed",
    }
    words = ["flmm", step.name]
    words += ["--backbone", step.backbone] if step.backbone else []
    words += [f"--{option.get(step.name, 'benchmark')}", step.item] if step.item else []
    return " ".join(words)
