"""What each step depends on: the one definition of its params and source files, for Snakemake, DVC and MLflow.

A step's key changes exactly when its parameters or its code change. Snakemake compares the keys (rule params), DVC
lists the same sections and files (``dvc.yaml``; tests/workflow checks that they agree), and the caches of attention
and image embeddings are addressed by the keys of everything that their content depends on.

Not part of any key: the plumbing (``PLUMBING``), which moves values around and fixes none, and the settings of
``download``, which decide how a file travels but not what it is.
"""

import hashlib
from pathlib import Path
from typing import Any

from flmm.files import sha256_file, sha256_of
from flmm.params import Params

ROOT = Path(__file__).resolve().parent.parent

# Paths of params.yaml; {suite} and {backbone} are filled in.
PARAMS: dict[str, tuple[str, ...]] = {
    "generate": ("suites.{suite}.generate", "seed"),
    "download": ("suites.{suite}.sources",),
    "prepare": ("prepare", "suites.{suite}.datasets"),
    "extract": ("extract", "suites.{suite}.extract", "seed", "catalogue.{backbone}"),
    "embed": ("embed", "suites.{suite}.segmenter"),
    "train": ("train", "suites.{suite}.train", "seed"),
    "evaluate": ("evaluate", "seed"),
    "report": ("report",),
    "track": (),
}

# Files and folders of source code; a folder stands for every file below it (templates count).
SOURCES: dict[str, tuple[str, ...]] = {
    "generate": (
        "flmm/shapes/mirror",
        "flmm/shapes/world",
    ),
    "download": ("flmm/data/download.py", "flmm/data/transfer.py"),
    "prepare": ("flmm/data",),
    "extract": (
        "flmm/extract.py",
        "flmm/backbones",
        "flmm/cache",
        "flmm/data/archives.py",
        "flmm/data/geometry.py",
        "flmm/data/images.py",
        "flmm/data/sample.py",
        "flmm/protocols.py",
    ),
    "embed": (
        "flmm/embed.py",
        "flmm/data/archives.py",
        "flmm/data/images.py",
        "flmm/data/sample.py",
        "flmm/heads/sam.py",
        "flmm/heads/weights.py",
    ),
    "train": (
        "flmm/training",
        "flmm/backbones/base.py",
        "flmm/cache",
        "flmm/data/archives.py",
        "flmm/data/geometry.py",
        "flmm/data/images.py",
        "flmm/data/sample.py",
        "flmm/embed.py",
        "flmm/heads",
        "flmm/protocols.py",
    ),
    "evaluate": (
        "flmm/evaluation",
        "flmm/backbones",
        "flmm/cache",
        "flmm/data/archives.py",
        "flmm/data/geometry.py",
        "flmm/data/images.py",
        "flmm/data/question.py",
        "flmm/data/sample.py",
        "flmm/embed.py",
        "flmm/heads",
        "flmm/protocols.py",
    ),
    "report": ("flmm/report",),
    "track": ("flmm/tracking",),
}

# The weights that ship with the package; a folder stands for every file below it. Hub models have a revision instead.
MODELS = "flmm/shapes/models"

PLUMBING = (
    "flmm/__init__.py",
    "flmm/device.py",
    "flmm/errors.py",
    "flmm/files.py",
    "flmm/git.py",
    "flmm/keys.py",
    "flmm/params.py",
    "flmm/paths.py",
)

# A cached map or embedding is made from what these steps wrote.
UPSTREAM_OF_CACHE = ("generate", "download", "prepare")


def step_params(params: Params, step: str, backbone: str = "") -> dict[str, Any]:
    """The values of params.yaml that ``step`` depends on, by path; ``backbone`` where the step has one."""
    paths = [path.format(suite=params.suite, backbone=backbone) for path in PARAMS[step]]
    return {path: _lookup(params, path) for path in paths}


def _lookup(params: Params, path: str) -> Any:
    value: Any = params.model_dump()
    # A backbone's name may hold dots ("llava-1.5-7b"), so only the first step of that path is split off.
    for part in path.split(".", 1) if path.startswith("catalogue.") else path.split("."):
        value = value[part]
    return value


def source_files(step: str) -> list[Path]:
    """The source files of a step, relative to the project."""
    files = []
    for name in SOURCES[step]:
        path = ROOT / name
        files += _files_below(path) if path.is_dir() else [path]
    return [path.relative_to(ROOT) for path in files]


def code_hash(step: str) -> str:
    """A hash over the names and bytes of a step's source files."""
    return sha256_of([(path.as_posix(), sha256_file(ROOT / path)) for path in source_files(step)])


def step_key(params: Params, step: str, backbone: str = "") -> str:
    """12 hexadecimal digits that change when the step's own parameters or code change."""
    return _short({"params": step_params(params, step, backbone), "code": code_hash(step)})


def source_key(params: Params, source: str) -> str:
    """The key of one download. A known checksum says what a file is; the address only matters without one."""
    entry = params.active.sources[source]
    return _short({"content": entry.sha256 or entry.url, "code": code_hash("download")})


def extract_key(params: Params, backbone: str) -> str:
    """The address of a backbone's attention cache."""
    entry = params.catalogue[backbone]
    return _short(
        {
            "upstream": _upstream(params),
            "step": step_key(params, "extract", backbone),
            "model": _model_hash(entry.model),
        }
    )


def embed_key(params: Params) -> str:
    """The address of the segmenter's image embeddings."""
    model = _model_hash(params.active.segmenter.checkpoint)
    return _short({"upstream": _upstream(params), "step": step_key(params, "embed"), "model": model})


def _upstream(params: Params) -> list[str]:
    return [step_key(params, step) for step in UPSTREAM_OF_CACHE]


def _model_hash(model: str) -> str | None:
    """A hash over a model directory's files; None for a hub model or a download, which their entries identify."""
    folder = ROOT / model
    if not folder.is_dir():
        return None
    return sha256_of(
        [(path.relative_to(folder).as_posix(), sha256_file(path)) for path in _files_below(folder)]
    )


def _files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def _short(value: Any) -> str:
    return hashlib.sha256(sha256_of(value).encode()).hexdigest()[:12]
