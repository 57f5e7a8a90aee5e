"""What decides the content of a step's results, besides the steps that it reads: values of params.yaml, and code.

Not content, and so in no key: devices, workers, rows per shard, the checkpoint interval, how files travel, the list of
benchmarks, ``trust_remote_code``.
"""

from pathlib import Path
from typing import Any

from flmm.benchmarks import benchmark
from flmm.benchmarks.base import Short
from flmm.data import datasets
from flmm.params import Params
from flmm.pipeline import paths
from flmm.pipeline.hashes import Hashes
from flmm.pipeline.step import Step
from flmm.pipeline.steps import Graph

ASKING = "flmm.backbones.questions"  # where questions about one picture are asked together
# The modules in which a step's work begins; families, readers and benchmarks come to them by the params.
ENTRIES: dict[str, tuple[str, ...]] = {
    "generate": ("flmm.shapes.mirror",),
    "digest": (),  # a download is its bytes, whatever brought them here
    "prepare": ("flmm.data.prepare",),
    "embed": ("flmm.embed",),
    "pilot": ("flmm.pilot",),
    "extract": ("flmm.extract",),
    "train": ("flmm.training",),
    "import": ("flmm.imported",),
    "select": ("flmm.evaluation.select",),
    "keywords": ("flmm.evaluation.keywords",),
    "evaluate": ("flmm.evaluation.run",),
    "count": ("flmm.evaluation.count",),
    "overlays": ("flmm.evaluation.overlays",),
    "repeat": ("flmm.repeat",),
    "rival": ("flmm.rivals.run", ASKING),
    "report": ("flmm.report",),
    "track": ("flmm.tracking.track",),
}
DESCRIBING = (
    "flmm.evaluation.describing"  # where evaluating descriptions begins: it alone reads the keyword selector
)
FILES = {"report": ("flmm/report/templates",)}
_QUESTIONS = ("{text}", "Is there a {thing} in the image?", "Are there any {things} in the picture?")
PACE = {"workers", "checkpoint_every", "seeds"}  # of `train.seeds` a step has its own


def entries(graph: Graph, step: Step) -> list[str]:
    """The modules that a step begins in, those that its params name included."""
    found = list(ENTRIES[step.name])
    if step.name == "evaluate" and benchmark(step.item).words == "described":
        found = [DESCRIBING]
    if step.name == "evaluate" and benchmark(step.item).words == "asked":
        found.append(ASKING)
    if step.name == "prepare":
        found.append(datasets.module_name(graph.params.active.datasets[graph.place(step.item)[0]].reader))
    online = step.name == "train" and graph.params.train.online
    if online:
        found.append("flmm.training.online")
    if (
        online
        or step.name in ("pilot", "extract", "import", "keywords")
        or (step.name == "evaluate" and benchmark(step.item).words != "spoken")
    ):
        found.append(f"flmm.backbones.{graph.params.catalogue[step.backbone].family}")
    if step.name in ("count", "repeat", "report"):
        found += [f"flmm.benchmarks.{name}" for name in graph.benchmarks]
    if step.name == "rival":
        parts = graph.rival_parts(step.item)
        found += [
            f"flmm.benchmarks.{name}"
            for name in graph.benchmarks
            if not set(graph.parts_of(name)).isdisjoint(parts)
        ]
    return found


def values(graph: Graph, step: Step, hashes: Hashes) -> dict[str, Any]:
    """The values of params.yaml that a step's results depend on, with the hashes of models that they name."""
    params, suite = graph.params, f"suites.{graph.params.suite}"
    match step.name:
        case "generate":
            return {f"{suite}.generate": _plain(params.active.generate), "seed": params.seed}
        case "prepare":
            return _of_part(graph, step.item)
        case "embed":
            return {"embed.dtype": params.embed.dtype, f"{suite}.segmenter": _segmenter(params, hashes)}
        case "pilot":
            kept = params.extract.model_dump(include={"heads", "layers", "dtype"})
            return {"pilot": params.pilot.model_dump(), "extract": kept, "seed": params.seed,
                    **_model(params, step.backbone, hashes)}  # fmt: skip
        case "extract":
            return _of_attention(graph, step, hashes)
        case "train":
            looped = _of_models_in_the_loop(params, step, hashes) if params.train.online else {}
            return _of_head(graph, step.backbone, params.train.seeds[0], hashes) | looped
        case "import":
            return {"train.head.upsample": params.train.head.upsample, "backbone": step.backbone,
                    **_model(params, step.backbone, hashes)}  # fmt: skip
        case "select":
            return {"select": params.select.model_dump(), "train.threads": params.train.threads}
        case "keywords":
            return {"keywords": params.keywords.model_dump(), "extract.dtype": params.extract.dtype,
                    **_model(params, step.backbone, hashes)}  # fmt: skip
        case "evaluate":
            return _of_words(graph, step, hashes)
        case "count":
            return {"seed": params.seed} | _text_model(graph, hashes)
        case "overlays":
            return {"overlays": params.overlays.model_dump()}
        case "repeat":
            counted = {"evaluate.protocols": params.evaluate.protocols, "seed": params.seed}
            return _of_head(graph, step.backbone, int(step.item), hashes) | counted
        case "rival":
            return _of_rival(graph, step, hashes)
        case "report":
            return {"report": params.report.model_dump(), "suite": params.suite}
    return {}


def _of_head(graph: Graph, backbone: str, seed: int, hashes: Hashes) -> dict[str, Any]:
    params = graph.params
    return {"train": params.train.model_dump(exclude=PACE), "train.seed": seed, "backbone": backbone,
            f"suites.{params.suite}.segmenter": _segmenter(params, hashes)}  # fmt: skip


def _of_part(graph: Graph, part: str) -> dict[str, Any]:
    dataset, split = graph.place(part)
    entry, prepare = graph.params.active.datasets[dataset], graph.params.prepare
    found: dict[str, Any] = {
        "prepare.exclude": sorted(prepare.exclude),
        "dataset": dataset,
        "split": split,
        "refs": entry.refs,
    }
    if entry.first is not None:
        found["first"] = entry.first
    if split == paths.TRAIN:
        found["prepare.exclude_evaluation_images"] = prepare.exclude_evaluation_images
    return found


def _of_attention(graph: Graph, step: Step, hashes: Hashes) -> dict[str, Any]:
    extract = graph.params.extract
    found = {f"extract.{name}": getattr(extract, name) for name in ("attention", "hidden", "dtype")}
    if step.item in graph.training_parts:
        found |= {"extract.train_draws": extract.train_draws, "seed": graph.params.seed}
    return found | _model(graph.params, step.backbone, hashes)


def _of_models_in_the_loop(params: Params, step: Step, hashes: Hashes) -> dict[str, Any]:
    """What `extract` and `embed` would otherwise have in their keys."""
    found = {"extract.train_draws": params.extract.train_draws, "extract.dtype": params.extract.dtype}
    return found | {"embed.dtype": params.embed.dtype} | _model(params, step.backbone, hashes)


def _of_words(graph: Graph, step: Step, hashes: Hashes) -> dict[str, Any]:
    params, entry = graph.params, benchmark(step.item)
    found: dict[str, Any] = {"seed": params.seed, "backbone": step.backbone, "benchmark": step.item}
    found["train.threads"] = params.train.threads
    if entry.words == "spoken":
        return found | {"evaluate.protocols": params.evaluate.protocols}
    # Prompts as they read, not the code that makes them: it lies beside that which counts.
    prompt = entry.prompt
    probes = (Short("{text}"), Short("{text}", "{hint}", ("{A}", "{B}", "{C}")))
    found["prompt"] = [prompt(probe) for probe in probes]
    if entry.ways:
        found["evaluate.thoughts"] = params.evaluate.thoughts.model_dump()
        # As the prompts: what a way grounds, and not the code that says so.
        found["ways"] = [[way.name, way.grounds, *map(way.phrase, _QUESTIONS)] for way in entry.ways]
    tokens = "description_tokens" if entry.words == "described" else "max_new_tokens"
    found[f"evaluate.{tokens}"] = getattr(params.evaluate, tokens)
    return found | {"extract.dtype": params.extract.dtype} | _model(params, step.backbone, hashes)


def _text_model(graph: Graph, hashes: Hashes) -> dict[str, Any]:
    """The model that compares phrases of descriptions, where there are some and it is given."""
    name = graph.params.count.text_model
    if name is None or all(entry.words != "described" for entry in graph.benchmarks.values()):
        return {}
    folder = Path(name)
    return {"count.text_model": hashes.folder(folder) if folder.is_dir() else name}


def _of_rival(graph: Graph, step: Step, hashes: Hashes) -> dict[str, Any]:
    """Which files, of whom; and what decides its predictions, where it makes them here."""
    params, entry = graph.params, graph.params.active.rivals[step.item]
    folder = Path(entry.folder)
    found: dict[str, Any] = {
        "rival": step.item,
        "frozen": entry.frozen,
        "content": hashes.folder(folder) if folder.is_dir() else None,
    }
    if entry.model is None:
        return found
    found["extract.dtype"] = params.extract.dtype
    found["evaluate.max_new_tokens"] = params.evaluate.max_new_tokens
    found["train.threads"] = params.train.threads
    return found | {f"suites.{params.suite}.segmenter": _segmenter(params, hashes)}


def _model(params: Params, backbone: str, hashes: Hashes) -> dict[str, Any]:
    """A model is what its directory holds; one of the hub is its name and revision."""
    entry = params.catalogue[backbone]
    folder = Path(entry.model)
    content = hashes.folder(folder) if folder.is_dir() else [entry.model, entry.revision]
    return {"backbone": backbone, "family": entry.family, "model": content}


def _segmenter(params: Params, hashes: Hashes) -> dict[str, Any]:
    """The same for SAM; a checkpoint among the sources is read by way of its download."""
    segmenter = params.active.segmenter
    path = Path(segmenter.checkpoint)
    content = hashes.folder(path) if path.is_dir() else hashes.file(path) if path.is_file() else None
    return {"name": segmenter.name, "content": content}


def _plain(section: Any) -> Any:
    return None if section is None else section.model_dump()
