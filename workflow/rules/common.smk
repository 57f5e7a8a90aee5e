# What all rules share: the checked params, the step graph and what of it has to run. No rule.
import functools
import os
import shutil
import sys
import time
from pathlib import Path

from flmm.errors import InputError
from flmm.params import load_params
from flmm.pipeline.outputs import outputs, targets
from flmm.pipeline.preflight import preflight
from flmm.pipeline.state import CHANGED, State
from flmm.pipeline.step import GENERATE, Step
from flmm.pipeline.steps import Graph


envvars:
    "PATH",


# The rules call `flmm` of the environment that runs Snakemake, whether or not that environment is activated.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")

try:
    P = load_params()
    GRAPH = Graph(P)
except InputError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)


def check(found):
    """Stop before the first byte where something would stop the run; a dry run says so and goes on."""
    try:
        preflight(found, here=not workflow.non_local_exec)
    except InputError as error:
        if not workflow.dryrun:
            raise
        print(f"warning: {error}", file=sys.stderr)


@functools.cache
def state():
    """What has to run, and the sign for it; asked for when Snakemake has read its command line.

    Results carry the key of everything that they depend on, and flmm/pipeline/state.py says which have to be made again.
    Snakemake's own signs (dates, its memory of params and inputs) would only guess at the same: a step that is current
    has no inputs, one that is not has one that was written just now. What is forced on the command line stays forced,
    and what follows from it with it.
    """
    settings = workflow.dag_settings
    forced = ["all"] if settings.forceall else list(settings.forcerun)
    try:
        # DVC asks for one stage at a time: another stage's rules may not run then, and cannot be waited for.
        found = State(P, forced, in_turn=not settings.allowed_rules)
        if workflow.is_main_process and found.running:
            check(found)
            CHANGED.parent.mkdir(exist_ok=True)
            CHANGED.write_text(
                str(time.time_ns())
            )  # other content each time: equal content would be no change
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        os._exit(2)  # Snakemake would report an error inside an input function at length
    return found


# A GPU does one heavy job at a time. Without one, several jobs of one thread each get through more than one job of
# several (docs/workflow.md). What trains, selects or evaluates has its threads from params.yaml: they decide results.
GPU = int(shutil.which("nvidia-smi") is not None)
THREADS = 4 if GPU else 1


def names(values):
    """A wildcard's values; none at all match nothing."""
    return "|".join(map(re.escape, values)) or "(?!)"


wildcard_constraints:
    suite=P.suite,
    backbone=names(P.backbones),
    source=names(P.sources),
    part=names(GRAPH.parts),
    archive=names(GRAPH.archives),
    benchmark=names(GRAPH.benchmarks),
    rival=names(P.active.rivals),
    seed=names(str(seed) for seed in P.train.seeds),


def reads(step):
    """An input function: the files that a step of this name reads, where it has to run."""

    def files(wildcards):
        given = dict(wildcards)
        items = ("source", "part", "archive", "benchmark", "rival", "seed")
        item = next((given[name] for name in items if name in given), "")
        return state().inputs(Step(step, given.get("backbone", ""), item))

    return files


def shares(wildcards):
    """The jobs that make the shards of a part beforehand, where there are several and the part has to be extracted."""
    running = Step("extract", wildcards.backbone, wildcards.part) in state().running
    jobs = P.extract.jobs if running else 1
    return (
        expand("cache/shares/{{suite}}/{{backbone}}/{{part}}/{share}", share=range(jobs)) if jobs > 1 else []
    )
