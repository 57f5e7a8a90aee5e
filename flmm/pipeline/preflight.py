"""What would stop a run, found before its first byte: every finding at once.

It runs at each start of Snakemake, so it costs milliseconds: no network, no hash of a file; and torch only where a
published head is on this machine and not imported yet.
"""

from collections.abc import Iterator

from flmm.benchmarks import benchmark
from flmm.device import has_gpu, no_gpu
from flmm.errors import InputError
from flmm.params import Params
from flmm.pipeline import needs, paths
from flmm.pipeline.state import State
from flmm.pipeline.step import Step

# The keys that say where a step runs.
DEVICES = ("extract", "embed", "evaluate")


def preflight(state: State, *, here: bool = True) -> None:
    """Check what the steps that have to run need: families, models, devices, upstream files, disk.

    ``here``: whether they run on this machine; only then do its GPUs matter.

    A published head is looked for like any upstream file. Whether it fits its backbone is checked as soon as it is
    there, at the latest by `import`, which needs no other data.

    Raises:
        InputError: all findings, a sentence each, separated by "; ".
    """
    found = list(dict.fromkeys(_findings(state, here)))
    if not found:
        return
    more = f"{len(found)} things would stop this run: " if len(found) > 1 else ""
    raise InputError(more + "; ".join(found))


def _findings(state: State, here: bool) -> Iterator[str]:
    yield from _models(state)
    yield from _heads(state)
    if here:
        yield from _devices(state)
    yield from _sources(state)


def _models(state: State) -> Iterator[str]:
    params = state.graph.params
    for name in params.backbones:
        entry = params.catalogue[name]
        steps = [step for step in state.running if step.backbone == name]
        speaks = any(_loads_model(step, params) for step in steps)
        if speaks or any(step.name == "import" for step in steps):
            yield from filter(None, [needs.family_problem(name, entry)])
        if speaks:
            yield from filter(None, [needs.model_problem(name, entry)])
    for name in (step.item for step in state.running if step.name == "rival"):
        yield from filter(None, [needs.rival_problem(params, name)])
    if any(
        step.name in ("embed", "train", "import", "evaluate", "repeat", "rival") for step in state.running
    ):
        yield from filter(None, [needs.segmenter_problem(params)])


def _heads(state: State) -> Iterator[str]:
    params = state.graph.params
    for step in state.running:
        source = params.head_source(step.backbone) if step.name == "import" else None
        file = needs.source_place(params, source) if source else None
        entry = params.catalogue[step.backbone] if file else None
        if file is None or entry is None or not file.is_file() or needs.family_problem(step.backbone, entry):
            continue
        from flmm.imported import check_fit  # loads torch

        try:
            check_fit(entry, file)
        except InputError as error:
            yield str(error)


def _loads_model(step: Step, params: Params) -> bool:
    if step.name == "evaluate":
        return benchmark(step.item).words != "spoken"
    if step.name == "train":
        return params.train.online
    return step.name in ("pilot", "extract", "keywords")


def _devices(state: State) -> Iterator[str]:
    params, running = state.graph.params, {step.name for step in state.running}
    for name in DEVICES:
        if name in running and getattr(params, name).device == "cuda" and not has_gpu():
            yield no_gpu(f"{name}.device")


def _sources(state: State) -> Iterator[str]:
    params = state.graph.params
    names = sorted(step.item for step in state.running if step.name == "download")
    facts = [needs.source_fact(state.graph, name) for name in names]
    yield from (fact.problem for fact in facts if fact.problem)
    coming, raw = needs.bytes_to_come(params, facts), paths.raw(params)
    free = needs.free_bytes(raw)
    if coming > free:
        yield f"{raw}: the downloads to come have {coming:,} bytes, but only {free:,} are free"
