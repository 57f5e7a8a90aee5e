"""`flmm evaluate`: the files that each kind of benchmark is evaluated from."""

from pathlib import Path
from typing import Any

from flmm.pipeline import paths
from flmm.pipeline.keys import Keys
from flmm.pipeline.step import Step


def evaluate_words(keys: Keys, backbone: str, benchmark: str) -> None:
    """Evaluate one backbone on one benchmark."""
    graph, params = keys.graph, keys.params
    parts, words = graph.parts_of(benchmark), graph.benchmarks[benchmark].words
    selected = paths.results(params, backbone, "select") / "heads.json"
    common: dict[str, Any] = {
        "head": paths.head(params, backbone),
        "samples": {part: paths.samples(params, part) for part in parts},
        "selected": selected if graph.selection(backbone) else None,
        "raw": paths.raw(params),
        "out": paths.evaluated(params, backbone, benchmark),
    }
    if words == "described":
        from flmm.evaluation.describing import evaluate as describe

        selector = paths.keywords(params, backbone) / "keywords.safetensors"
        chosen = selector if graph.keywords(backbone) else None
        describe(params, backbone, benchmark, keywords=chosen, **common)
        return
    from flmm.evaluation.run import evaluate as predict

    maps = {part: attention_maps(keys, backbone, part) for part in parts} if words == "spoken" else {}
    stores = embeddings(keys, parts) if words == "spoken" else []
    predict(params, backbone, benchmark, maps=maps, embeddings=stores, **common)


def attention_maps(keys: Keys, backbone: str, part: str) -> Path:
    """The manifest of a part's attention, beside which no shard has a damaged footer."""
    key = keys.known(Step("extract", backbone, part))
    return _looked_at(paths.extract_shards(backbone, key, part), "extract")


def embeddings(keys: Keys, parts: list[str]) -> list[Path]:
    """The manifests of the segmenter's embeddings of some parts, as ``attention_maps``."""
    name = keys.params.active.segmenter.name
    archives = sorted({archive for part in parts for archive in keys.graph.files_of(part).pictures})
    return [
        _looked_at(paths.embed_shards(name, str(keys.store(archive)), archive), "embed")
        for archive in archives
    ]


def _looked_at(folder: Path, step: str) -> Path:
    """A cache folder's manifest."""
    from flmm.pipeline.footers import check_footers  # loads torch

    check_footers(folder / "manifest.json", step)
    return folder / "manifest.json"
