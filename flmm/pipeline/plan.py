"""`flmm plan`: what a suite's full run needs, told before anything starts. Estimates say what they assume."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from flmm.benchmarks import benchmark
from flmm.device import has_gpu
from flmm.params import Params
from flmm.pipeline import cache_plan, costs, counts, hours, needs
from flmm.pipeline.cache_plan import Load, phrase_columns
from flmm.pipeline.counts import Part
from flmm.pipeline.state import State
from flmm.pipeline.step import Step
from flmm.pipeline.steps import Graph
from flmm.pipeline.times import Times, read_times

_STATES = {
    "here": "on this disk",
    "remote": "to be downloaded",
    "generated": "generated",
    "missing": "missing",
}


def plan(params: Params, console: Console) -> list[str]:
    """Print the needs of the active suite; returns what is missing, a sentence each.

    Raises:
        InputError: the params ask for what no graph can be made of, or the measured times are unreadable.
    """
    params, missing = _runnable(params)
    times = read_times()
    state = State(params)
    downloads = _sources(state, console, missing)
    parts = _parts(state, console)
    _backbone_problems(params, missing)
    weights, maps = _backbones(state, parts, times, console, missing)
    embeddings = _embeddings(state, parts, times, console)
    state.keys.hashes.save()
    console.print(hours.assumptions(params, times))
    needed, free = downloads + weights + maps + embeddings, needs.free_bytes(Path())
    console.print(
        f"disk: {_size(needed)} to come ({_size(downloads)} downloads, {_size(weights)} weights of models, "
        f"{_size(maps)} attention, {_size(embeddings)} embeddings), {_size(free)} free"
    )
    if len(parts) < len(_spoken_or_asked(state)):
        console.print("The parts that are not prepared yet come on top of it.")
    if needed > free:
        missing.append(f"disk space: {_size(needed - free)} more")
    if params.suite == "paper" and not has_gpu():
        missing.append("a GPU: models of billions of parameters are not for a CPU")
    for what in missing:
        console.print(f"missing: {what}", style="bold")
    return missing


def _runnable(params: Params) -> tuple[Params, list[str]]:
    """The params without the benchmarks that the suite has no data for, and a sentence about each of these."""
    readers = {dataset.reader for dataset in params.active.datasets.values()}
    kept = [name for name in params.evaluate.benchmarks if benchmark(name).reader in readers]
    missing = [
        f"{name}: suite {params.suite} has no dataset for it; take it out of evaluate.benchmarks"
        for name in params.evaluate.benchmarks
        if name not in kept
    ]
    evaluate = params.evaluate.model_copy(update={"benchmarks": kept})
    return params.model_copy(update={"evaluate": evaluate}), missing


def _sources(state: State, console: Console, missing: list[str]) -> int:
    """The table of files; the declared bytes that are still to be downloaded."""
    params = state.graph.params
    facts = [needs.source_fact(state.graph, name) for name in state.graph.sources]
    table = Table("file", "bytes", "state")
    for fact in facts:
        by_hand = fact.state == "missing" and params.sources[fact.name].url is None
        size = "unknown" if fact.bytes is None else f"{fact.bytes:,}"
        table.add_row(fact.name, size, "by hand" if by_hand else _STATES[fact.state])
    console.print(table)
    missing += [fact.problem for fact in facts if fact.problem]
    total = needs.bytes_to_come(params, facts)
    unknown = sum(fact.state == "remote" and fact.bytes is None for fact in facts)
    console.print(f"to download: {_size(total)}, and {unknown} files of unknown size")
    return total


def _parts(state: State, console: Console) -> dict[str, Part]:
    """The table of what is spoken and asked, by part and protocol; the parts whose counts are known."""
    graph = state.graph
    found = {name: part for name in _spoken_or_asked(state) if (part := counts.part_counts(graph, name))}
    table = Table("part", "protocol", "images read", "phrases or answers", "known by")
    for name, part in found.items():
        known = "counted" if part.counted else "published counts"
        for protocol, phrases in part.spoken.items():
            draws = graph.params.extract.train_draws
            label = f"train, {draws} draws" if protocol == "train" and draws > 1 else protocol
            table.add_row(name, label, f"{part.prompts:,}", f"{phrases:,}", known)
    console.print(table)
    spoken = [part for part in found.values() if not counts.is_question(graph, part.name)]
    counted = sum(part.counted for part in spoken)
    absent = len(_spoken_or_asked(state)) - len(found)
    console.print(
        f"phrases to speak: {sum(part.phrases for part in spoken):,} ({counted} parts counted, "
        f"{len(spoken) - counted} by published counts)"
        + (f"; {absent} parts are not prepared yet and not counted" if absent else "")
    )
    return found


def _spoken_or_asked(state: State) -> list[str]:
    graph = state.graph
    spoken = {part for name in graph.params.backbones for part in graph.extracted_parts(name)}
    return [part for part in graph.parts if part in spoken or counts.is_question(graph, part)]


def _backbone_problems(params: Params, missing: list[str]) -> None:
    for name in params.backbones:
        entry = params.catalogue[name]
        problems = (needs.family_problem(name, entry), needs.model_problem(name, entry))
        missing += [problem for problem in problems if problem]


def _backbones(
    state: State, parts: dict[str, Part], times: Times | None, console: Console, missing: list[str]
) -> tuple[float, float]:
    """The tables of costs per backbone; the bytes of weights and of attention that are still to come."""
    params, graph = state.graph.params, state.graph
    speed, unit = (times.speed, "hours") if times else (costs.A100, "GPU hours")
    table = Table(
        "backbone", "weights", "image tokens", "attention cache", f"extract, {unit}", f"questions, {unit}"
    )
    weights, loads, to_come = 0.0, list[Load](), list[Load]()
    for name in params.backbones:
        entry = params.catalogue[name]
        shape = None if needs.family_problem(name, entry) else costs.shape_of(name, entry)
        if shape is None:
            table.add_row(name, *["unknown"] * 5)
            missing.append(f"{name}: its configuration is not on this machine, so that its costs are unknown")
            continue
        spoken = [parts[part] for part in graph.extracted_parts(name) if part in parts]
        pictures, questions = counts.asked(graph, parts.values())
        load = _load(graph, name, shape, spoken)
        loads.append(load)
        columns = phrase_columns(shape, params.extract)
        speaking = sum(shape.speaking_seconds(part.prompts, part.phrases, speed) for part in spoken)
        answering = shape.answering_seconds(pictures, questions, params.evaluate.max_new_tokens, speed)
        table.add_row(
            name,
            _size(shape.weights),
            f"{shape.image_tokens:,}",
            _size(columns.total * (load.training + load.evaluation)) if parts else "unknown",
            hours.text(speaking) if parts else "unknown",
            hours.text(answering) if parts else "unknown",
        )
        if not Path(entry.model).is_dir() and not needs.is_cached(entry):
            weights += shape.weights
        absent = [part for part in spoken if not _is_here(state, Step("extract", name, part.name))]
        to_come.append(_load(graph, name, shape, absent))
    console.print(table)
    if parts and times:
        hours.show(graph, times, loads, console)
    if parts:
        cache_plan.show(params, loads, console, _size)
    return weights, cache_plan.disk(to_come, params.extract)[1]


def _load(graph: Graph, name: str, shape: costs.Shape, spoken: list[Part]) -> Load:
    training, evaluation = (
        sum(part.phrases for part in spoken if (part.name in graph.training_parts) == trained)
        for trained in (True, False)
    )
    return Load(name, shape, training, evaluation)


def _is_here(state: State, step: Step) -> bool:
    """Whether a part's attention need not be made: it lies there, or was dropped when it had served."""
    readers = state.graph.readers_of_training_maps(step.backbone)
    dropped = not state.graph.params.extract.keep_training_maps and step.item in state.graph.training_parts
    return state.is_available(step) or (dropped and not any(map(state.is_stale, (step, *readers))))


def _embeddings(state: State, parts: dict[str, Part], times: Times | None, console: Console) -> int:
    """The table of the segmenter's embeddings; the bytes that are still to come."""
    graph = state.graph
    channels, side = costs.embedding_shape(graph.params)
    table, total = Table("embeddings of", "images", "bytes", *(["embed, hours"] if times else [])), 0
    for archive in graph.archives:
        known = [parts[name] for name in graph.embedded_parts(archive) if name in parts]
        images = counts.image_count(known)
        count = images * channels * side**2 * 2
        cells = [f"{images:,}", _size(count)] + ([hours.embedding(images, times)] if times else [])
        table.add_row(archive, *(cells if known else ["unknown"] * len(cells)))
        total += 0 if state.is_available(Step("embed", item=archive)) else count
    console.print(table)
    console.print(f"an embedding: {channels} x {side} x {side} float16, {_size(channels * side**2 * 2)}")
    return total


def _size(count: float) -> str:
    for unit, factor in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20)):
        if count >= factor:
            return f"{count / factor:,.1f} {unit}"
    return f"{count / 1024:,.1f} KiB"
