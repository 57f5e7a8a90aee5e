"""What a run needs of this machine, told in milliseconds: upstream files, models, disk. Neither torch nor the network.

``flmm plan`` shows it, and ``preflight`` stops a run by it.
"""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from flmm.data.download import by_hand
from flmm.params import BackboneEntry, Params
from flmm.pipeline import paths
from flmm.pipeline.keys import is_remote, local_path
from flmm.pipeline.steps import Graph

FAMILIES = Path(__file__).resolve().parents[1] / "backbones"
WEIGHTS = (".safetensors", ".bin", ".pth", ".pt")


@dataclass(frozen=True)
class SourceFact:
    """One upstream file. ``bytes``: its size where it is here, else the size that params.yaml declares, if any.

    ``state``: ``here`` (this machine has it, wherever), ``remote`` (to be downloaded), ``generated`` (the suite's
    generator writes it) or ``missing``; then ``problem`` is a sentence that says what to do. It may be set for a file
    that is here but is not the declared one, too.
    """

    name: str
    state: Literal["here", "remote", "generated", "missing"]
    bytes: int | None
    problem: str | None = None


def source_fact(graph: Graph, name: str) -> SourceFact:
    """Where one upstream file is, by ``stat`` alone."""
    params = graph.params
    source, place, key = params.sources[name], paths.raw(params) / name, source_key(params, name)
    if graph.is_generated(name):
        return SourceFact(name, "generated", _size(place))
    if is_remote(source.url):
        found = _size(place)
        return SourceFact(
            name, "remote" if found is None else "here", source.bytes if found is None else found
        )
    if source.url is None:
        path, problem = place, by_hand(name, place)
    else:
        scheme, colon, _ = source.url.partition(":")
        if colon and scheme != "file":
            problem = f"{key}: {scheme}: is not http, https or file"
            return SourceFact(name, "missing", source.bytes, problem)
        path = local_path(name, source.url)
        problem = f"{path}: no such file; it is the url of {key.removesuffix('.url')} in params.yaml"
    found = _size(path)
    if found is None:
        return SourceFact(name, "missing", source.bytes, problem)
    if source.bytes not in (None, found):
        problem = f"{path}: {found} bytes instead of the {source.bytes} that params.yaml expects ({key})"
        return SourceFact(name, "here", found, problem)
    return SourceFact(name, "here", found)


def source_place(params: Params, name: str) -> Path:
    """Where an upstream file lies, or will lie once it is downloaded."""
    url = params.sources[name].url
    return paths.raw(params) / name if url is None or is_remote(url) else local_path(name, url)


def source_key(params: Params, name: str) -> str:
    """The key of params.yaml that holds a source's address."""
    for backbone in params.backbones:
        if params.head_source(backbone) == name:
            return f"catalogue.{backbone}.head.url"
    return f"suites.{params.suite}.sources.{name}.url"


def bytes_to_come(params: Params, facts: list[SourceFact]) -> int:
    """The declared bytes of the files to be downloaded, less what earlier attempts left of them."""
    parts = {fact.name: paths.raw(params) / f"{fact.name}.part" for fact in facts}
    return sum(
        max(0, (fact.bytes or 0) - (_size(parts[fact.name]) or 0)) for fact in facts if fact.state == "remote"
    )


def free_bytes(path: Path) -> int:
    """The free space of the disk on which ``path`` is or will be."""
    existing = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    return shutil.disk_usage(existing).free


def family_problem(name: str, entry: BackboneEntry) -> str | None:
    """A sentence where the backbone's family has no file; decided by the text of the files."""
    if entry.family.isidentifier() and entry.family in _registered(FAMILIES / f"{entry.family}.py"):
        return None
    known = sorted(family for file in FAMILIES.glob("*.py") for family in _registered(file))
    return f"catalogue.{name}.family: unknown backbone family {entry.family!r}; there are: {', '.join(known)}"


def model_problem(name: str, entry: BackboneEntry) -> str | None:
    """A sentence where the backbone's weights cannot be had: no such directory, an empty one, or offline."""
    key, path = f"catalogue.{name}.model", Path(entry.model)
    if path.is_dir():
        configs = [*path.glob("config.json"), *path.glob("*/config.json")]
        if not configs:
            return f"{key}: {entry.model} is not a model directory (no config.json)"
        if not any(file.suffix in WEIGHTS and file.is_file() for file in path.rglob("*")):
            return f"{key}: {entry.model} holds no weights ({', '.join(WEIGHTS)})"
        return None
    if path.is_absolute() or entry.model.startswith(".") or entry.model.count("/") != 1:
        return f"{key}: {entry.model}: no such model directory (a hub name has the form owner/name)"
    if is_offline() and not is_cached(entry):
        at = f" at revision {entry.revision}" if entry.revision else ""
        return (
            f"{key}: {entry.model}{at} is neither a directory nor in the Hugging Face cache ({hub_cache()}), and "
            "HF_HUB_OFFLINE forbids its download"
        )
    return None


def rival_problem(params: Params, name: str) -> str | None:
    """A sentence where a rival's model or its files of predictions are not there."""
    entry = params.active.rivals[name]
    if Path(entry.folder).is_dir():
        return None
    key = f"suites.{params.suite}.rivals.{name}.{'predictions' if entry.model is None else 'model'}"
    return f"{key}: {entry.folder}: no such directory (docs/rivals.md)"


def is_offline() -> bool:
    """Whether the environment forbids downloads from the hub."""
    values = (os.environ.get(name, "") for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"))
    return any(value.upper() in ("1", "ON", "YES", "TRUE") for value in values)


def is_cached(entry: BackboneEntry) -> bool:
    """Whether the hub's cache holds a model at its revision; not whether all of its files are there."""
    folder = hub_cache() / f"models--{entry.model.replace('/', '--')}"
    revision = entry.revision or "main"
    reference = folder / "refs" / revision
    if reference.is_file():
        revision = reference.read_text(encoding="utf-8").strip()
    snapshot = folder / "snapshots" / revision
    return snapshot.is_dir() and any(snapshot.iterdir())


def hub_cache() -> Path:
    """The folder in which Hugging Face's libraries keep what they downloaded."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if value := os.environ.get(variable):
            return Path(value).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{cache}/huggingface"
    return Path(home).expanduser() / "hub"


def segmenter_problem(params: Params) -> str | None:
    """A sentence where the segmenter is neither a path that exists nor one of the suite's sources."""
    checkpoint = params.active.segmenter.checkpoint
    if checkpoint in params.sources or Path(checkpoint).exists():
        return None
    return (
        f"suites.{params.suite}.segmenter.checkpoint: {checkpoint} is neither a file or directory nor one of the "
        "suite's sources"
    )


def _registered(file: Path) -> list[str]:
    if not file.is_file():
        return []
    return re.findall(r"^@register\(\"(\w+)\"\)", file.read_text(encoding="utf-8"), re.MULTILINE)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size if path.is_file() else None
    except OSError:
        return None
