"""Where each step writes: one word per step, the same in the CLI, the Snakefile, params.yaml and these folders."""

import re
from collections.abc import Iterable
from pathlib import Path

from flmm.params import Params

# Readers by benchmark. The LMM is made to speak what GROUNDED data sets say (`extract`); it answers the questions of
# REASONED ones itself (`evaluate`).
GROUNDED = {"res": "refcoco", "png": "png"}
REASONED = {"reasonseg": "reasonseg", "viscot": "viscot"}
EVALUATION_PROTOCOLS = ("paper", "standard")


def mirror() -> Path:
    """The local mirror that ``flmm shapes generate`` writes in upstream formats."""
    return Path("data/mirror")


def raw(params: Params) -> Path:
    """Downloaded files under their upstream names."""
    return Path("data/raw") / params.suite


def samples(params: Params, part: str) -> Path:
    """Samples of one part, such as ``refcoco-train``, or questions, such as ``pope-random``."""
    return Path("data/samples") / params.suite / f"{part}.parquet"


def grounding_parts(params: Params) -> list[str]:
    """``<dataset>-<split>`` for every split whose words the LMM is made to speak."""
    return _parts(params, GROUNDED.values())


def reasoning_parts(params: Params) -> list[str]:
    """``<dataset>-<split>`` for every split of questions whose answers are grounded."""
    return _parts(params, REASONED.values())


def _parts(params: Params, readers: Iterable[str]) -> list[str]:
    wanted = set(readers)
    return [
        f"{name}-{split}"
        for name, dataset in params.active.datasets.items()
        if dataset.reader in wanted
        for split in dataset.splits
    ]


def benchmark_parts(params: Params, benchmark: str) -> list[str]:
    """The parts with masks that a benchmark evaluates: RES those of every RefCOCO, the others their own, QA none."""
    reader = {**GROUNDED, **REASONED}.get(benchmark)
    return [part for part in _parts(params, [reader or ""]) if not part.endswith("-train")]


def question_parts(params: Params) -> list[str]:
    """The QA benchmarks' parts, one per source that holds questions."""
    parts = [question_part(file) for file in params.active.sources]
    return [part for part in parts if part is not None]


def question_part(file: str) -> str | None:
    """The part that a source's questions make, such as ``pope-random``; else None.

    ``MMBench_DEV_EN.tsv`` is ``mmbench-dev``; others keep what tells them from it (``mmbench-dev_v11``, ``…_cn``).
    """
    if match := re.fullmatch(r"coco_pope_(\w+)\.json", file):
        return f"pope-{match[1]}"
    if match := re.fullmatch(r"MMBench_DEV_(\w+)\.tsv", file):
        variant = match[1].lower().removeprefix("en").strip("_")
        return f"mmbench-dev_{variant}" if variant else "mmbench-dev"
    return None


def benchmarks(params: Params) -> list[str]:
    """The benchmarks of params.yaml that the suite has data for."""
    questions = {part.split("-")[0] for part in question_parts(params)}
    return [name for name in params.evaluate.benchmarks if name in questions or benchmark_parts(params, name)]


def dataset_and_split(part: str) -> tuple[str, str]:
    """The two names in ``<dataset>-<split>``; a split's name has no hyphen."""
    dataset, _, split = part.rpartition("-")
    return dataset, split


def extract_shards(backbone: str, key: str, part: str) -> Path:
    """Folder of one part's attention shards and their ``manifest.json``: cache, not versioned."""
    return Path("cache/extract") / backbone / key / part


def embed_shards(segmenter: str, key: str) -> Path:
    """Folder of the frozen SAM's image embeddings and their ``manifest.json``: cache, not versioned."""
    return Path("cache/embed") / segmenter / key


def results(params: Params, backbone: str, step: str) -> Path:
    """Results of one step of one backbone."""
    return Path("results") / params.suite / backbone / step


def trained(params: Params, backbone: str) -> Path:
    """Folder of a backbone's head, trained or imported, with its summary and curves."""
    return results(params, backbone, "train")


def evaluated(params: Params, backbone: str, benchmark: str) -> Path:
    """Folder of one benchmark's predictions or answers and its facts."""
    return results(params, backbone, "evaluate") / benchmark


def counted(params: Params, backbone: str) -> Path:
    """The records of all benchmarks of one backbone."""
    return results(params, backbone, "count") / "metrics.json"


def drawn(params: Params, backbone: str, benchmark: str) -> Path:
    """Folder of one benchmark's pictures and their list, ``overlays.json``."""
    return results(params, backbone, "overlays") / benchmark


def selected(params: Params, backbone: str) -> Path:
    """The attention heads that were chosen for the baseline without training."""
    return results(params, backbone, "select") / "heads.json"
