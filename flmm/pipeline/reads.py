"""What each step reads: one function per step, by its name.

All of them take the graph and the step, and tell the steps whose files it reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from flmm.benchmarks import benchmark
from flmm.pipeline.step import GENERATE, Step

if TYPE_CHECKING:
    from flmm.pipeline.steps import Graph


def _generate(graph: Graph, step: Step) -> list[Step]:
    return []


def _download(graph: Graph, step: Step) -> list[Step]:
    return [GENERATE] if graph.is_generated(step.item) else []


def _digest(graph: Graph, step: Step) -> list[Step]:
    return [Step("download", item=step.item)]


def _prepare(graph: Graph, step: Step) -> list[Step]:
    leaking = graph.leaking_parts if step.item in graph.training_parts else []
    return [
        *downloads(graph.files_of(step.item).annotations),
        *(Step("prepare", item=part) for part in leaking),
    ]


def _embed(graph: Graph, step: Step) -> list[Step]:
    return [
        *(Step("prepare", item=part) for part in graph.embedded_parts(step.item)),
        *downloads([step.item]),
        *graph.segmenter_source(),
    ]


def _pilot(graph: Graph, step: Step) -> list[Step]:
    parts = graph.training_parts
    return [*(Step("prepare", item=part) for part in parts), *_pictures(graph, parts)]


def _extract(graph: Graph, step: Step) -> list[Step]:
    return [
        Step("prepare", item=step.item),
        *downloads(graph.files_of(step.item).pictures),
        *graph.pilot(step.backbone),
    ]


def _train(graph: Graph, step: Step) -> list[Step]:
    if graph.params.train.online:
        return [*_pilot(graph, step), *graph.pilot(step.backbone), *graph.segmenter_source()]
    extracted = [Step("extract", step.backbone, part) for part in graph.training_parts]
    return [*extracted, *_embeddings(graph, graph.training_parts), *graph.segmenter_source()]


def _import(graph: Graph, step: Step) -> list[Step]:
    source = graph.params.head_source(step.backbone)
    return [*downloads([source] if source else []), *graph.segmenter_source()]


def _select(graph: Graph, step: Step) -> list[Step]:
    return [Step("extract", step.backbone, part) for part in graph.training_parts]


def _keywords(graph: Graph, step: Step) -> list[Step]:
    parts = [*graph.narratives(training=True), *graph.narratives(training=False)]
    return [*(Step("prepare", item=part) for part in parts), *_pictures(graph, parts)]


def _evaluate(graph: Graph, step: Step) -> list[Step]:
    parts, words = graph.parts_of(step.item), benchmark(step.item).words
    head = [graph.head(step.backbone), *graph.segmenter_source()]
    if words == "spoken":
        extracted = [Step("extract", step.backbone, part) for part in parts]
        return [*extracted, *_embeddings(graph, parts), *head, *graph.selection(step.backbone)]
    prepared = [Step("prepare", item=part) for part in parts]
    asked = [*prepared, *_pictures(graph, parts), *head]
    if words == "asked":
        return asked
    chosen = graph.keywords(step.backbone) if words == "described" else []
    return [*asked, *chosen, *graph.selection(step.backbone)]


def _count(graph: Graph, step: Step) -> list[Step]:
    asked = [Step("prepare", item=part) for part in graph.asked_parts]
    return [*(Step("evaluate", step.backbone, name) for name in graph.benchmarks), *asked]


def _overlays(graph: Graph, step: Step) -> list[Step]:
    return [Step("evaluate", step.backbone, step.item), *_pictures(graph, graph.parts_of(step.item))]


def _repeat(graph: Graph, step: Step) -> list[Step]:
    parts = [*graph.training_parts, *graph.given_parts]
    extracted = [Step("extract", step.backbone, part) for part in parts]
    return [*extracted, *_embeddings(graph, parts), *graph.segmenter_source()]


def _rival(graph: Graph, step: Step) -> list[Step]:
    parts = graph.rival_parts(step.item)
    prepared = [Step("prepare", item=part) for part in parts]
    if graph.params.active.rivals[step.item].model is None:
        return prepared
    return [*prepared, *_pictures(graph, parts), *graph.segmenter_source()]


def _report(graph: Graph, step: Step) -> list[Step]:
    prepared = [Step("prepare", item=part) for part in graph.parts]
    each = [
        step
        for name in graph.params.backbones
        for step in (
            graph.head(name),
            *graph.keywords(name),
            *_count(graph, Step("count", name)),
            Step("count", name),
            *graph.drawn(name),
            *graph.repeats(name),
        )
    ]
    return [*prepared, *each, *graph.rivals]


def _track(graph: Graph, step: Step) -> list[Step]:
    return [found for found in graph.results if found.name != "track"]


def _pictures(graph: Graph, parts: Iterable[str]) -> list[Step]:
    return [step for part in parts for step in downloads(graph.files_of(part).pictures)]


def _embeddings(graph: Graph, parts: Iterable[str]) -> list[Step]:
    return [Step("embed", item=name) for part in parts for name in graph.files_of(part).pictures]


def downloads(sources: Iterable[str]) -> list[Step]:
    """The downloads of some sources."""
    return [Step("download", item=source) for source in sources]


READS: dict[str, Callable[[Graph, Step], list[Step]]] = {
    "generate": _generate,
    "download": _download,
    "digest": _digest,
    "prepare": _prepare,
    "embed": _embed,
    "pilot": _pilot,
    "extract": _extract,
    "train": _train,
    "import": _import,
    "select": _select,
    "keywords": _keywords,
    "evaluate": _evaluate,
    "count": _count,
    "overlays": _overlays,
    "repeat": _repeat,
    "rival": _rival,
    "report": _report,
    "track": _track,
}
