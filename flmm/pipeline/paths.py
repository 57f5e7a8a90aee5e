"""Where each step writes: one word per step, the same in the CLI, the Snakefile, params.yaml and these folders."""

from pathlib import Path

from flmm.params import Params

TRAIN = "train"


def mirror() -> Path:
    """The local mirror that ``flmm shapes generate`` writes in upstream formats."""
    return Path("data/mirror")


def raw(params: Params) -> Path:
    """Downloaded files, and links to local ones, under their upstream names."""
    return Path("data/raw") / params.suite


def digest(params: Params, source: str) -> Path:
    """What a downloaded file is: size, SHA-256 and origin. What DVC versions of it."""
    return Path("results") / params.suite / "download" / f"{source}.json"


def samples(params: Params, part: str) -> Path:
    """Samples of one part, such as ``refcoco-train``, or questions, such as ``pope-random``."""
    return Path("data/samples") / params.suite / f"{part}.parquet"


def counts(params: Params, part: str) -> Path:
    """What ``prepare`` counted of one part: samples, and what was left out for which reason."""
    return samples(params, part).with_suffix(".json")


def extract_shards(backbone: str, key: str, part: str) -> Path:
    """Folder of one part's attention shards and their ``manifest.json``: cache, not versioned."""
    return Path("cache/extract") / backbone / key / part


def embed_shards(segmenter: str, key: str, archive: str) -> Path:
    """Folder of the frozen SAM's embeddings of one archive's images, with a ``manifest.json``: cache."""
    return Path("cache/embed") / segmenter / key / archive


def checkpoints(backbone: str) -> Path:
    """Folder from which a killed training goes on, by its key: cache, removed when the training ends."""
    return Path("cache/train") / backbone


def embed_pointer(params: Params, archive: str) -> Path:
    """The small file that says which embeddings the results are made from."""
    return Path("results") / params.suite / "embed" / f"{archive}.json"


def extract_pointer(params: Params, backbone: str, part: str) -> Path:
    """The small file that says which attention shards the results are made from."""
    return results(params, backbone, "extract") / f"{part}.json"


def pilot(params: Params, backbone: str) -> Path:
    """The attention heads and layers that the cache keeps, where not all are."""
    return results(params, backbone, "pilot") / "heads.json"


def results(params: Params, backbone: str, step: str) -> Path:
    """Results of one step of one backbone."""
    return Path("results") / params.suite / backbone / step


def head(params: Params, backbone: str) -> Path:
    """The backbone's head, trained or imported."""
    return results(params, backbone, "train") / "head.safetensors"


def trained(params: Params, backbone: str) -> Path:
    """Folder of the backbone's head, its summary and, where it was trained here, its curves and timing."""
    return head(params, backbone).parent


def selected(params: Params, backbone: str) -> Path:
    """The attention heads that were chosen for the baseline without training."""
    return results(params, backbone, "select") / "heads.json"


def keywords(params: Params, backbone: str) -> Path:
    """Folder of the backbone's keyword selector and its scores."""
    return results(params, backbone, "keywords")


def evaluated(params: Params, backbone: str, benchmark: str) -> Path:
    """Folder of one benchmark's predictions or answers."""
    return results(params, backbone, "evaluate") / benchmark


def metrics(params: Params, backbone: str) -> Path:
    """All records of one backbone."""
    return results(params, backbone, "count") / "metrics.json"


def overlays(params: Params, backbone: str, benchmark: str) -> Path:
    """Folder of the pictures of one benchmark's predictions."""
    return results(params, backbone, "overlays") / benchmark


def repeated(params: Params, backbone: str, seed: str) -> Path:
    """Folder of the head of another seed, and of its records."""
    return results(params, backbone, "repeat") / seed


def repeat_checkpoints(backbone: str, seed: str) -> Path:
    """As ``checkpoints``, of another seed."""
    return Path("cache/repeat") / backbone / seed


def rival(params: Params, name: str) -> Path:
    """Folder of one fine-tuned LMM's records, and of its predictions where it made them here."""
    return Path("results") / params.suite / "rival" / name


def reports() -> Path:
    """Folder of the report."""
    return Path("reports")


def runs() -> Path:
    """The page of links to the runs that MLflow was told."""
    return reports() / "runs.html"
