"""The files of each step: what it writes, and the record that says of which key they are."""

import json
from pathlib import Path

from flmm.benchmarks import benchmark
from flmm.errors import InputError
from flmm.files import read_json
from flmm.pipeline import paths
from flmm.pipeline.step import Step
from flmm.pipeline.steps import Graph

RECORD = "key.json"
# What `evaluate` writes, by how a benchmark's words come about.
_MASKS = ("predictions.parquet",)
_LOOKED = ("thoughts.parquet", "looks.parquet")
_EVALUATED = {"asked": ("answers.parquet", "facts.json"), "described": ("descriptions.parquet", *_MASKS)}


def outputs(graph: Graph, step: Step) -> list[Path]:
    """The files that a step has written when it is done, its record first."""
    return [record(graph, step), *_others(graph, step)]


def targets(graph: Graph) -> list[str]:
    """Every result of a run that a rule of the workflow declares.

    What lies in an evaluation's folder depends on the benchmark, so that its rule declares the record alone.
    """
    files = [(step, outputs(graph, step)) for step in graph.results]
    return [str(path) for step, found in files for path in (found[:1] if step.name == "evaluate" else found)]


def record(graph: Graph, step: Step) -> Path:
    """The file that holds the key of a step's results."""
    params = graph.params
    match step.name:
        case "generate":
            return paths.mirror() / RECORD
        case "download":
            return paths.raw(params) / step.item
        case "digest":
            return paths.digest(params, step.item)
        case "prepare":
            return paths.samples(params, step.item).with_suffix(f".{RECORD}")
        case "embed":
            return paths.embed_pointer(params, step.item)
        case "extract":
            return paths.extract_pointer(params, step.backbone, step.item)
        case "train" | "import":
            return paths.results(params, step.backbone, "train") / RECORD
        case "rival":
            return paths.rival(params, step.item) / RECORD
        case "report":
            return paths.reports() / RECORD
        case "track":
            return paths.reports() / f"tracking.{RECORD}"
    folder = paths.results(params, step.backbone, step.name)
    return (folder / step.item if step.item else folder) / RECORD


def recorded(graph: Graph, step: Step) -> str | None:
    """The key of the results that are here; None where there are none, or not of a whole step."""
    path = record(graph, step)
    try:
        found = read_json(path)
    except InputError:
        return None
    name = "sha256" if step.name == "digest" else "key"
    value = found.get(name) if isinstance(found, dict) else None
    return value if isinstance(value, str) else None


def _others(graph: Graph, step: Step) -> list[Path]:
    params = graph.params
    folder = record(graph, step).parent
    match step.name:
        case "generate":
            sources = [name for name in params.sources if graph.is_generated(name)]
            return [Path((params.sources[name].url or "").removeprefix("file:")) for name in sources]
        case "prepare":
            return [paths.samples(params, step.item), paths.counts(params, step.item)]
        case "train":
            return [
                folder / name for name in ("head.safetensors", "summary.json", "curves.jsonl", "timing.json")
            ]
        case "import":
            return [folder / name for name in ("head.safetensors", "summary.json")]
        case "select" | "pilot":
            return [folder / "heads.json"]
        case "keywords":
            return [folder / name for name in ("keywords.safetensors", "scores.json")]
        case "evaluate":
            entry = benchmark(step.item)
            found: tuple[str, ...] = _EVALUATED.get(entry.words, _MASKS)
            if entry.ways and params.evaluate.thoughts.questions != 0:
                found += ("thoughts.parquet",) if entry.words == "asked" else _LOOKED
            return [folder / name for name in found]
        case "count" | "repeat" | "rival":
            return [folder / "metrics.json"]
        case "overlays":
            return [folder / name for name in ("overlays.json", "conversations.json")]
        case "report":
            return [
                folder / name
                for name in ("metrics.json", "headline.json", "headline.csv", "curves.csv", "index.html")
            ]
        case "track":
            return [folder / "tracking.json", paths.runs()]
    return []


def shards_are_there(manifest: Path) -> bool:
    """Whether a cache folder holds its manifest and every shard that it lists."""
    try:
        shards = json.loads(manifest.read_text(encoding="utf-8"))["shards"]
        return all((manifest.parent / shard["file"]).is_file() for shard in shards)
    except (OSError, ValueError, KeyError, TypeError):
        return False
